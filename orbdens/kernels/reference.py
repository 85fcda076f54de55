"""The definition of the operator in plain PyTorch: every (point, site) pair times every orbital is materialised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.harmonics import recursion
from orbdens.kernels.problem import Problem
from orbdens.kernels.screening import complete_cells, radius, wrap
from orbdens.kernels.shells import Shells

CACHE = 64_000_000  # bytes; larger chunks of points are slower


def validate() -> str | None:
    """Why this backend cannot run here: it always can."""
    return None


def solid_harmonics(l_max: int, vectors: Tensor) -> Tensor:
    """Real solid harmonics S_lm = r^l Y_lm, order m = -l..l, no Condon-Shortley phase, Y_lm orthonormal.

    Args:
        l_max: largest angular momentum.
        vectors: [n, 3], Å.

    Returns:
        [n, (l_max + 1)²], index l² + l + m, in Å^l. Polynomials, so derivatives exist everywhere.
    """
    start, up, down = recursion(l_max)
    x, y, z = vectors.unbind(-1)
    r2 = (vectors * vectors).sum(-1)
    rows: dict[tuple[int, int], Tensor] = {}
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)
    for m in range(l_max + 1):
        q_before, q = torch.zeros_like(x), torch.full_like(x, start[m])
        for l in range(m, l_max + 1):
            if l > m:
                q_before, q = q, up[l, m] * z * q - down[l, m] * r2 * q_before
            rows[l, m] = q * cosine
            if m:
                rows[l, -m] = q * sine
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return torch.stack([rows[l, m] for l in range(l_max + 1) for m in range(-l, l + 1)], -1)


def _orbitals(vectors: Tensor, scale: Tensor | None, site_type: int, shells: Shells) -> Tensor:
    """Values [n_pairs, n_coefficients_of_type] of the orbitals of one type at vectors [n_pairs, 3] from the site."""
    first, last = int(shells.shell_ptr[site_type]), int(shells.shell_ptr[site_type + 1])
    ls = shells.shell_l[first:last].tolist()
    harmonics = solid_harmonics(max(ls), vectors)
    r2 = (vectors * vectors).sum(-1)
    if scale is not None:
        r2 = r2 * scale
    columns = []
    for shell, l in zip(range(first, last), ls, strict=True):
        primitives = slice(int(shells.primitive_ptr[shell]), int(shells.primitive_ptr[shell + 1]))
        radial = torch.exp(-r2[:, None] * shells.exponents[primitives]) @ shells.weights[primitives]
        columns.append(harmonics[:, l * l : (l + 1) ** 2] * radial[:, None])
    return torch.cat(columns, -1)


def structure_fields(
    points: Tensor,
    site_positions: Tensor,
    site_type: Tensor,
    shells: Shells,
    coefficients: Tensor,
    scalings: Tensor | None,
    cutoff: float | None,
    shifts: Tensor,
) -> Tensor:
    """Fields [n_points, K] of one structure; ``shifts`` [n_shifts, 3] are the lattice vectors (Å) of its images."""
    ptr = shells.coefficient_ptr(site_type)
    fields = points.new_zeros(points.shape[0], coefficients.shape[1])
    for kind in torch.unique(site_type).tolist():
        sites = torch.nonzero(site_type == kind)[:, 0]
        width = int(shells.coefficients_of_type()[kind])
        if width == 0:
            continue
        table = coefficients[ptr[sites][:, None] + torch.arange(width, device=ptr.device)]
        vectors = points[:, None, None] - site_positions[sites][:, None] - shifts
        scale = None if scalings is None else scalings[sites][None, :, None].expand(vectors.shape[:-1])
        site = torch.arange(sites.numel(), device=ptr.device)[None, :, None].expand(vectors.shape[:-1])
        point = torch.arange(points.shape[0], device=ptr.device)[:, None, None].expand(vectors.shape[:-1])
        if cutoff is None:
            near = torch.ones_like(site, dtype=torch.bool)
        else:
            near = (vectors.detach() ** 2).sum(-1) <= cutoff**2
        values = _orbitals(vectors[near], None if scale is None else scale[near], kind, shells)
        contribution = (values[:, :, None] * table[site[near]]).sum(1)
        fields = fields.index_add(0, point[near], contribution)
    return fields


def _shifts(problem: Problem, structure: int) -> Tensor:
    """Lattice vectors [n_shifts, 3] (Å) of the images of one structure that can reach its (wrapped) points."""
    zero = problem.points.new_zeros(1, 3)
    if problem.cells is None or problem.pbc is None or not bool(problem.pbc[structure].any()):
        return zero
    cell, pbc = problem.cells[structure : structure + 1].double().cpu().numpy(), problem.pbc[structure].cpu().numpy()
    cell = complete_cells(cell, pbc[None])[0]
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    sites = problem.site_positions[problem.site_ptr[structure] : problem.site_ptr[structure + 1]].detach().double()
    fractional = sites.cpu().numpy() @ np.linalg.inv(cell)
    extent = np.where(pbc, np.ceil(_farthest(problem) / heights + np.abs(fractional).max(0, initial=0.0)) + 1, 0)
    axes = [np.arange(-int(n), int(n) + 1) for n in extent]
    counts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return torch.as_tensor(counts @ cell, dtype=zero.dtype, device=zero.device)


def _farthest(problem: Problem) -> float:
    """Distance (Å) beyond which every orbital is under the tolerance, or the cut-off."""
    shells = problem.shells
    limit = math.inf if problem.cutoff is None else problem.cutoff
    strength = float(problem.coefficients.detach().norm(dim=0).max()) if problem.coefficients.numel() else 0.0
    softest = (
        1.0 if problem.scalings is None or not problem.scalings.numel() else float(problem.scalings.detach().min())
    )
    l_of_primitive = torch.repeat_interleave(shells.shell_l, torch.diff(shells.primitive_ptr))
    rows = zip(l_of_primitive.tolist(), shells.exponents.tolist(), shells.weights.tolist(), strict=True)
    threshold = problem.tolerance / max(1, problem.coefficients.shape[0])
    return max((radius(l, a * softest, abs(w) * max(strength, 1.0), threshold, limit) for l, a, w in rows), default=0.0)


def _chunk(problem: Problem, structure: int, n_shifts: int) -> int:
    """Points of a structure evaluated at once, so that pairs times orbitals stay inside the memory budget."""
    sites = slice(int(problem.site_ptr[structure]), int(problem.site_ptr[structure + 1]))
    types = problem.site_type[sites]
    if not types.numel():
        return 1 << 30
    widest = int(problem.shells.coefficients_of_type()[types].max())
    numbers_per_pair = widest * (8 + problem.coefficients.shape[1]) + 32
    pairs = min(problem.memory, CACHE) // (2 * problem.points.element_size() * numbers_per_pair)
    return max(1, pairs // (types.numel() * n_shifts))


def _run(
    problem: Problem, inputs: tuple[Tensor | None, ...], structure: int, begin: int, end: int, shifts: Tensor
) -> Tensor:
    """Fields of points begin:end, which lie in one structure, from the six differentiable inputs."""
    points, positions, exponents, weights, coefficients, scalings = inputs
    assert points is not None and positions is not None and coefficients is not None
    assert exponents is not None and weights is not None
    ptr = problem.shells.coefficient_ptr(problem.site_type)
    first, last = int(problem.site_ptr[structure]), int(problem.site_ptr[structure + 1])
    chunk = points[begin:end]
    if shifts.shape[0] > 1 and problem.cells is not None and problem.pbc is not None:
        cell, pbc = problem.cells[structure].double().cpu().numpy(), problem.pbc[structure].cpu().numpy()
        away = chunk.detach().double().cpu().numpy()
        wrapped = wrap(away, np.zeros(len(away), np.int64), complete_cells(cell[None], pbc[None]), pbc[None])
        chunk = chunk + torch.as_tensor(wrapped - away, dtype=chunk.dtype, device=chunk.device)
    return structure_fields(
        chunk,
        positions[first:last],
        problem.site_type[first:last],
        problem.shells.with_radial(exponents, weights),
        coefficients[ptr[first] : ptr[last]],
        None if scalings is None else scalings[first:last],
        problem.cutoff,
        shifts,
    )


def _pieces(problem: Problem) -> Iterator[tuple[int, int, int, Tensor]]:
    """(structure, begin, end, shifts) of the chunks of points."""
    for structure in range(problem.n_structures):
        shifts = _shifts(problem, structure)
        size = _chunk(problem, structure, shifts.shape[0])
        first, last = int(problem.point_ptr[structure]), int(problem.point_ptr[structure + 1])
        for begin in range(first, last, size):
            yield structure, begin, min(begin + size, last), shifts


def forward(problem: Problem) -> Tensor:
    """Fields [n_points, K]."""
    problem.check()
    out = problem.points.new_zeros(problem.points.shape[0], problem.coefficients.shape[1])
    with torch.no_grad():
        for structure, begin, end, shifts in _pieces(problem):
            out[begin:end] = _run(problem, problem.differentiable(), structure, begin, end, shifts)
    return out


def vjp(problem: Problem, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``, by autograd; None where not wanted."""
    # Inside a custom op autograd is off for the calling thread; a new thread has it on.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_vjp, problem, grad, wants).result()


def _vjp(problem: Problem, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
    sources = problem.differentiable()
    inputs = tuple(
        None if tensor is None else tensor.detach().requires_grad_(want)
        for tensor, want in zip(sources, wants, strict=True)
    )
    active = [tensor for tensor, want in zip(inputs, wants, strict=True) if want and tensor is not None]
    sums = [torch.zeros_like(tensor) for tensor in active]
    for structure, begin, end, shifts in _pieces(problem):
        with torch.enable_grad():
            fields = _run(problem, inputs, structure, begin, end, shifts)
            loss = (fields * grad[begin:end]).sum()
        if loss.requires_grad:
            for total, part in zip(sums, torch.autograd.grad(loss, active, allow_unused=True), strict=True):
                if part is not None:
                    total += part
    results = iter(sums)
    return tuple(next(results) if want else None for want in wants)


def derivatives(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K], by autograd twice."""
    problem.check()
    n_points, n_channels = problem.points.shape[0], problem.coefficients.shape[1]
    fields = problem.points.new_zeros(n_points, n_channels)
    gradients = problem.points.new_zeros(n_points, 3, n_channels)
    laplacians = torch.zeros_like(fields)
    inputs = [None if tensor is None else tensor.detach() for tensor in problem.differentiable()]
    assert inputs[0] is not None
    points = inputs[0] = inputs[0].requires_grad_()
    for structure, begin, end, shifts in _pieces(problem):
        with torch.enable_grad():
            part = _run(problem, tuple(inputs), structure, begin, end, shifts)
            fields[begin:end] = part.detach()
            for k in range(n_channels if part.requires_grad else 0):
                (first,) = torch.autograd.grad(part[:, k].sum(), points, create_graph=True)
                gradients[begin:end, :, k] = first[begin:end].detach()
                for axis in range(3 if first.requires_grad else 0):
                    (second,) = torch.autograd.grad(first[:, axis].sum(), points, retain_graph=True)
                    laplacians[begin:end, k] += second[begin:end, axis]
    return fields, gradients, laplacians
