"""The compiled loops for derivatives: gradients of a loss (vjp), and gradient and Laplacian of the field at points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .cpu_loops import ROWS, candidates, displacements, load_block, most_candidates, radial_rows
from .cpu_math import (
    BLOCK,
    GRADIENT_FACTOR,
    GRADIENT_SOURCE,
    add_derivatives,
    add_dots,
    contract,
    gaussian_moments,
    harmonics,
    product,
)
from .cpu_vector import VECTOR_BYTES, load, splat, store, total


@njit(nogil=True)
def derivative_rows(
    tables: Any, scene: Any, site: int, shells: Any, n: int, l: int, nearest2: float, d: Any, steep: Any, bend: Any
) -> None:
    """Derivatives of the radial functions of n shells found by ``radial_rows``; an empty bend is left alone."""
    kind = scene.site_type[site]
    scale = scene.scalings[site] if scene.scalings.size else steep.dtype.type(1.0)
    entry = scene.reach_ptr[site] - tables.type_primitive[kind]
    for j in range(n):
        empty = True
        for q in range(tables.primitive_ptr[shells[j]], tables.primitive_ptr[shells[j] + 1]):
            if scene.reach2[entry + q] > nearest2:
                add_derivatives(empty, l, tables.weights[q], tables.exponents[q] * scale, d, steep, bend, j)
                empty = False


@njit(nogil=True)
def add_gradient(n_harmonics: int, angular: Any, steep: Any, d: Any, s: Any, out: Any) -> None:
    """Add the gradient of one site's field to out [3, 64].

    With f = sum angular_k S_k and angular_k a function of r²: grad f = sum angular_k grad S_k + r sum steep_k S_k,
    where steep_k is twice the derivative of angular_k by r².
    """
    real = out.dtype.type
    for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
        x, y, z = load(out, 0, p), load(out, 1, p), load(out, 2, p)
        slope = splat(real(0.0))
        for k in range(n_harmonics):
            slope = slope + load(steep, k, p) * load(s, k, p)
            if k > 0:
                value, f, i = load(angular, k, p), GRADIENT_FACTOR[k], GRADIENT_SOURCE[k]
                x = x + value * (real(f[0, 0]) * load(s, i[0, 0], p) + real(f[0, 1]) * load(s, i[0, 1], p))
                y = y + value * (real(f[1, 0]) * load(s, i[1, 0], p) + real(f[1, 1]) * load(s, i[1, 1], p))
                z = z + value * (real(f[2, 0]) * load(s, i[2, 0], p))
        store(out, 0, p, x + slope * load(d, 0, p))
        store(out, 1, p, y + slope * load(d, 1, p))
        store(out, 2, p, z + slope * load(d, 2, p))


@njit(nogil=True, cache=True)
def derivatives(tables: Any, scene: Any, blocks: Any, l_max: int, c: Any, task: int, n_tasks: int, out: Any) -> None:
    """Field, its gradient and Laplacian of one channel c [n_coefficients] into out [n_points, 5]."""
    real = out.dtype.type
    n_harmonics = (l_max + 1) ** 2
    local, d = np.empty((3, BLOCK), out.dtype), np.empty((5, BLOCK), out.dtype)
    rows = np.empty((3, ROWS, BLOCK), out.dtype)
    angular, s = np.empty((3, n_harmonics, BLOCK), out.dtype), np.empty((n_harmonics, BLOCK), out.dtype)
    values = np.empty((5, BLOCK), out.dtype)
    shells, offsets = np.empty(ROWS, dtype=np.int64), np.empty(ROWS, dtype=np.int64)
    orders = np.arange(2 * l_max + 1)
    origin = np.empty(3)
    near = np.empty(most_candidates(scene), dtype=np.int64)
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = candidates(blocks, scene, unit, near)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, block, local, origin)
            values[:] = real(0.0)
            for i in range(n_near):
                site = scene.image_site[near[i]]
                kind = scene.site_type[site]
                nearest2 = displacements(local, origin, scene, near[i], d)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                top = tables.group_l[tables.group_ptr[kind + 1] - 1]
                harmonics(top, d, s)
                angular[:] = real(0.0)
                for group in range(tables.group_ptr[kind], tables.group_ptr[kind + 1]):
                    l = tables.group_l[group]
                    index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
                    while index < last:
                        n, index = radial_rows(tables, scene, site, index, last, nearest2, d, rows[0], shells)
                        derivative_rows(tables, scene, site, shells, n, l, nearest2, d, rows[1], rows[2])
                        for j in range(n):
                            offsets[j] = scene.coefficient_ptr[site] + tables.shell_offset[shells[j]]
                        for kind_of_row in range(3):
                            contract(c, orders, 2 * l + 1, offsets, n, rows[kind_of_row], angular[kind_of_row], l * l)
                add_gradient((top + 1) ** 2, angular[0], angular[1], d, s, values)
                for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
                    field, laplacian = load(values, 3, p), load(values, 4, p)
                    for k in range((top + 1) ** 2):
                        field = field + load(s, k, p) * load(angular[0], k, p)
                        laplacian = laplacian + load(s, k, p) * load(angular[2], k, p)
                    store(values, 3, p, field)
                    store(values, 4, p, laplacian)
            first = blocks.block_ptr[block]
            for p in range(count):
                for column in range(5):
                    out[blocks.order[first + p], column] = values[column, p]


@njit(nogil=True, cache=True)
def vjp(
    tables: Any,
    scene: Any,
    blocks: Any,
    l_max: int,
    c: Any,
    g: Any,
    wants: Any,
    task: int,
    n_tasks: int,
    point_grad: Any,
    position_grad: Any,
    exponent_grad: Any,
    weight_grad: Any,
    lanes_grad: Any,
    scaling_grad: Any,
) -> None:
    """Gradients of sum g * field for one channel c [n_coefficients], g [n_points], added to the arrays given.

    Args:
        wants: bool [3], whether gradients of geometry, of the radial functions and of the coefficients are wanted.
        point_grad [n_points, 3] is shared by all tasks, each writes its own points; the others belong to one task:
        position_grad [n_sites, 3], exponent_grad and weight_grad [n_primitives], lanes_grad [n_coefficients, lanes]
        (to be summed over lanes), scaling_grad [n_sites].
    """
    real = c.dtype.type
    want_geometry, want_radial, want_coefficients = wants[0], wants[1], wants[2]
    n_harmonics = (l_max + 1) ** 2
    local, d = np.empty((3, BLOCK), c.dtype), np.empty((5, BLOCK), c.dtype)
    radial, steep, z = (
        np.empty((ROWS, BLOCK), c.dtype),
        np.empty((ROWS, BLOCK), c.dtype),
        np.empty((ROWS, BLOCK), c.dtype),
    )
    angular, s = np.empty((2, n_harmonics, BLOCK), c.dtype), np.empty((n_harmonics, BLOCK), c.dtype)
    weighted = np.empty((n_harmonics, BLOCK), c.dtype)
    slope, sum_of_sites = np.empty((3, BLOCK), c.dtype), np.empty((3, BLOCK), c.dtype)
    no_bend = np.empty((0, BLOCK), c.dtype)
    cotangent = np.empty((1, BLOCK), c.dtype)
    shells, offsets = np.empty(ROWS, dtype=np.int64), np.empty(ROWS, dtype=np.int64)
    orders = np.arange(2 * l_max + 1)
    origin = np.empty(3)
    near = np.empty(most_candidates(scene), dtype=np.int64)
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = candidates(blocks, scene, unit, near)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, block, local, origin)
            start = blocks.block_ptr[block]
            cotangent[:] = real(0.0)
            for p in range(count):
                cotangent[0, p] = g[blocks.order[start + p]]
            sum_of_sites[:] = real(0.0)
            for i in range(n_near):
                site = scene.image_site[near[i]]
                kind = scene.site_type[site]
                nearest2 = displacements(local, origin, scene, near[i], d)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                top = tables.group_l[tables.group_ptr[kind + 1] - 1]
                harmonics(top, d, s)
                for k in range((top + 1) ** 2):
                    product(cotangent, 0, s, k, weighted, k)
                if want_geometry:
                    angular[:] = real(0.0)
                for group in range(tables.group_ptr[kind], tables.group_ptr[kind + 1]):
                    l = tables.group_l[group]
                    index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
                    while index < last:
                        n, index = radial_rows(tables, scene, site, index, last, nearest2, d, radial, shells)
                        for j in range(n):
                            offsets[j] = scene.coefficient_ptr[site] + tables.shell_offset[shells[j]]
                        if want_coefficients:
                            for j in range(n):
                                add_dots(radial, j, weighted, l * l, 2 * l + 1, lanes_grad, offsets[j])
                        if want_radial:
                            z[:n] = real(0.0)
                            contract(c, offsets, n, orders, 2 * l + 1, weighted[l * l :], z, 0)
                            for j in range(n):
                                radial_gradients(
                                    tables,
                                    scene,
                                    site,
                                    shells[j],
                                    nearest2,
                                    z,
                                    j,
                                    d,
                                    exponent_grad,
                                    weight_grad,
                                    scaling_grad,
                                )
                        if want_geometry:
                            derivative_rows(tables, scene, site, shells, n, l, nearest2, d, steep, no_bend)
                            contract(c, orders, 2 * l + 1, offsets, n, radial, angular[0], l * l)
                            contract(c, orders, 2 * l + 1, offsets, n, steep, angular[1], l * l)
                if want_geometry:
                    slope[:] = real(0.0)
                    add_gradient((top + 1) ** 2, angular[0], angular[1], d, s, slope)
                    for axis in range(3):
                        sum_ = splat(real(0.0))
                        for p in range(0, BLOCK, VECTOR_BYTES // c.itemsize):
                            value = load(slope, axis, p) * load(cotangent, 0, p)
                            store(sum_of_sites, axis, p, load(sum_of_sites, axis, p) + value)
                            sum_ = sum_ + value
                        position_grad[site, axis] -= total(sum_)
            if want_geometry:
                for p in range(count):
                    for axis in range(3):
                        point_grad[blocks.order[start + p], axis] += sum_of_sites[axis, p]


@njit(nogil=True)
def radial_gradients(
    tables: Any,
    scene: Any,
    site: int,
    shell: int,
    nearest2: float,
    z: Any,
    row: int,
    d: Any,
    exponent_grad: Any,
    weight_grad: Any,
    scaling_grad: Any,
) -> None:
    """Gradients of one shell's primitives, given z[row] = cotangent times the field per unit radial function."""
    scale = float(scene.scalings[site]) if scene.scalings.size else 1.0
    entry = scene.reach_ptr[site] - tables.type_primitive[scene.site_type[site]]
    for q in range(tables.primitive_ptr[shell], tables.primitive_ptr[shell + 1]):
        if scene.reach2[entry + q] > nearest2:
            zeroth, first = gaussian_moments(z, row, tables.exponents[q] * z.dtype.type(scale), d)
            weight_grad[q] += zeroth
            exponent_grad[q] -= scale * tables.weights[q] * first
            scaling_grad[site] -= tables.exponents[q] * tables.weights[q] * first
