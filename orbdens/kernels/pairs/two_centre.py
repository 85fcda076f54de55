"""Two-centre integrals of Gaussian orbitals in closed form, in the frame of a pair of sites.

There they are diagonal in m and depend on the distance R alone. With Fourier transforms of the orbitals and the
plane-wave expansion, for L2-normalised orbitals (l, α) at the origin and (l', β) at R ẑ,

    S_m(R) = Σ_L (-1)^((l - l' - L)/2) √(4π (2L+1)) G_m(l, l', L) N ∫ v(k) k^(l+l'+2) exp(-γk²) j_L(kR) dk,
    γ = 1/4α + 1/4β,   G_m = ∫ Y_lm Y_l'm Y_L0 dΩ,

where v = 1 gives overlaps ⟨χ|χ'⟩ and v = 4π/k² Coulomb integrals ∫∫ χ(r) χ'(r') / |r - r'| dr dr'. With x = R²/4γ,

    ∫ k^(2n+L+2) exp(-γk²) j_L(kR) dk = √π n! / 2^(L+2) · R^L γ^-(L+n+3/2) exp(-x) L_n^(L+1/2)(x)   (n >= 0),
    ∫ k^L exp(-γk²) j_L(kR) dk = √π / 2^(L+1) · R^L γ^-(L+1/2) F_L(x),   F_L(x) = ∫_0^1 t^(2L) exp(-x t²) dt,

L_n^a the Laguerre polynomials and F_L the Boys function (Gradshteyn & Ryzhik 6.631; the route is that of Talman,
J. Chem. Phys. 80, 2000 (1984)).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.boys import boys
from orbdens.kernels.shells import normalisation

Metric = Literal["overlap", "coulomb"]


@lru_cache
def gaunt(l: int, l2: int, order: int, m: int) -> float:
    """∫ Y_lm Y_l'm Y_L0 dΩ of real harmonics."""
    from scipy.special import sph_legendre_p

    x, w = np.polynomial.legendre.leggauss(l + l2 + order + 2)
    theta = np.arccos(x)
    product = sph_legendre_p(l, m, theta) * sph_legendre_p(l2, m, theta) * sph_legendre_p(order, 0, theta)
    return float(2 * np.pi * (w * product).sum())


def _laguerre(n: int, a: float, x: Tensor) -> Tensor:
    before, now = torch.zeros_like(x), torch.ones_like(x)
    for k in range(n):
        before, now = now, ((2 * k + 1 + a - x) * now - (k + a) * before) / (k + 1)
    return now


def pair_integrals(l: int, exponents: Tensor, l2: int, exponents2: Tensor, distance: Tensor, metric: Metric) -> Tensor:
    """Overlap or Coulomb integrals of L2-normalised primitives of two sites, in the frame of the pair.

    Args:
        l, l2: angular momenta at the first site (origin) and the second (on the positive z axis).
        exponents, exponents2: Å⁻² [n], [n2].
        distance: Å [n_distances]; zero is allowed.
        metric: ``overlap`` (no unit) or ``coulomb`` (Å²; times e²/4πε₀ an energy).

    Returns:
        [n_distances, min(l, l2) + 1, n, n2] for m = 0, 1, ...; the integral of -m is that of m. Differentiable.
    """
    a, b = exponents[:, None], exponents2[None, :]
    gamma = 1 / (4 * a) + 1 / (4 * b)
    r = distance[:, None, None]
    x = r * r / (4 * gamma)
    # 4π times the k-space radial factors √π / (2^(l+2) α^(l+3/2)) of both, over (2π)³.
    scale = normalisation(l, a) * normalisation(l2, b) * (16 * math.pi**2 / (8 * math.pi**3) * math.pi)
    scale = scale / (2 ** (l + l2 + 4) * a ** (l + 1.5) * b ** (l2 + 1.5))
    if metric == "coulomb":
        scale = scale * 4 * math.pi
    gauss = torch.exp(-x)
    per_m: list[Tensor] = [torch.zeros_like(x) for _ in range(min(l, l2) + 1)]
    for order in range(abs(l - l2), l + l2 + 1, 2):
        n = (l + l2 - order) // 2 - (metric == "coulomb")
        if n < 0:
            radial = math.sqrt(math.pi) / 2 ** (order + 1) * r**order * gamma ** -(order + 0.5) * boys(order, x)
        else:
            power = gamma ** -(order + n + 1.5) * gauss * _laguerre(n, order + 0.5, x)
            radial = math.sqrt(math.pi) * math.factorial(n) / 2 ** (order + 2) * r**order * power
        phase = (-1) ** ((l - l2 - order) // 2) * math.sqrt(4 * math.pi * (2 * order + 1))
        for m in range(min(l, l2) + 1):
            per_m[m] = per_m[m] + phase * gaunt(l, l2, order, m) * scale * radial
    return torch.stack(per_m, dim=1)
