"""The Boys functions F_n(x) = ∫_0^1 t^(2n) exp(-x t²) dt, of which Coulomb integrals of Gaussians are made."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

STEPS = 8
"""Rows of ``boys_table`` per unit of x."""

TAYLOR = 6
"""Terms of the expansion about the nearest row: the first one left out is under 1e-11."""


def boys(order: int, x: Tensor) -> Tensor:
    """F_order(x), x >= 0: the power series up to x = 1, an incomplete gamma function beyond; differentiable."""
    near = torch.where(x < 1, x, torch.zeros_like(x))
    term, series = torch.ones_like(x), torch.zeros_like(x)
    for k in range(18):
        series = series + term / (2 * order + 2 * k + 1)
        term = -term * near / (k + 1)
    far = torch.where(x < 1, torch.ones_like(x), x)
    half = order + 0.5
    gamma = torch.special.gammainc(torch.full_like(x, half), far)
    return torch.where(x < 1, series, 0.5 * math.gamma(half) * gamma * far**-half)


def boys_limit(order: int) -> float:
    """x from which on F_order(x) is its limit Γ(order + 1/2) / (2 x^(order + 1/2)), to 1e-10 of it."""
    return 24.0 + 3.0 * order


@cache
def boys_table(order_max: int) -> npt.NDArray[np.float64]:
    """F_n(i / STEPS), n = 0..order_max + TAYLOR - 1, for x up to the limit of the highest order [n_rows, n_orders].

    F_n(x + d) = Σ_k F_(n+k)(x) (-d)^k / k!.
    """
    x = torch.arange(int(boys_limit(order_max) * STEPS) + 2, dtype=torch.float64) / STEPS
    return np.ascontiguousarray(torch.stack([boys(n, x) for n in range(order_max + TAYLOR)], dim=1).numpy())
