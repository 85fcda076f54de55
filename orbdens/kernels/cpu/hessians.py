"""The compiled loop for second derivatives of the field at points."""

from __future__ import annotations

from typing import Any

from orbdens.kernels.blocks import BLOCK
from orbdens.kernels.cpu.gradients import add_gradient, derivative_rows
from orbdens.kernels.cpu.loops import displacements, load_block, load_unit, radial_rows
from orbdens.kernels.cpu.math import GRADIENT_FACTOR, GRADIENT_SOURCE, contract, harmonics
from orbdens.kernels.cpu.vector import VECTOR_BYTES, compiled, fma, load, splat, store

COLUMNS = 10
"""Gradient x, y, z; value; second derivatives xx, xy, xz, yy, yz, zz."""


@compiled
def harmonic_slopes(n_harmonics: int, s: Any, out: Any) -> None:
    """Gradients of the solid harmonics s [n_harmonics, 64] into out [3, n_harmonics, 64]."""
    real = out.dtype.type
    for k in range(n_harmonics):
        for axis in range(3):
            f, i = GRADIENT_FACTOR[k, axis], GRADIENT_SOURCE[k, axis]
            for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
                store(out[axis], k, p, real(f[0]) * load(s, i[0], p) + real(f[1]) * load(s, i[1], p))


@compiled
def add_second(n_harmonics: int, angular: Any, d: Any, s: Any, slopes: Any, out: Any) -> None:
    """Add value and second derivatives of one site's field to the rows 3 to 9 of out [10, 64].

    With f = sum A_k S_k, A_k a function of r² and a_k, b_k twice its first and four times its second derivative by r²:
    d_i d_j f = sum A_k d_i d_j S_k + a_k (r_i d_j S_k + r_j d_i S_k + delta_ij S_k) + b_k r_i r_j S_k; the first is
    traceless because S_k is harmonic.
    """
    real = out.dtype.type
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        zero = splat(real(0.0))
        x, y, z = load(d, 0, p), load(d, 1, p), load(d, 2, p)
        value, steep, curved = load(out, 3, p), zero, zero
        gx, gy, gz, xx, xy, xz, yy, yz = zero, zero, zero, zero, zero, zero, zero, zero
        for k in range(n_harmonics):
            harmonic, a = load(s, k, p), load(angular[1], k, p)
            value = fma(load(angular[0], k, p), harmonic, value)
            steep = fma(a, harmonic, steep)
            curved = fma(load(angular[2], k, p), harmonic, curved)
            if k > 0:
                gx, gy, gz = (
                    fma(a, load(slopes[0], k, p), gx),
                    fma(a, load(slopes[1], k, p), gy),
                    fma(a, load(slopes[2], k, p), gz),
                )
            if k > 3:
                weight, f, i = load(angular[0], k, p), GRADIENT_FACTOR[k], GRADIENT_SOURCE[k]
                x0, x1 = weight * real(f[0, 0]), weight * real(f[0, 1])
                y0, y1 = weight * real(f[1, 0]), weight * real(f[1, 1])
                xx = fma(x0, load(slopes[0], i[0, 0], p), fma(x1, load(slopes[0], i[0, 1], p), xx))
                xy = fma(x0, load(slopes[1], i[0, 0], p), fma(x1, load(slopes[1], i[0, 1], p), xy))
                xz = fma(x0, load(slopes[2], i[0, 0], p), fma(x1, load(slopes[2], i[0, 1], p), xz))
                yy = fma(y0, load(slopes[1], i[1, 0], p), fma(y1, load(slopes[1], i[1, 1], p), yy))
                yz = fma(y0, load(slopes[2], i[1, 0], p), fma(y1, load(slopes[2], i[1, 1], p), yz))
        store(out, 3, p, value)
        two = real(2.0)
        store(out, 4, p, load(out, 4, p) + xx + two * x * gx + steep + x * x * curved)
        store(out, 5, p, load(out, 5, p) + xy + x * gy + y * gx + x * y * curved)
        store(out, 6, p, load(out, 6, p) + xz + x * gz + z * gx + x * z * curved)
        store(out, 7, p, load(out, 7, p) + yy + two * y * gy + steep + y * y * curved)
        store(out, 8, p, load(out, 8, p) + yz + y * gz + z * gy + y * z * curved)
        store(out, 9, p, load(out, 9, p) - xx - yy + two * z * gz + steep + z * z * curved)


@compiled
def second_derivatives(
    tables: Any, scene: Any, blocks: Any, c: Any, task: int, n_tasks: int, work: Any, out: Any
) -> None:
    """Gradient, value and second derivatives of the field of one channel c [n_coefficients] into out [n_points, 10]."""
    real = out.dtype.type
    angular, values = work.angular, work.values
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = load_unit(blocks, scene, unit, work)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, unit, block, work)
            values[:COLUMNS] = real(0.0)
            for i in range(n_near):
                site = scene.image_site[work.near[i]]
                own_type = scene.site_type[site]
                nearest2 = displacements(scene, work.near[i], work)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                top = tables.group_l[tables.group_ptr[own_type + 1] - 1]
                harmonics(top, work.d, work.s)
                harmonic_slopes((top + 1) ** 2, work.s, work.slopes)
                angular[:] = real(0.0)
                for group in range(tables.group_ptr[own_type], tables.group_ptr[own_type + 1]):
                    l = tables.group_l[group]
                    index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
                    while index < last:
                        n, index = radial_rows(tables, scene, site, index, last, nearest2, work)
                        derivative_rows(tables, scene, site, n, nearest2, True, work)
                        for order in range(3):
                            contract(
                                c, work.orders, 2 * l + 1, work.offsets, n, work.radial[order], angular[order], l * l
                            )
                add_gradient((top + 1) ** 2, angular[0], angular[1], work.d, work.s, values)
                add_second((top + 1) ** 2, angular, work.d, work.s, work.slopes, values)
            first = blocks.block_ptr[block]
            for p in range(count):
                for column in range(COLUMNS):
                    out[blocks.order[first + p], column] = values[column, p]
