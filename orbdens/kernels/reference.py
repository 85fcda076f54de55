"""The definition of the operator in plain PyTorch: every (point, site) pair times every orbital is materialised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.cells import complete_cells, wrap
from orbdens.kernels.harmonics import solid_harmonics
from orbdens.kernels.orbitals import DIFFERENTIABLE, Orbitals
from orbdens.kernels.screening import radius
from orbdens.kernels.shells import Shells

CACHE = 64_000_000  # bytes; larger chunks of points are slower


def validate() -> str | None:
    """Why this backend cannot run here: it always can."""
    return None


def device() -> torch.device:
    """Where this backend expects its tensors: it runs on any device, so here."""
    return torch.device("cpu")


def _values(vectors: Tensor, scale: Tensor | None, site_type: int, shells: Shells) -> Tensor:
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


def structure_fields(orbitals: Orbitals, points: Tensor, shifts: Tensor) -> Tensor:
    """Fields [n_points, K] of one structure; ``shifts`` [n_shifts, 3] are the lattice vectors (Å) of its images."""
    shells, site_type, scalings = orbitals.shells, orbitals.site_type, orbitals.scalings
    ptr = shells.coefficient_ptr(site_type)
    fields = points.new_zeros(points.shape[0], orbitals.n_channels)
    for own_type in torch.unique(site_type).tolist():
        sites = torch.nonzero(site_type == own_type)[:, 0]
        width = int(shells.coefficients_of_type()[own_type])
        if width == 0:
            continue
        table = orbitals.coefficients[ptr[sites][:, None] + torch.arange(width, device=ptr.device)]
        vectors = points[:, None, None] - orbitals.site_positions[sites][:, None] - shifts
        scale = None if scalings is None else scalings[sites][None, :, None].expand(vectors.shape[:-1])
        site = torch.arange(sites.numel(), device=ptr.device)[None, :, None].expand(vectors.shape[:-1])
        point = torch.arange(points.shape[0], device=ptr.device)[:, None, None].expand(vectors.shape[:-1])
        if orbitals.cutoff is None:
            near = torch.ones_like(site, dtype=torch.bool)
        else:
            near = (vectors.detach() ** 2).sum(-1) <= orbitals.cutoff**2
        values = _values(vectors[near], None if scale is None else scale[near], own_type, shells)
        contribution = (values[:, :, None] * table[site[near]]).sum(1)
        fields = fields.index_add(0, point[near], contribution)
    return fields


def _shifts(orbitals: Orbitals) -> Tensor:
    """Lattice vectors [n_shifts, 3] (Å) of the images of one structure that can reach its (wrapped) points."""
    zero = orbitals.site_positions.new_zeros(1, 3)
    if orbitals.cells is None or orbitals.pbc is None or not bool(orbitals.pbc.any()):
        return zero
    pbc = orbitals.pbc[0].cpu().numpy()
    cell = complete_cells(orbitals.cells.double().cpu().numpy(), pbc[None])[0]
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    fractional = orbitals.site_positions.detach().double().cpu().numpy() @ np.linalg.inv(cell)
    extent = np.where(pbc, np.ceil(_farthest(orbitals) / heights + np.abs(fractional).max(0, initial=0.0)) + 1, 0)
    axes = [np.arange(-int(n), int(n) + 1) for n in extent]
    counts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return torch.as_tensor(counts @ cell, dtype=zero.dtype, device=zero.device)


def _farthest(orbitals: Orbitals) -> float:
    """Distance (Å) beyond which every orbital is under the tolerance, or the cut-off."""
    shells, coefficients, scalings = orbitals.shells, orbitals.coefficients.detach(), orbitals.scalings
    limit = math.inf if orbitals.cutoff is None else orbitals.cutoff
    strength = float(coefficients.norm(dim=0).max()) if coefficients.numel() else 0.0
    softest = 1.0 if scalings is None or not scalings.numel() else float(scalings.detach().min())
    l_of_primitive = torch.repeat_interleave(shells.shell_l, torch.diff(shells.primitive_ptr))
    rows = zip(l_of_primitive.tolist(), shells.exponents.tolist(), shells.weights.tolist(), strict=True)
    threshold = orbitals.tolerance / max(1, coefficients.shape[0])
    return max((radius(l, a * softest, abs(w) * max(strength, 1.0), threshold, limit) for l, a, w in rows), default=0.0)


def _chunk(orbitals: Orbitals, n_shifts: int, memory: int) -> int:
    """Points of a structure evaluated at once, so that pairs times orbitals stay inside the memory budget."""
    if not orbitals.n_sites:
        return 1 << 30
    widest = int(orbitals.shells.coefficients_of_type()[orbitals.site_type].max())
    numbers_per_pair = widest * (8 + orbitals.n_channels) + 32
    pairs = min(memory, CACHE) // (2 * orbitals.coefficients.element_size() * numbers_per_pair)
    return max(1, pairs // (orbitals.n_sites * n_shifts))


def _wrapped(orbitals: Orbitals, points: Tensor) -> Tensor:
    """Points [n, 3] moved into the cell of one structure."""
    if orbitals.cells is None or orbitals.pbc is None:
        return points
    pbc = orbitals.pbc.cpu().numpy()
    away = points.detach().double().cpu().numpy()
    cells = complete_cells(orbitals.cells.double().cpu().numpy(), pbc)
    wrapped = wrap(away, np.zeros(len(away), np.int64), cells, pbc)
    return points + torch.as_tensor(wrapped - away, dtype=points.dtype, device=points.device)


def _pieces(orbitals: Orbitals, point_ptr: Tensor, memory: int) -> Iterator[tuple[Orbitals, int, int, Tensor]]:
    """Chunks of points, each of one structure: (its orbitals, begin, end, lattice vectors of its images)."""
    for index in range(orbitals.n_structures):
        one = orbitals.structure(index)
        shifts = _shifts(one)
        size = _chunk(one, shifts.shape[0], memory)
        first, last = int(point_ptr[index]), int(point_ptr[index + 1])
        for begin in range(first, last, size):
            yield one, begin, min(begin + size, last), shifts


def forward(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> Tensor:
    """Fields [n_points, K]."""
    out = points.new_zeros(points.shape[0], orbitals.n_channels)
    with torch.no_grad():
        for one, begin, end, shifts in _pieces(orbitals, point_ptr, memory):
            out[begin:end] = structure_fields(one, _wrapped(one, points[begin:end]), shifts)
    return out


def vjp(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, grad: Tensor, wants: list[bool]
) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``, by autograd; None where not wanted."""
    # Inside a custom op autograd is off for the calling thread; a new thread has it on.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_vjp, orbitals, points, point_ptr, memory, grad, wants).result()


def _vjp(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, grad: Tensor, wants: list[bool]
) -> tuple[Tensor | None, ...]:
    sources = {"points": points} | vars(orbitals.shells) | vars(orbitals)
    leaves: dict[str, Tensor] = {
        name: sources[name].detach().requires_grad_(want)
        for name, want in zip(DIFFERENTIABLE, wants, strict=True)
        if sources[name] is not None
    }
    shells = orbitals.shells.with_radial(leaves["exponents"], leaves["weights"])
    inputs = orbitals.changed(
        shells=shells,
        **{name: leaves[name] for name in ("site_positions", "coefficients", "scalings") if name in leaves},
    )
    active = {name: torch.zeros_like(leaf) for name, leaf in leaves.items() if leaf.requires_grad}
    for one, begin, end, shifts in _pieces(inputs, point_ptr, memory):
        with torch.enable_grad():
            loss = (structure_fields(one, _wrapped(one, leaves["points"][begin:end]), shifts) * grad[begin:end]).sum()
        if loss.requires_grad:
            parts = torch.autograd.grad(loss, [leaves[name] for name in active], allow_unused=True)
            for total, part in zip(active.values(), parts, strict=True):
                if part is not None:
                    total += part
    return tuple(active.get(name) for name in DIFFERENTIABLE)


def derivatives(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""
    fields, gradients, hessians = second_derivatives(orbitals, points, point_ptr, memory)
    return fields, gradients, hessians.diagonal(dim1=1, dim2=2).sum(-1)


def second_derivatives(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Hessians [n_points, 3, 3, K], by autograd twice."""
    n_points, n_channels = points.shape[0], orbitals.n_channels
    fields = points.new_zeros(n_points, n_channels)
    gradients = points.new_zeros(n_points, 3, n_channels)
    hessians = points.new_zeros(n_points, 3, 3, n_channels)
    for one, begin, end, shifts in _pieces(orbitals, point_ptr, memory):
        at = points[begin:end].detach().requires_grad_()
        with torch.enable_grad():
            part = structure_fields(one, _wrapped(one, at), shifts)
        fields[begin:end] = part.detach()
        for k in range(n_channels if part.requires_grad else 0):
            (first,) = torch.autograd.grad(part[:, k].sum(), at, create_graph=True)
            gradients[begin:end, :, k] = first.detach()
            for axis in range(3 if first.requires_grad else 0):
                (second,) = torch.autograd.grad(first[:, axis].sum(), at, retain_graph=True)
                hessians[begin:end, axis, :, k] = second
    return fields, gradients, hessians
