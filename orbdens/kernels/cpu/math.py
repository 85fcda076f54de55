"""Pieces of the CPU kernels that work on one block of 64 points at a time."""

from __future__ import annotations

from typing import Any

from orbdens.kernels.blocks import BLOCK
from orbdens.kernels.cpu.vector import (
    VECTOR_BYTES,
    compiled,
    exp2,
    fma,
    load,
    select_below,
    smallest,
    splat,
    store,
    total,
)
from orbdens.kernels.harmonics import gradient_table, recursion

LOG2E = 1.4426950408889634

START, UP, DOWN = recursion()
GRADIENT_SOURCE, GRADIENT_FACTOR = gradient_table()


@compiled
def harmonics(l_max: int, d: Any, out: Any) -> None:
    """Real solid harmonics of d [4, 64] (x, y, z, r²) into out[l² + l + m, 64], l <= l_max."""
    real = out.dtype.type
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        x, y, z, r2 = load(d, 0, p), load(d, 1, p), load(d, 2, p), load(d, 3, p)
        cosine, sine = splat(real(1.0)), splat(real(0.0))
        for m in range(l_max + 1):
            before, now = splat(real(0.0)), splat(real(START[m]))
            for l in range(m, l_max + 1):
                if l > m:
                    after = real(UP[l, m]) * z * now - real(DOWN[l, m]) * r2 * before
                    before = now
                    now = after
                store(out, l * l + l + m, p, now * cosine)
                if m > 0:
                    store(out, l * l + l - m, p, now * sine)
            turned = x * cosine - y * sine
            sine = x * sine + y * cosine
            cosine = turned


@compiled
def add_harmonic_sum(l_max: int, d: Any, angular: Any, out: Any) -> None:
    """out[0, 64] += sum over l² + l + m of angular times the solid harmonics of d, which are not kept."""
    real = out.dtype.type
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        x, y, z, r2 = load(d, 0, p), load(d, 1, p), load(d, 2, p), load(d, 3, p)
        cosine, sine = splat(real(1.0)), splat(real(0.0))
        sum_ = load(out, 0, p)
        for m in range(l_max + 1):
            before, now = splat(real(0.0)), splat(real(START[m]))
            even, odd = now * load(angular, m * m + 2 * m, p), now * load(angular, m * m, p)
            for l in range(m + 1, l_max + 1):
                after = real(UP[l, m]) * z * now - real(DOWN[l, m]) * r2 * before
                before = now
                now = after
                even, odd = (
                    fma(now, load(angular, l * l + l + m, p), even),
                    fma(now, load(angular, l * l + l - m, p), odd),
                )
            sum_ = fma(even, cosine, fma(odd, sine, sum_))
            turned = x * cosine - y * sine
            sine = x * sine + y * cosine
            cosine = turned
        store(out, 0, p, sum_)


@compiled
def displace(local: Any, x0: float, y0: float, z0: float, limit: float, beyond: float, d: Any) -> float:
    """local [3, 64] minus a site, r², and r² or ``beyond`` where it is over the limit, into d; returns the least r²."""
    lowest = splat(beyond)
    for p in range(0, BLOCK, VECTOR_BYTES // d.itemsize):
        x, y, z = load(local, 0, p) - splat(x0), load(local, 1, p) - splat(y0), load(local, 2, p) - splat(z0)
        r2 = fma(x, x, fma(y, y, z * z))
        store(d, 0, p, x)
        store(d, 1, p, y)
        store(d, 2, p, z)
        store(d, 3, p, r2)
        store(d, 4, p, select_below(r2, splat(limit), r2, splat(beyond)))
        lowest = select_below(r2, lowest, r2, lowest)
    return smallest(lowest)


@compiled
def add_gaussian(first: bool, weight: float, exponent: float, d: Any, out: Any, row: int) -> None:
    """out[row, 64] (+)= weight * exp(-exponent * d[4, 64]); d[4] is r², or huge beyond the cut-off."""
    real = out.dtype.type
    rate = real(-LOG2E * exponent)
    w = real(weight)
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        value = w * exp2(rate * load(d, 4, p))
        if first:
            store(out, row, p, value)
        else:
            store(out, row, p, value + load(out, row, p))


@compiled
def contract(c: Any, out_offset: Any, n_out: int, in_offset: Any, n_in: int, source: Any, out: Any, row: int) -> None:
    """out[row + i, 64] += sum_j c[out_offset[i] + in_offset[j]] * source[j, 64], i < n_out, j < n_in; c is flat."""
    lanes = VECTOR_BYTES // out.itemsize
    i = 0
    while i + 4 <= n_out:
        o0, o1, o2, o3 = out_offset[i], out_offset[i + 1], out_offset[i + 2], out_offset[i + 3]
        r = row + i
        for p in range(0, BLOCK, 2 * lanes):
            q = p + lanes
            a0, a1, a2, a3 = load(out, r, p), load(out, r + 1, p), load(out, r + 2, p), load(out, r + 3, p)
            b0, b1, b2, b3 = load(out, r, q), load(out, r + 1, q), load(out, r + 2, q), load(out, r + 3, q)
            for j in range(n_in):
                e, f, k = load(source, j, p), load(source, j, q), in_offset[j]
                c0, c1, c2, c3 = c[k + o0], c[k + o1], c[k + o2], c[k + o3]
                a0, a1, a2, a3 = fma(c0, e, a0), fma(c1, e, a1), fma(c2, e, a2), fma(c3, e, a3)
                b0, b1, b2, b3 = fma(c0, f, b0), fma(c1, f, b1), fma(c2, f, b2), fma(c3, f, b3)
            store(out, r, p, a0)
            store(out, r + 1, p, a1)
            store(out, r + 2, p, a2)
            store(out, r + 3, p, a3)
            store(out, r, q, b0)
            store(out, r + 1, q, b1)
            store(out, r + 2, q, b2)
            store(out, r + 3, q, b3)
        i += 4
    while i < n_out:
        for p in range(0, BLOCK, 4 * lanes):
            r, o = row + i, out_offset[i]
            q0, q1, q2 = p + lanes, p + 2 * lanes, p + 3 * lanes
            a0, a1, a2, a3 = load(out, r, p), load(out, r, q0), load(out, r, q1), load(out, r, q2)
            for j in range(n_in):
                w = c[in_offset[j] + o]
                a0, a1 = fma(w, load(source, j, p), a0), fma(w, load(source, j, q0), a1)
                a2, a3 = fma(w, load(source, j, q1), a2), fma(w, load(source, j, q2), a3)
            store(out, r, p, a0)
            store(out, r, q0, a1)
            store(out, r, q1, a2)
            store(out, r, q2, a3)
        i += 1


@compiled
def product(a: Any, i: int, b: Any, j: int, out: Any, row: int) -> None:
    """out[row, 64] = a[i] * b[j]."""
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        store(out, row, p, load(a, i, p) * load(b, j, p))


@compiled
def add_row(a: Any, i: int, out: Any, row: int) -> Any:
    """out[row, 64] += a[i, 64]; returns the sum over the 64 of a[i]."""
    sum_ = splat(out.dtype.type(0.0))
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        value = load(a, i, p)
        store(out, row, p, load(out, row, p) + value)
        sum_ = sum_ + value
    return total(sum_)


@compiled
def add_dots(a: Any, n_a: int, b: Any, first: int, n_b: int, out: Any, offsets: Any) -> None:
    """out[offsets[i] + m] += a[i] * b[first + m], i < n_a, m < n_b, over the 64 points, a vector of lanes each."""
    lanes = VECTOR_BYTES // a.itemsize
    for m in range(n_b):
        for p in range(0, BLOCK, 4 * lanes):
            q0, q1, q2 = p + lanes, p + 2 * lanes, p + 3 * lanes
            b0, b1, b2, b3 = (
                load(b, first + m, p),
                load(b, first + m, q0),
                load(b, first + m, q1),
                load(b, first + m, q2),
            )
            for i in range(n_a):
                even = fma(load(a, i, p), b0, load(out, offsets[i] + m, 0))
                odd = load(a, i, q0) * b1
                even, odd = fma(load(a, i, q1), b2, even), fma(load(a, i, q2), b3, odd)
                store(out, offsets[i] + m, 0, even + odd)


@compiled
def gaussian_moments(z: Any, row: int, exponent: float, d: Any) -> tuple[float, float]:
    """Sums over 64 points of z e and z r² e, e = exp(-exponent r²), for the gradients of a primitive."""
    real = z.dtype.type
    rate = real(-LOG2E * exponent)
    zeroth, first = splat(real(0.0)), splat(real(0.0))
    for p in range(0, BLOCK, VECTOR_BYTES // z.itemsize):
        value = load(z, row, p) * exp2(rate * load(d, 4, p))
        zeroth = zeroth + value
        first = fma(value, load(d, 3, p), first)
    return total(zeroth), total(first)


@compiled
def add_derivatives(
    first: bool, weight: float, exponent: float, d: Any, slopes: Any, curvatures: Any, want_second: bool, row: int
) -> None:
    """Add twice the derivative by r² to slopes[row], four times the second one, if it is wanted, to curvatures[row].

    For f = w exp(-a r²) these are -2 a f and 4 a² f. The ``first`` is stored, not added.
    """
    real = slopes.dtype.type
    rate, w, factor = real(-LOG2E * exponent), real(weight), real(-2.0 * exponent)
    for p in range(0, BLOCK, VECTOR_BYTES // slopes.itemsize):
        slope = factor * (w * exp2(rate * load(d, 4, p)))
        curvature = factor * slope
        if not first:
            slope = slope + load(slopes, row, p)
        store(slopes, row, p, slope)
        if want_second:
            if not first:
                curvature = curvature + load(curvatures, row, p)
            store(curvatures, row, p, curvature)
