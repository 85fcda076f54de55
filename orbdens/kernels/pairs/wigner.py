"""Rotations of real spherical harmonics into the frame of an edge, whose direction becomes the polar axis z.

With θ, φ the polar angles of the edge, that frame is reached by D(φ, θ) = D_y(-θ) D_z(-φ). D_z mixes +m and -m by
cos mφ, sin mφ; D_y(θ) is a trigonometric polynomial in θ of degree l, Σ_m C_m cos mθ + S_m sin mθ, whose constant
matrices are read off once from the harmonics. So all D of a batch come from one small matrix product.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from orbdens.kernels.harmonics import solid_harmonics


@lru_cache
def _series_of_degree(l: int) -> Tensor:
    """Coefficients [2l+1, (2l+1)²] of D_y(-θ) over (1, cos θ, ..., cos lθ, sin θ, ..., sin lθ), float64."""
    angles = torch.arange(2 * l + 1, dtype=torch.float64) * (2 * math.pi / (2 * l + 1))
    orders = torch.arange(l + 1, dtype=torch.float64)
    design = torch.cat([torch.cos(angles[:, None] * orders), torch.sin(angles[:, None] * orders[1:])], dim=1)
    directions = _directions(l)  # D follows from the harmonics of rotated directions.
    before = _harmonics(l, directions)
    samples = torch.stack(
        [torch.linalg.lstsq(before, _harmonics(l, directions @ _about_y(-a).T)).solution.T.reshape(-1) for a in angles]
    )
    return torch.linalg.solve(design, samples)


def _directions(l: int) -> Tensor:
    """Unit vectors, more than there are harmonics of this l, float64 [n, 3]."""
    vectors = torch.randn(4 * (2 * l + 1), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return vectors / vectors.norm(dim=1, keepdim=True)


def _harmonics(l: int, directions: Tensor) -> Tensor:
    return solid_harmonics(l, directions)[:, l * l :]


def _about_y(angle: Tensor) -> Tensor:
    c, s = math.cos(float(angle)), math.sin(float(angle))
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], dtype=torch.float64)


@lru_cache
def y_rotation_series(l_max: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """D_y(-θ) of l = 0 ... l_max, row by row, over (1, cos θ, ..., sin θ, ...) up to l_max [2 l_max + 1, n]."""
    size = sum((2 * l + 1) ** 2 for l in range(l_max + 1))
    series = torch.zeros(2 * l_max + 1, size, dtype=torch.float64)
    start = 0
    for l in range(l_max + 1):
        stop = start + (2 * l + 1) ** 2
        one = _series_of_degree(l)
        series[: l + 1, start:stop] = one[: l + 1]
        series[l_max + 1 : l_max + 1 + l, start:stop] = one[l + 1 :]
        start = stop
    return series.to(dtype=dtype, device=device)


def edge_rotations(vectors: Tensor, l_max: int) -> list[Tensor]:
    """Matrices that rotate harmonics so that each vector's direction becomes +z.

    The angle about the edge is arbitrary. Where gradients with respect to the vectors are asked for, edges near the
    polar axis, at which angles have no derivative, take a detour over turned axes.

    Args:
        vectors: edges [n_edges, 3], none of length zero.
        l_max: highest angular momentum.

    Returns:
        For each l a tensor [n_edges, 2l+1, 2l+1]; component m of the rotated features is row m + l.
    """
    if not vectors.requires_grad:
        return _by_angles(vectors, l_max)
    # (x, y, z) -> (y, z, x) brings an edge along z to y.
    steep = vectors[:, 2].square() > 0.5 * vectors.square().sum(dim=1)
    turned = _by_angles(torch.where(steep[:, None], vectors[:, [1, 2, 0]], vectors), l_max)
    return [
        torch.where(steep[:, None, None], rotation @ _axes_matrix(l).to(rotation), rotation)
        for l, rotation in enumerate(turned)
    ]


@lru_cache
def _axes_matrix(l: int) -> Tensor:
    """Harmonics of (y, z, x) from those of (x, y, z), [2l+1, 2l+1], float64."""
    directions = _directions(l)
    return torch.linalg.lstsq(_harmonics(l, directions), _harmonics(l, directions[:, [1, 2, 0]])).solution.T


def _by_angles(vectors: Tensor, l_max: int) -> list[Tensor]:
    x, y, z = vectors.unbind(-1)
    length = vectors.norm(dim=-1)
    across = torch.hypot(x, y)
    polar = across < 1e-9 * length
    cos_phi = torch.where(polar, 1.0, x / torch.where(polar, 1.0, across))
    sin_phi = torch.where(polar, 0.0, y / torch.where(polar, 1.0, across))
    cos_m_theta, sin_m_theta = _multiples(z / length, across / length, l_max)
    cos_m_phi, sin_m_phi = _multiples(cos_phi, sin_phi, l_max)
    flat = torch.cat([cos_m_theta, sin_m_theta[:, 1:]], dim=1) @ y_rotation_series(l_max, vectors.dtype, vectors.device)
    rotations = []
    start = 0
    for l in range(l_max + 1):
        size = 2 * l + 1
        about_y = flat[:, start : start + size * size].reshape(-1, size, size)
        start += size * size
        order = torch.arange(-l, l + 1, device=vectors.device).abs()
        sign = torch.arange(-l, l + 1, device=vectors.device).sign()
        cos, sin = cos_m_phi[:, None, order], sign * sin_m_phi[:, None, order]
        # Column m of D_y D_z(-φ): D_z(-φ) sends (c_m, c_-m) to (c_m cos + c_-m sin, c_-m cos - c_m sin), m > 0.
        rotations.append(about_y * cos - about_y.flip(-1) * sin)
    return rotations


def _multiples(cos: Tensor, sin: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """cos mx and sin mx for m = 0 ... order, [n, order + 1] each, by the angle-sum recursion."""
    cosines, sines = [torch.ones_like(cos)], [torch.zeros_like(sin)]
    for _ in range(order):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cos - s * sin)
        sines.append(s * cos + c * sin)
    return torch.stack(cosines, dim=1), torch.stack(sines, dim=1)
