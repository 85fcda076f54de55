"""Integrals of orbitals over all space in closed form: charges, first moments and Fourier transforms.

A primitive χ_m = S_lm(r - R) exp(-a |r - R|²) has, with v = (π / a)^(3/2),

- for l = 0 alone the integral ∫ χ dr = v / √4π,
- for l = 1 alone the moment ∫ χ_m (r - R)_m dr = √(3 / 4π) v / 2a, components y, z, x for m = -1, 0, 1,
- for every l the Fourier transform ∫ χ_m exp(-ik·r) dr = (-i / 2a)^l v S_lm(k) exp(-k² / 4a) exp(-ik·R).

All of it is differentiable in the positions, exponents, weights, coefficients and scalings, and leaves a cut-off aside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orbdens.kernels.harmonics import solid_harmonics
from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.shells import Shells


def shell_integrals(shells: Shells) -> Tensor:
    """∫ χ dr of the orbital of each shell of l = 0, zero for the others [n_shells]."""
    values = shells.weights * (math.pi / shells.exponents) ** 1.5 * math.sqrt(1 / (4 * math.pi))
    return _of_degree(shells, 0, values)


def shell_moments(shells: Shells) -> Tensor:
    """∫ χ_m r_m dr of each shell of l = 1, about its site, zero for the others [n_shells]; r_m is y, z, x."""
    values = (
        shells.weights * (math.pi / shells.exponents) ** 1.5 * math.sqrt(3 / (4 * math.pi)) / (2 * shells.exponents)
    )
    return _of_degree(shells, 1, values)


def orbital_field_integrals(orbitals: Orbitals) -> Tensor:
    """∫ f_k dr of every structure [n_structures, K]; the electrons of a density."""
    return _sum(orbitals, _site_integrals(orbitals))


def orbital_field_moments(orbitals: Orbitals) -> Tensor:
    """∫ f_k r dr of every structure, about the origin of the coordinates, in Å [n_structures, 3, K]."""
    table, owner, start = per_site(orbitals)
    charges = _site_integrals(orbitals)
    p = table.shell_l == 1
    rows = start[p][:, None] + torch.tensor([2, 0, 1], device=start.device)  # x, y, z
    moments = shell_moments(table)[p][:, None, None] * orbitals.coefficients[rows]
    of_sites = orbitals.site_positions[:, :, None] * charges[:, None]
    return _sum(orbitals, of_sites.index_add(0, owner[p], moments))


def orbital_field_transforms(orbitals: Orbitals, vectors: Tensor) -> Tensor:
    """∫ f_k exp(-ik·r) dr of every structure, complex [n_structures, n_vectors, K].

    Memory grows with coefficients times vectors.

    Args:
        orbitals: orbitals of any number of structures.
        vectors: wave vectors k in 1/Å [n_vectors, 3], in the precision of the orbitals.
    """
    table, owner, start = per_site(orbitals)
    l_of_primitive = torch.repeat_interleave(table.shell_l, table.primitive_ptr.diff())
    alpha = table.exponents[:, None]
    decay = torch.exp(-(vectors * vectors).sum(1) / (4 * alpha))
    radial = table.weights[:, None] * (math.pi / alpha) ** 1.5 / (2 * alpha) ** l_of_primitive[:, None] * decay
    phases = torch.exp(-1j * (orbitals.site_positions @ vectors.T))[owner]
    powers = torch.tensor([1, -1j, -1, 1j], dtype=phases.dtype, device=phases.device)  # of -i
    of_shell = _summed(table, radial) * phases * powers[table.shell_l % 4, None]
    harmonics = solid_harmonics(max(table.shell_l.tolist(), default=0), vectors)
    shell = torch.repeat_interleave(torch.arange(len(start), device=start.device), 2 * table.shell_l + 1)
    m = torch.arange(len(shell), device=start.device) - start[shell]
    of_coefficient = of_shell[shell] * harmonics.T[table.shell_l[shell] ** 2 + m]
    terms = of_coefficient[:, :, None] * orbitals.coefficients[:, None]
    of_sites = terms.new_zeros(orbitals.n_sites, *terms.shape[1:]).index_add(0, owner[shell], terms)
    return _sum(orbitals, of_sites)


def per_site(orbitals: Orbitals) -> tuple[Shells, Tensor, Tensor]:
    """The shells of every site in a table of their own, the site of each, and its first coefficient."""
    table = orbitals.shells.per_site(orbitals.site_type, orbitals.scalings)
    owner = torch.repeat_interleave(torch.arange(orbitals.n_sites, device=orbitals.device), table.shell_ptr.diff())
    widths = 2 * table.shell_l + 1
    return table, owner, torch.cumsum(widths, 0) - widths


def _site_integrals(orbitals: Orbitals) -> Tensor:
    """Integrals of the part of the fields that belongs to each site [n_sites, K]."""
    table, owner, start = per_site(orbitals)
    s = table.shell_l == 0
    parts = shell_integrals(table)[s][:, None] * orbitals.coefficients[start[s]]
    return parts.new_zeros(orbitals.n_sites, orbitals.n_channels).index_add(0, owner[s], parts)


def _of_degree(shells: Shells, l: int, of_primitives: Tensor) -> Tensor:
    """Sums over the primitives of each shell of one l, zero for the others [n_shells]."""
    return torch.where(shells.shell_l == l, _summed(shells, of_primitives), 0.0)


def _summed(shells: Shells, of_primitives: Tensor) -> Tensor:
    """Sums over the primitives of each shell [n_shells, ...]."""
    n_shells = shells.shell_l.shape[0]
    shell = torch.repeat_interleave(torch.arange(n_shells, device=of_primitives.device), shells.primitive_ptr.diff())
    return of_primitives.new_zeros(n_shells, *of_primitives.shape[1:]).index_add(0, shell, of_primitives)


def _sum(orbitals: Orbitals, of_sites: Tensor) -> Tensor:
    """Sums over the sites of each structure [n_structures, ...]."""
    return of_sites.new_zeros(orbitals.n_structures, *of_sites.shape[1:]).index_add(
        0, orbitals.structure_of_site(), of_sites
    )
