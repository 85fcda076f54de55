"""Compiled loops over pairs of sites: overlaps of Gaussians, and projections of a density of products of orbitals.

The formulas are those of ``kernels/pairs/two_centre.py``; ``kernels/pairs/closed_form.py`` has the tables.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orbdens.kernels.compiling import cached_njit

LARGEST = 45.0
"""exp(-x) is nothing beyond."""

compiled: Any = cached_njit(nogil=True, error_model="numpy", fastmath={"contract"})


@compiled
def turn(x: float, y: float, z: float, l_max: int, swap: Any, work: Any, turned: Any) -> None:
    """Matrices [l_max + 1, 2l+1, 2l+1] that turn harmonics so that (x, y, z) points along +z.

    A turn about y is one about z between two exchanges of y and z, which are the constants ``swap``.
    """
    across = math.hypot(x, y)
    r = math.hypot(across, z)
    cos_t, sin_t = (z / r, across / r) if r > 0 else (1.0, 0.0)
    cos_p, sin_p = (x / across, y / across) if across > 0 else (1.0, 0.0)
    for l in range(l_max + 1):
        n = 2 * l + 1
        c, s = 1.0, 0.0
        for m in range(l + 1):
            for j in range(n):
                above, below = swap[l, l + m, j], swap[l, l - m, j]
                work[0, l + m, j] = c * above - s * below
                if m > 0:
                    work[0, l - m, j] = c * below + s * above
            c, s = c * cos_t - s * sin_t, s * cos_t + c * sin_t
        for i in range(n):
            for j in range(n):
                work[1, i, j] = 0.0
            for k in range(n):
                factor = swap[l, i, k]
                if factor != 0.0:
                    for j in range(n):
                        work[1, i, j] += factor * work[0, k, j]
        c, s = 1.0, 0.0
        for m in range(l + 1):
            for i in range(n):
                above, below = work[1, i, l + m], work[1, i, l - m]
                turned[l, i, l + m] = above * c - below * s
                if m > 0:
                    turned[l, i, l - m] = above * s + below * c
            c, s = c * cos_p - s * sin_p, s * cos_p + c * sin_p


@compiled
def powers(quarter: float, exponents: Any, n: int, r2: float, highest: int, x: Any, power: Any) -> None:
    """x = r²/4γ into x[0] and exp(-x) γ^-(k + 3/2) for k up to ``highest`` into power [highest + 1, n]; 1/4α given."""
    for c in range(n):
        inverse = 1.0 / (quarter + 0.25 / exponents[c])
        x[0, c] = 0.25 * r2 * inverse
        x[1, c] = inverse
        power[0, c] = math.exp(-x[0, c]) * inverse * math.sqrt(inverse)
    for k in range(highest):
        for c in range(n):
            power[k + 1, c] = power[k, c] * x[1, c]


@compiled
def laguerre(degree: int, a: float, n: int, x: Any, before: Any, now: Any) -> None:
    """The polynomial L_degree^a of x [n] into now [n]."""
    for c in range(n):
        before[c] = 0.0
        now[c] = 1.0
    for k in range(degree):
        for c in range(n):
            after = ((2 * k + 1 + a - x[0, c]) * now[c] - (k + a) * before[c]) / (k + 1)
            before[c] = now[c]
            now[c] = after


@compiled
def overlap_matrix(
    positions: Any,
    kind: Any,
    scales: Any,
    start: Any,
    kinds: Any,
    coupling: Any,
    factorial: Any,
    swap: Any,
    out: Any,
) -> None:
    """Overlaps of the functions of different sites, into the upper triangle of out [n, n].

    kinds: (group_ptr, group_l, first, n_exponents, n_radial, column, weight_ptr, exponents, weights); weights of a
    group are [n_exponents, n_radial] from ``weight_ptr`` on.
    """
    group_ptr, group_l, first, n_exponents, n_radial, column, weight_ptr, exponents, weights = kinds
    l_max, most = group_l.max(), max(n_exponents.max(), n_radial.max())
    width = 2 * l_max + 1
    work, turned = np.empty((2, width, width)), np.empty((l_max + 1, width, width))
    x, before, now = np.empty((2, most)), np.empty(most), np.empty(most)
    power = np.empty((2 * l_max + 1, most))
    square = (l_max + 1, most, most)
    primitive, half, radial = np.empty(square), np.empty(square), np.empty(square)
    angular = np.empty((l_max + 1, width))
    for i in range(len(positions)):
        for j in range(i + 1, len(positions)):
            vx, vy, vz = positions[j] - positions[i]
            r2 = vx * vx + vy * vy + vz * vz
            turn(vx, vy, vz, l_max, swap, work, turned)
            for g in range(group_ptr[kind[i]], group_ptr[kind[i] + 1]):
                l, n, n_rows = group_l[g], n_exponents[g], n_radial[g]
                for h in range(group_ptr[kind[j]], group_ptr[kind[j] + 1]):
                    l2, n2, n_columns = group_l[h], n_exponents[h], n_radial[h]
                    lowest = min(l, l2)
                    primitive[: lowest + 1, :n, :n2] = 0.0
                    for a in range(n):
                        quarter = 0.25 / exponents[first[g] + a]
                        powers(quarter, exponents[first[h] :], n2, r2, l + l2, x, power)
                        distance = math.sqrt(r2) ** abs(l - l2)
                        for order in range(abs(l - l2), l + l2 + 1, 2):
                            degree = (l + l2 - order) // 2
                            laguerre(degree, order + 0.5, n2, x, before, now)
                            for c in range(n2):
                                now[c] *= power[order + degree, c]
                            for m in range(lowest + 1):
                                factor = coupling[l, l2, order, m] * factorial[degree] * distance
                                for c in range(n2):
                                    primitive[m, a, c] += factor * now[c]
                            distance *= r2
                    for m in range(lowest + 1):
                        half[m, :n_rows, :n2] = 0.0
                        radial[m, :n_rows, :n_columns] = 0.0
                        for a in range(n):
                            for p in range(n_rows):
                                factor = scales[i] * scales[j] * weights[weight_ptr[g] + a * n_rows + p]
                                for c in range(n2):
                                    half[m, p, c] += factor * primitive[m, a, c]
                        for p in range(n_rows):
                            for c in range(n2):
                                for q in range(n_columns):
                                    radial[m, p, q] += half[m, p, c] * weights[weight_ptr[h] + c * n_columns + q]
                    width2 = 2 * l2 + 1
                    for k in range(2 * l + 1):
                        for m in range(lowest + 1):
                            for k2 in range(width2):
                                product = turned[l, l + m, k] * turned[l2, l2 + m, k2]
                                if m > 0:
                                    product += turned[l, l - m, k] * turned[l2, l2 - m, k2]
                                angular[m, k2] = product
                        for p in range(n_rows):
                            row = start[i] + column[g] + p * (2 * l + 1) + k
                            for q in range(n_columns):
                                at = start[j] + column[h] + q * width2
                                for k2 in range(width2):
                                    out[row, at + k2] = radial[0, p, q] * angular[0, k2]
                                for m in range(1, lowest + 1):
                                    for k2 in range(width2):
                                        out[row, at + k2] += radial[m, p, q] * angular[m, k2]


@compiled
def project(
    centres: Any,
    of_products: Any,
    degrees: Any,
    moments: Any,
    positions: Any,
    kind: Any,
    start: Any,
    kinds: Any,
    coupling: Any,
    factorial: Any,
    swap: Any,
    out: Any,
) -> None:
    """Integrals of the functions of sites with a density of Gaussians, added to out [n].

    centres [n_products, 3], of_products [n_products] (exponents), degrees [n_products], moments [n_products, n]: for
    d = 0..degree and v = 0..d // 2 the coefficients of the v-fold Laplacians of the harmonic Gaussians l = d - 2v.
    kinds as in ``overlap_matrix``.
    """
    group_ptr, group_l, first, n_exponents, n_radial, column, weight_ptr, exponents, weights = kinds
    l_site, l_product, most = group_l.max(), degrees.max(), n_exponents.max()
    l_max = max(l_site, l_product)
    limits = np.empty(len(centres))
    for t in range(len(centres)):
        size, at = 0.0, 0
        for d in range(degrees[t] + 1):
            for k in range(at, at + (d + 1) * (d + 2) // 2):
                size = max(size, abs(moments[t, k]) * of_products[t] ** (d / 2))
            at += (d + 1) * (d + 2) // 2
        limits[t] = LARGEST + math.log(size)
    width = 2 * l_max + 1
    work, turned = np.empty((2, width, width)), np.empty((l_max + 1, width, width))
    x, before, now = np.empty((2, most)), np.empty(most), np.empty(most)
    power = np.empty((l_product + l_site + 1, most))
    framed = np.empty((l_product + 1, l_product // 2 + 1, 2 * l_product + 1))
    inner, plus, minus = np.empty((2 * l_site + 1, most)), np.empty(l_site + 1), np.empty(l_site + 1)
    n_groups = group_ptr[-1]
    sums = np.zeros((n_groups, 2 * l_site + 1, most))
    for i in range(len(positions)):
        begin, end = group_ptr[kind[i]], group_ptr[kind[i] + 1]
        highest, softest = 0, math.inf
        for g in range(begin, end):
            sums[g] = 0.0
            highest, softest = max(highest, group_l[g]), min(softest, exponents[first[g]])
        for t in range(len(centres)):
            vx, vy, vz = positions[i] - centres[t]
            r2 = vx * vx + vy * vy + vz * vz
            quarter, degree = 0.25 / of_products[t], degrees[t]
            if 0.25 * r2 / (quarter + 0.25 / softest) > limits[t]:
                continue
            turn(vx, vy, vz, max(highest, degree), swap, work, turned)
            at = 0
            for d in range(degree + 1):
                for v in range(d // 2 + 1):
                    l = d - 2 * v
                    for m in range(2 * l + 1):
                        value = 0.0
                        for k in range(2 * l + 1):
                            value += turned[l, m, k] * moments[t, at + k]
                        framed[d, v, m] = value if v % 2 == 0 else -value
                    at += 2 * l + 1
            for g in range(begin, end):
                l2, n = group_l[g], n_exponents[g]
                powers(quarter, exponents[first[g] :], n, r2, degree + l2, x, power)
                while n > 0 and x[0, n - 1] > limits[t]:  # exponents rise
                    n -= 1
                if n == 0:
                    continue
                inner[: 2 * l2 + 1, :n] = 0.0
                for d in range(degree + 1):
                    for order in range((d + l2) % 2, d + l2 + 1, 2):
                        plus[: l2 + 1] = 0.0
                        minus[: l2 + 1] = 0.0
                        top = -1
                        for v in range(d // 2 + 1):
                            l = d - 2 * v
                            if abs(l - l2) <= order <= l + l2:
                                top = max(top, min(l, l2))
                                for m in range(min(l, l2) + 1):
                                    plus[m] += coupling[l, l2, order, m] * framed[d, v, l + m]
                                    minus[m] += coupling[l, l2, order, m] * framed[d, v, l - m]
                        if top < 0:
                            continue
                        steps = (d + l2 - order) // 2
                        laguerre(steps, order + 0.5, n, x, before, now)
                        scale = factorial[steps] * math.sqrt(r2) ** order
                        for c in range(n):
                            now[c] *= scale * power[order + steps, c]
                        for m in range(top + 1):
                            for c in range(n):
                                inner[l2 + m, c] += plus[m] * now[c]
                            if m > 0:
                                for c in range(n):
                                    inner[l2 - m, c] += minus[m] * now[c]
                for m in range(2 * l2 + 1):
                    for k in range(2 * l2 + 1):
                        factor = turned[l2, m, k]
                        for c in range(n):
                            sums[g, k, c] += factor * inner[m, c]
        for g in range(begin, end):
            n, n_rows, width2 = n_exponents[g], n_radial[g], 2 * group_l[g] + 1
            for c in range(n):
                for p in range(n_rows):
                    factor = weights[weight_ptr[g] + c * n_rows + p]
                    for k in range(width2):
                        out[start[i] + column[g] + p * width2 + k] += factor * sums[g, k, c]
