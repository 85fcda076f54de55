"""Coulomb potentials of sums of Gaussian orbitals, ∫ f(r') / |r - r'| dr', and their gradients, in closed form.

The potential of a primitive about its own centre, at a distance d from it, is

    ∫ S_lm(r') exp(-a r'²) / |d - r'| dr' = S_lm(d) (2π / a) F_l(a d²),

F_l the Boys function: S_lm exp(-a r²) is (1 / 2a)^l S_lm(∂/∂R) of a Gaussian at R, and S_lm(∂) of a function of r² is
S_lm times 2^l its l-th derivative by r² (Hobson's theorem; Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure
Theory, 9.5 and 9.8). Far from the site it is the potential of a multipole, S_lm(d) / d^(2l+1).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbdens.kernels.boys import boys
from orbdens.kernels.checks import check_numbers, check_shape
from orbdens.kernels.harmonics import solid_harmonics
from orbdens.kernels.orbitals import Orbitals

MEMORY = 64_000_000
"""Bytes that the definition uses for the orbitals at a chunk of points."""


class Multipoles(NamedTuple):
    """Sums of Gaussian orbitals sorted by site, l and, steepest first, exponent; one row for each primitive.

    Attributes:
        group_ptr: groups of one l of each site [n_sites + 1].
        group_l: l of each group [n_groups].
        primitive_ptr: primitives of each group [n_groups + 1].
        exponents: Å⁻² [n_primitives], falling in a group.
        row_ptr: first of the 2l + 1 numbers of each primitive in ``sources`` [n_primitives + 1].
        sources: coefficient times weight times 2π / exponent, m = -l..l.
        moments: sum over the group's primitives before this one of what their potentials are multipoles of: the
            factors of S_lm(d) / d^(2l+1), as ``sources``.
    """

    group_ptr: npt.NDArray[np.int64]
    group_l: npt.NDArray[np.int64]
    primitive_ptr: npt.NDArray[np.int64]
    exponents: npt.NDArray[np.float64]
    row_ptr: npt.NDArray[np.int64]
    sources: npt.NDArray[np.float64]
    moments: npt.NDArray[np.float64]


def orbital_potentials(orbitals: Orbitals, points: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """The potential ∫ f(r') / |r - r'| dr' and its gradient at points. Leaves a cut-off aside; not differentiable.

    Args:
        orbitals: of one molecule, one field, float64 (K = 1, no cells).
        points: Å [n_points, 3], float64.
        backend: "cpu" (compiled), "reference" (the definition), or "auto": cpu where the tensors are on it.

    Returns:
        [n_points] in e/Å and [n_points, 3] in e/Å² for a density in e/Å³; times e²/4πε₀ they are a potential energy
        and its gradient.

    Raises:
        ValueError: the orbitals are of several structures or fields or have cells, or the points are not such points.
    """
    if backend not in ("auto", "cpu", "reference"):
        raise ValueError(f"backend: expected auto, cpu or reference, got {backend}")
    if orbitals.n_structures != 1 or orbitals.n_channels != 1 or orbitals.cells is not None:
        raise ValueError("orbitals: potentials are of one field of one structure without a cell")
    if orbitals.dtype != torch.float64:
        raise ValueError(f"orbitals: expected float64, got {orbitals.dtype}")
    check_shape("points", points, "n_points", 3)
    check_numbers("points", points, orbitals.coefficients, "the coefficients")
    if backend == "reference" or (backend == "auto" and orbitals.device.type != "cpu"):
        return _by_definition(orbitals, points)
    from orbdens.kernels.cpu.potentials import potentials

    values, gradients = potentials(multipoles(orbitals), orbitals.site_positions.detach().numpy(), points.numpy())
    return torch.from_numpy(values), torch.from_numpy(gradients)


def potential_definition(orbitals: Orbitals, points: Tensor) -> Tensor:
    """The definition in plain PyTorch [n_points]: every pair of point and primitive at once; differentiable."""
    table = orbitals.shells.per_site(orbitals.site_type, orbitals.scalings)
    l_of_primitive = torch.repeat_interleave(table.shell_l, table.primitive_ptr.diff())
    shell_of_primitive = torch.repeat_interleave(
        torch.arange(len(table.shell_l)).to(l_of_primitive), table.primitive_ptr.diff()
    )
    site_of_shell = torch.repeat_interleave(torch.arange(orbitals.n_sites).to(l_of_primitive), table.shell_ptr.diff())
    vectors = points[:, None] - orbitals.site_positions
    squares = (vectors * vectors).sum(-1)[:, site_of_shell[shell_of_primitive]]
    l_max = max(table.shell_l.tolist(), default=0)
    radial = torch.zeros_like(squares)
    for l in range(l_max + 1):
        mine = l_of_primitive == l
        factors = table.weights[mine] * 2 * math.pi / table.exponents[mine]
        radial = radial.index_add(
            1, torch.nonzero(mine)[:, 0], factors * boys(l, table.exponents[mine] * squares[:, mine])
        )
    of_shell = radial.new_zeros(len(points), len(table.shell_l)).index_add(1, shell_of_primitive, radial)
    harmonics = solid_harmonics(l_max, vectors.flatten(0, 1)).reshape(len(points), -1, (l_max + 1) ** 2)
    width = 2 * table.shell_l + 1
    shell = torch.repeat_interleave(torch.arange(len(width)).to(width), width)
    m = torch.arange(len(shell)).to(width) - (torch.cumsum(width, 0) - width)[shell]
    angular = harmonics[:, site_of_shell[shell], table.shell_l[shell] ** 2 + m]
    return (of_shell[:, shell] * angular) @ orbitals.coefficients[:, 0]


def _by_definition(orbitals: Orbitals, points: Tensor) -> tuple[Tensor, Tensor]:
    """Values and gradients by ``potential_definition`` and autograd, in chunks of points."""
    values, gradients = points.new_zeros(len(points)), points.new_zeros(len(points), 3)
    step = max(1, MEMORY // (32 * max(1, orbitals.coefficients.shape[0])))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        at = points[part].detach().requires_grad_()
        with torch.enable_grad():
            found = potential_definition(orbitals, at)
            (gradients[part],) = torch.autograd.grad(found.sum(), at)
        values[part] = found.detach()
    return values, gradients


def multipoles(orbitals: Orbitals) -> Multipoles:
    """The orbitals of one structure and field, on the host, as the compiled loops take them."""
    from orbdens.kernels.blocks import pointers  # numba is dear to import

    table = orbitals.shells.per_site(orbitals.site_type, orbitals.scalings)
    shell_l, exponents = table.shell_l.numpy(), table.exponents.detach().numpy()
    counts = np.diff(table.primitive_ptr.numpy())
    shell = np.repeat(np.arange(len(shell_l)), counts)
    site = np.repeat(np.arange(orbitals.n_sites), np.diff(table.shell_ptr.numpy()))[shell]
    l = shell_l[shell]
    start = pointers(2 * shell_l + 1)[shell]
    factors = table.weights.detach().numpy() * 2 * np.pi / exponents
    order = np.lexsort((-exponents, l, site))
    key = np.stack([site, l, exponents])[:, order]
    merged = np.cumsum(np.append(True, (np.diff(key) != 0).any(axis=0))[: len(order)]) - 1  # primitives of other shells
    first = np.flatnonzero(np.diff(merged, prepend=-1))
    site, l, exponents = key[0, first].astype(np.int64), key[1, first].astype(np.int64), key[2, first]
    row_ptr = pointers(2 * l + 1)
    widths = 2 * l[merged] + 1
    inside = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
    coefficients = orbitals.coefficients.detach().numpy()[np.repeat(start[order], widths) + inside, 0]
    sources = np.zeros(row_ptr[-1])
    np.add.at(sources, np.repeat(row_ptr[merged], widths) + inside, coefficients * np.repeat(factors[order], widths))
    group_first = np.flatnonzero(np.append(True, (np.diff(np.stack([site, l])) != 0).any(axis=0))[: len(l)])
    return Multipoles(
        group_ptr=np.searchsorted(site[group_first], np.arange(orbitals.n_sites + 1)).astype(np.int64),
        group_l=l[group_first],
        primitive_ptr=np.append(group_first, len(l)).astype(np.int64),
        exponents=exponents,
        row_ptr=row_ptr,
        sources=sources,
        moments=_moments(l, exponents, sources, row_ptr, group_first),
    )


def _moments(
    l: npt.NDArray[np.int64],
    exponents: npt.NDArray[np.float64],
    sources: npt.NDArray[np.float64],
    row_ptr: npt.NDArray[np.int64],
    group_first: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Running sums of multipoles in each group, the primitive's own left out; laid out as the sources."""
    far = np.array([math.gamma(n + 0.5) / 2 for n in l.tolist()]) * exponents ** (-l - 0.5)
    own = sources * np.repeat(far, 2 * l + 1)
    moments = np.zeros_like(sources)
    for first, last in zip(group_first, np.append(group_first[1:], len(l)), strict=True):
        rows = slice(row_ptr[first], row_ptr[last])
        table = own[rows].reshape(last - first, -1)
        moments[rows] = (np.cumsum(table, axis=0) - table).reshape(-1)
    return moments
