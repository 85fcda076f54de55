"""The compiled loops for derivatives: gradients of a loss (vjp), and gradient and Laplacian of the field at points."""

from __future__ import annotations

from typing import Any

from orbdens.kernels.blocks import BLOCK
from orbdens.kernels.cpu.loops import displacements, load_block, load_unit, radial_rows
from orbdens.kernels.cpu.math import (
    GRADIENT_FACTOR,
    GRADIENT_SOURCE,
    add_derivatives,
    add_dots,
    add_row,
    contract,
    gaussian_moments,
    harmonics,
    product,
)
from orbdens.kernels.cpu.vector import VECTOR_BYTES, compiled, fma, inlined, load, splat, store


@inlined
def derivative_rows(tables: Any, scene: Any, site: int, n: int, nearest2: float, want_second: bool, work: Any) -> None:
    """Derivatives of the n radial functions found by ``radial_rows``, into work.radial[1] and, if wanted, [2]."""
    slopes = work.radial[1]
    scale = scene.scalings[site] if scene.scalings.size else slopes.dtype.type(1.0)
    entry = scene.reach_ptr[site] - tables.type_primitive[scene.site_type[site]]
    for j in range(n):
        empty = True
        for q in range(tables.primitive_ptr[work.shells[j]], tables.primitive_ptr[work.shells[j] + 1]):
            if scene.reach2[entry + q] > nearest2:
                weight, exponent = tables.weights[q], tables.exponents[q] * scale
                add_derivatives(empty, weight, exponent, work.d, slopes, work.radial[2], want_second, j)
                empty = False


@compiled
def add_gradient(n_harmonics: int, angular: Any, gradient_factor: Any, d: Any, s: Any, out: Any) -> None:
    """Add the gradient of one site's field to out [3, 64].

    With f = sum angular_k S_k and angular_k a function of r²: grad f = sum angular_k grad S_k + r sum steep_k S_k,
    where steep_k is twice the derivative of angular_k by r².
    """
    real = out.dtype.type
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        x, y, z = load(out, 0, p), load(out, 1, p), load(out, 2, p)
        slope = splat(real(0.0))
        for k in range(n_harmonics):
            slope = slope + load(gradient_factor, k, p) * load(s, k, p)
            if k > 0:
                value, f, i = load(angular, k, p), GRADIENT_FACTOR[k], GRADIENT_SOURCE[k]
                x = x + value * (real(f[0, 0]) * load(s, i[0, 0], p) + real(f[0, 1]) * load(s, i[0, 1], p))
                y = y + value * (real(f[1, 0]) * load(s, i[1, 0], p) + real(f[1, 1]) * load(s, i[1, 1], p))
                z = z + value * (real(f[2, 0]) * load(s, i[2, 0], p))
        store(out, 0, p, x + slope * load(d, 0, p))
        store(out, 1, p, y + slope * load(d, 1, p))
        store(out, 2, p, z + slope * load(d, 2, p))


@compiled
def derivatives(tables: Any, scene: Any, blocks: Any, c: Any, task: int, n_tasks: int, work: Any, out: Any) -> None:
    """Gradient (3), value and Laplacian of the field of one channel c [n_coefficients] into out [n_points, 5].

    The Laplacian of angular_k(r²) S_k is (r² curved_k + (2 l + 3) steep_k) S_k, where curved_k is four times the second
    derivative of angular_k by r² and steep_k twice the first.
    """
    real = out.dtype.type
    s, angular, values = work.s, work.angular, work.values
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = load_unit(blocks, scene, unit, work)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, unit, block, work)
            values[:5] = real(0.0)
            for i in range(n_near):
                site = scene.image_site[work.near[i]]
                own_type = scene.site_type[site]
                nearest2 = displacements(scene, work.near[i], work)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                top = tables.group_l[tables.group_ptr[own_type + 1] - 1]
                harmonics(top, work.d, s)
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
                add_gradient((top + 1) ** 2, angular[0], angular[1], work.d, s, values)
                for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
                    field, laplacian, r2 = load(values, 3, p), load(values, 4, p), load(work.d, 3, p)
                    for l in range(top + 1):
                        for k in range(l * l, (l + 1) ** 2):
                            harmonic = load(s, k, p)
                            field = fma(harmonic, load(angular[0], k, p), field)
                            curved = fma(r2, load(angular[2], k, p), real(2 * l + 3) * load(angular[1], k, p))
                            laplacian = fma(harmonic, curved, laplacian)
                    store(values, 3, p, field)
                    store(values, 4, p, laplacian)
            first = blocks.block_ptr[block]
            for p in range(count):
                for column in range(5):
                    out[blocks.order[first + p], column] = values[column, p]


@compiled
def vjp(
    tables: Any, scene: Any, blocks: Any, c: Any, g: Any, wants: Any, task: int, n_tasks: int, work: Any, grads: Any
) -> None:
    """Gradients of sum g * field for one channel c [n_coefficients], g [n_points], added to ``grads``.

    Args:
        wants: bool [3], whether gradients of geometry, of the radial functions and of the coefficients are wanted.
        grads: a ``Gradients``; its points array is shared by all tasks, each of which writes its own points.
    """
    zero = c.dtype.type(0.0)
    want_geometry, want_radial, want_coefficients = wants[0], wants[1], wants[2]
    radial, gradient_factor, angular, cotangents, sums = (
        work.radial[0],
        work.radial[1],
        work.angular,
        work.cotangents,
        work.sums,
    )
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = load_unit(blocks, scene, unit, work)
        first = blocks.unit_ptr[unit]
        n_blocks = blocks.unit_ptr[unit + 1] - first
        cotangents[:] = zero
        sums[:] = zero
        for b in range(n_blocks):
            start = blocks.block_ptr[first + b]
            for p in range(blocks.block_ptr[first + b + 1] - start):
                cotangents[b, p] = g[blocks.order[start + p]]
        # Sites outside and blocks inside: the sums of one site stay in the nearest cache.
        for i in range(n_near):
            site = scene.image_site[work.near[i]]
            own_type = scene.site_type[site]
            top = tables.group_l[tables.group_ptr[own_type + 1] - 1]
            for b in range(n_blocks):
                load_block(blocks, unit, first + b, work)
                nearest2 = displacements(scene, work.near[i], work)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                harmonics(top, work.d, work.s)
                for k in range((top + 1) ** 2):
                    product(cotangents, b, work.s, k, work.weighted, k)
                if want_geometry:
                    angular[:2] = zero
                for group in range(tables.group_ptr[own_type], tables.group_ptr[own_type + 1]):
                    l = tables.group_l[group]
                    index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
                    while index < last:
                        n, index = radial_rows(tables, scene, site, index, last, nearest2, work)
                        if want_coefficients:
                            add_dots(radial, n, work.weighted, l * l, 2 * l + 1, grads.lanes, work.offsets)
                        if want_radial:
                            work.z[:n] = zero
                            contract(c, work.offsets, n, work.orders, 2 * l + 1, work.weighted[l * l :], work.z, 0)
                            for j in range(n):
                                radial_gradients(tables, scene, site, j, nearest2, work, grads)
                        if want_geometry:
                            derivative_rows(tables, scene, site, n, nearest2, False, work)
                            contract(c, work.orders, 2 * l + 1, work.offsets, n, radial, angular[0], l * l)
                            contract(c, work.orders, 2 * l + 1, work.offsets, n, gradient_factor, angular[1], l * l)
                if want_geometry:
                    work.values[:3] = zero
                    add_gradient((top + 1) ** 2, angular[0], angular[1], work.d, work.s, work.values)
                    for axis in range(3):
                        product(cotangents, b, work.values, axis, work.values, axis)
                        grads.positions[site, axis] -= add_row(work.values, axis, sums, 3 * b + axis)
        for b in range(n_blocks if want_geometry else 0):
            start = blocks.block_ptr[first + b]
            for p in range(blocks.block_ptr[first + b + 1] - start):
                for axis in range(3):
                    grads.points[blocks.order[start + p], axis] += sums[3 * b + axis, p]


@inlined
def radial_gradients(tables: Any, scene: Any, site: int, row: int, nearest2: float, work: Any, grads: Any) -> None:
    """Gradients of the primitives of the shell in a row, given work.z = cotangent times field per radial function."""
    scale = float(scene.scalings[site]) if scene.scalings.size else 1.0
    entry = scene.reach_ptr[site] - tables.type_primitive[scene.site_type[site]]
    shell = work.shells[row]
    for q in range(tables.primitive_ptr[shell], tables.primitive_ptr[shell + 1]):
        if scene.reach2[entry + q] > nearest2:
            zeroth, first = gaussian_moments(work.z, row, tables.exponents[q] * work.z.dtype.type(scale), work.d)
            grads.weights[q] += zeroth
            grads.exponents[q] -= scale * tables.weights[q] * first
            grads.scalings[site] -= tables.exponents[q] * tables.weights[q] * first
