"""The real solid harmonics S_lm = r^l Y_lm, and their constants, shared by every backend.

Order m = -l..l, no Condon-Shortley phase, Y_lm orthonormal on the sphere. With A_m + i B_m = (x + i y)^m,
``S_l,+m = Q_lm A_m`` and ``S_l,-m = Q_lm B_m``, where Q_lm(z, r²) obeys the two-term recursion below
(Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory, 6.4). The index of (l, m) is l² + l + m.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

L_LIMIT = 12

Array = npt.NDArray[np.float64]


def _norm(l: int, m: int) -> float:
    """Factor between (x + iy)^m P_lm-like recursion terms and the orthonormal harmonic, m >= 0."""
    ratio = math.factorial(l - m) / math.factorial(l + m)
    return math.sqrt((2.0 if m else 1.0) * (2 * l + 1) / (4 * math.pi) * ratio)


@cache
def recursion(l_max: int = L_LIMIT) -> tuple[Array, Array, Array]:
    """Recursion constants: ``Q_mm = start[m]``, ``Q_lm = up[l, m] z Q_(l-1)m - down[l, m] r² Q_(l-2)m``.

    Returns:
        start [l_max + 1], up [l_max + 1, l_max + 1], down [l_max + 1, l_max + 1].
    """
    start = np.zeros(l_max + 1)
    up = np.zeros((l_max + 1, l_max + 1))
    down = np.zeros((l_max + 1, l_max + 1))
    double_factorial = 1.0
    for m in range(l_max + 1):
        start[m] = _norm(m, m) * double_factorial
        double_factorial *= 2 * m + 1
        for l in range(m + 1, l_max + 1):
            up[l, m] = (2 * l - 1) / (l - m) * _norm(l, m) / _norm(l - 1, m)
            if l > m + 1:
                down[l, m] = (l + m - 1) / (l - m) * _norm(l, m) / _norm(l - 2, m)
    return start, up, down


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


@cache
def gradient_table(l_max: int = L_LIMIT) -> tuple[npt.NDArray[np.int64], Array]:
    """The gradient of every S_lm as two terms per axis, each a factor times a harmonic of l - 1.

    ``d S_k / d axis = sum_t factor[k, axis, t] * S[source[k, axis, t]]``; unused terms have factor 0, source 0.
    From (d_x ± i d_y) and d_z acting on r^l P_lm e^(i m phi) / (l + m)!, which each give one such function of l - 1.

    Returns:
        source int64 [(l_max + 1)², 3, 2], factor [(l_max + 1)², 3, 2].
    """
    source = np.zeros(((l_max + 1) ** 2, 3, 2), dtype=np.int64)
    factor = np.zeros(((l_max + 1) ** 2, 3, 2))

    def scale(l: int, m: int) -> float:
        return _norm(l, abs(m)) * math.factorial(l + abs(m))

    def put(l: int, m: int, axis: int, term: int, m_source: int, value: float) -> None:
        if abs(m_source) <= l - 1:
            source[l * l + l + m, axis, term] = (l - 1) ** 2 + l - 1 + m_source
            factor[l * l + l + m, axis, term] = value * scale(l, m) / scale(l - 1, m_source)

    for l in range(1, l_max + 1):
        put(l, 0, 0, 0, 1, -1.0)
        put(l, 0, 1, 0, -1, -1.0)
        put(l, 0, 2, 0, 0, 1.0)
        for m in range(1, l + 1):
            put(l, m, 0, 0, m - 1, 0.5)
            put(l, m, 0, 1, m + 1, -0.5)
            put(l, m, 1, 0, -(m + 1), -0.5)
            put(l, -m, 0, 1, -(m + 1), -0.5)
            put(l, -m, 1, 0, m + 1, 0.5)
            put(l, -m, 1, 1, m - 1, 0.5)
            if m > 1:
                put(l, m, 1, 1, -(m - 1), -0.5)
                put(l, -m, 0, 0, -(m - 1), 0.5)
            put(l, m, 2, 0, m, 1.0)
            put(l, -m, 2, 0, -m, 1.0)
    return source, factor


@cache
def monomials(l: int) -> Array:
    """The S_lm of one l as polynomials, [2l + 1, (l + 1)(l + 2)/2].

    Column order: x^a y^b z^(l - a - b) with a = 0..l outside and b = 0..l - a inside.
    """
    start, up, down = recursion()
    polynomials: dict[tuple[int, int, int], float]

    def times(p: dict[tuple[int, int, int], float], factor: float, *powers: tuple[int, int, int]) -> None:
        for (a, b, c), value in p.items():
            for i, j, k in powers:
                key = (a + i, b + j, c + k)
                polynomials[key] = polynomials.get(key, 0.0) + factor * value

    result = np.zeros((2 * l + 1, (l + 1) * (l + 2) // 2))
    cosine: dict[tuple[int, int, int], float] = {(0, 0, 0): 1.0}
    sine: dict[tuple[int, int, int], float] = {}
    for m in range(l + 1):
        before: dict[tuple[int, int, int], float] = {}
        now = {(0, 0, 0): start[m]}
        for degree in range(m + 1, l + 1):
            polynomials = {}
            times(now, up[degree, m], (0, 0, 1))
            times(before, -down[degree, m], (2, 0, 0), (0, 2, 0), (0, 0, 2))
            before, now = now, polynomials
        for sign, angular in ((1, cosine), (-1, sine)):
            polynomials = {}
            for powers, value in angular.items():
                times(now, value, powers)
            for (a, b, _), value in polynomials.items():
                result[l + sign * m, a * (l + 1) - a * (a - 1) // 2 + b] = value
        polynomials = {}
        times(cosine, 1.0, (1, 0, 0))
        times(sine, -1.0, (0, 1, 0))
        turned = polynomials
        polynomials = {}
        times(sine, 1.0, (1, 0, 0))
        times(cosine, 1.0, (0, 1, 0))
        cosine, sine = turned, polynomials
    return result
