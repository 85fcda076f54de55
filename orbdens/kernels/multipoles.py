"""Multipoles of sums of Gaussian orbitals about their sites and about any other place, in closed form.

The multipoles of a density are M_lm = ∫ρ S_lm(r) dr. Of a primitive S_lm exp(-a r²) about its own site only the one
with its own l and m is not zero, and is Γ(l + 3/2) / (2 a^(l + 3/2)). About another place S_lm(r + R) is a sum of
harmonics of r of l' <= l, so the multipoles to l of a site are all it takes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.harmonics import solid_harmonics
from orbdens.kernels.integrals import per_site
from orbdens.kernels.orbitals import Orbitals


def site_multipoles(orbitals: Orbitals, l_max: int) -> Tensor:
    """∫f_i S_lm(r − R_i) dr of the part of one field that is on each site [n_sites, (l_max + 1)²], index l² + l + m.

    Differentiable. Leaves a cut-off aside.

    Raises:
        ValueError: there are several fields.
    """
    if orbitals.n_channels != 1:
        raise ValueError("orbitals: multipoles are of one field")
    table, owner, start = per_site(orbitals)
    l_of_primitive = torch.repeat_interleave(table.shell_l, table.primitive_ptr.diff())
    power = l_of_primitive.to(orbitals.dtype) + 1.5
    of_primitives = table.weights * torch.exp(torch.lgamma(power)) / (2 * table.exponents**power)
    shell = torch.repeat_interleave(torch.arange(len(start), device=start.device), table.primitive_ptr.diff())
    of_shells = of_primitives.new_zeros(len(start)).index_add(0, shell, of_primitives)
    result = of_shells.new_zeros(orbitals.n_sites * (l_max + 1) ** 2)
    for l in range(l_max + 1):
        mine = torch.nonzero(table.shell_l == l)[:, 0]
        m = torch.arange(2 * l + 1, device=start.device)
        values = of_shells[mine, None] * orbitals.coefficients[start[mine, None] + m, 0]
        rows = owner[mine, None] * (l_max + 1) ** 2 + l * l + m
        result = result.index_add(0, rows.flatten(), values.flatten())
    return result.reshape(orbitals.n_sites, -1)


def moved_multipoles(multipoles: Tensor, vectors: Tensor) -> Tensor:
    """Multipoles of the same sources about places from which the old ones are ``vectors`` away. Exact.

    S_lm(u + R) on the unit sphere is projected on the harmonics of u by a quadrature that is exact for it.

    Args:
        multipoles: float64 [n, (l_max + 1)²].
        vectors: Å [n, 3], from the new place to the old one.
    """
    l_max = math.isqrt(multipoles.shape[1]) - 1
    u, volumes = sphere_quadrature(2 * l_max)
    harmonics = solid_harmonics(l_max, u)
    shifted = solid_harmonics(l_max, (vectors[:, None] + u).reshape(-1, 3)).reshape(len(vectors), len(u), -1)
    return torch.einsum("nuk,u,uj,nj->nk", shifted, volumes, harmonics, multipoles)


def sphere_quadrature(degree: int) -> tuple[Tensor, Tensor]:
    """Unit vectors [n, 3] and weights [n] that integrate polynomials of a degree over the unit sphere exactly."""
    z, w = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angle = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    ring = np.sqrt(1 - z * z)[:, None]
    unit = np.stack([ring * np.cos(angle), ring * np.sin(angle), np.broadcast_to(z[:, None], (len(z), len(angle)))], -1)
    weights = np.repeat(w, len(angle)) * 2 * np.pi / len(angle)
    return torch.from_numpy(unit.reshape(-1, 3)), torch.from_numpy(weights)
