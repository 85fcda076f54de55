"""Uniform grids along x, y and z on the CPU: Gaussians and powers are products over the axes.

S_lm is a homogeneous polynomial, so a primitive with its coefficients is
``sum_a [w x^a exp(-alpha x²)] [exp(-alpha (y² + z²)) sum_b C_ab y^b z^(l-a-b)]``. On a tile of 8 x 64 points the first
bracket is 8 numbers, the second 64, and the sum over primitives and a is a small matrix product: l + 1 instead of
2l + 1 multiplications and no exponential per point.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orbdens.kernels.blocks import BLOCK
from orbdens.kernels.cpu.math import LOG2E, contract
from orbdens.kernels.cpu.vector import VECTOR_BYTES, compiled, exp2, fma, inlined, load, select_below, splat, store
from orbdens.kernels.harmonics import monomials
from orbdens.kernels.prepare import Array, Index, Real, Scene, Tables

SIDE = 8  # points along y and z of a tile, and along x
ROWS = 64  # products of the second kind held at a time
X_WIDTH = 16  # room for 8 numbers of the first kind, a whole vector


class GridAxes(NamedTuple):
    """A grid origin + (i hx, j hy, k hz), k fastest."""

    origin: Array  # [3] Å
    step: Array  # [3] Å
    shape: Index  # [3]


class Cartesian(NamedTuple):
    """Coefficients of x^a y^b z^(l-a-b), for each site and shell."""

    coefficients: Real
    site_ptr: Index
    shell_offset: Index  # counted from the site's first


class GridScratch(NamedTuple):
    """What one task writes to."""

    x: Real  # [3, 16] x, x² and a product of the first kind of a tile from a site
    yz: Real  # [3, 64] y, z, y² + z²
    powers: Real  # [(l_max + 1)², 64] y^b z^c
    first: Real  # [ROWS, 16] products of the first kind
    flat_first: Real  # the same memory
    second: Real  # [ROWS, 64] and of the second
    values: Real  # [8, 64] sums
    inner: Real  # [8, 64] sums of one site that the cut-off sphere cuts
    near: Index  # images that reach a row of tiles
    offsets: Index  # [ROWS]
    orders: Index  # [8]


def new_grid_scratch(scene: Scene, l_max: int, dtype: np.dtype[np.floating]) -> GridScratch:
    """Scratch arrays of one task."""
    first = np.empty((ROWS, X_WIDTH), dtype)
    return GridScratch(
        x=np.zeros((3, X_WIDTH), dtype),
        yz=np.empty((3, BLOCK), dtype),
        powers=np.empty(((l_max + 1) ** 2, BLOCK), dtype),
        first=first,
        flat_first=first.reshape(-1),
        second=np.empty((ROWS, BLOCK), dtype),
        values=np.empty((SIDE, BLOCK), dtype),
        inner=np.empty((SIDE, BLOCK), dtype),
        near=np.empty(scene.image_site.size, dtype=np.int64),
        offsets=np.arange(ROWS) * X_WIDTH,
        orders=np.arange(SIDE),
    )


def cartesian(tables: Tables, scene: Scene, shell_l: Index, shell_ptr: Index, coefficients: Real) -> Cartesian:
    """Coefficients [n_coefficients] turned into those of monomials, shell by shell of each type."""
    widths = (shell_l + 1) * (shell_l + 2) // 2
    ends = np.concatenate([[0], np.cumsum(widths)])
    shell_type = np.repeat(np.arange(shell_ptr.size - 1), np.diff(shell_ptr))
    offset = ends[:-1] - ends[shell_ptr[shell_type]]
    per_site = (ends[shell_ptr[1:]] - ends[shell_ptr[:-1]])[scene.site_type]
    site_ptr = np.concatenate([[0], np.cumsum(per_site)])
    result = np.empty(site_ptr[-1], coefficients.dtype)
    for shell, l in enumerate(shell_l.tolist()):
        sites = np.flatnonzero(scene.site_type == shell_type[shell])
        source = (scene.coefficient_ptr[sites] + tables.shell_offset[shell])[:, None] + np.arange(2 * l + 1)
        target = (site_ptr[sites] + offset[shell])[:, None] + np.arange(widths[shell])
        result[target] = coefficients[source] @ monomials(l)
    return Cartesian(result, site_ptr, offset)


@compiled
def set_axes(grid: Any, x0: int, y0: int, z0: int, site: Any, l_max: int, work: Any) -> None:
    """Coordinates of a tile from a site [3], and the powers y^b z^c at work.powers[b * (l_max + 1) + c]."""
    real = work.x.dtype.type
    for i in range(SIDE):
        x = real(grid.origin[0] + (x0 + i) * grid.step[0] - site[0])
        work.x[0, i], work.x[1, i] = x, x * x
        y = real(grid.origin[1] + (y0 + i) * grid.step[1] - site[1])
        for j in range(SIDE):
            z = real(grid.origin[2] + (z0 + j) * grid.step[2] - site[2])
            p = i * SIDE + j
            work.yz[0, p], work.yz[1, p], work.yz[2, p] = y, z, y * y + z * z
    for p in range(0, BLOCK, VECTOR_BYTES // work.yz.itemsize):
        y, z = load(work.yz, 0, p), load(work.yz, 1, p)
        column = splat(real(1.0))
        for b in range(l_max + 1):
            power = column
            for c in range(l_max + 1 - b):
                store(work.powers, b * (l_max + 1) + c, p, power)
                power = power * z
            column = column * y


@inlined
def add_rows(row: int, l: int, l_max: int, weight: float, exponent: float, c: Any, start: int, work: Any) -> None:
    """Products of both kinds of one primitive, a = 0..l, into rows row..row + l; c[start:] in monomial order."""
    real = work.x.dtype.type
    rate, w = real(-LOG2E * exponent), real(weight)
    lanes = VECTOR_BYTES // work.x.itemsize
    for p in range(0, SIDE, lanes):
        x = load(work.x, 0, p)
        value = w * exp2(rate * load(work.x, 1, p))
        for a in range(l + 1):
            store(work.first, row + a, p, value)
            value = value * x
    for p in range(0, BLOCK, lanes):
        e = exp2(rate * load(work.yz, 2, p))
        index = start
        for a in range(l + 1):
            sum_ = splat(real(0.0))
            for b in range(l - a + 1):
                sum_ = fma(c[index], load(work.powers, b * (l_max + 1) + l - a - b, p), sum_)
                index += 1
            store(work.second, row + a, p, sum_ * e)


@inlined
def add_site(tables: Any, scene: Any, site: int, nearest2: float, c: Any, l_max: int, work: Any, out: Any) -> None:
    """Add one site's field on the tile set up by ``set_axes`` to out [8, 64]."""
    own_type = scene.site_type[site]
    scale = scene.scalings[site] if scene.scalings.size else out.dtype.type(1.0)
    entry = scene.reach_ptr[site] - tables.type_primitive[own_type]
    ahead = scene.shell_reach_ptr[site] - tables.group_shell_ptr[tables.group_ptr[own_type]]
    row = 0
    for group in range(tables.group_ptr[own_type], tables.group_ptr[own_type + 1]):
        l = tables.group_l[group]
        for index in range(tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]):
            if scene.shell_reach2[ahead + index] <= nearest2:
                break
            shell = tables.shell_order[index]
            start = c.site_ptr[site] + c.shell_offset[shell]
            for q in range(tables.primitive_ptr[shell], tables.primitive_ptr[shell + 1]):
                if scene.reach2[entry + q] > nearest2:
                    if row + l + 1 > ROWS:
                        contract(work.flat_first, work.orders, SIDE, work.offsets, row, work.second, out, 0)
                        row = 0
                    add_rows(row, l, l_max, tables.weights[q], tables.exponents[q] * scale, c.coefficients, start, work)
                    row += l + 1
    contract(work.flat_first, work.orders, SIDE, work.offsets, row, work.second, out, 0)


@inlined
def span(origin: float, step: float, first: int, x: float) -> tuple[float, float]:
    """Smallest and largest distance along an axis between x and the points first..first + 7 of a grid line."""
    low, high = origin + first * step - x, origin + (first + SIDE - 1) * step - x
    return max(low, -high, 0.0), max(abs(low), abs(high))


@inlined
def add_inside(work: Any, cutoff2: float) -> None:
    """Add work.inner to work.values where the points are inside the cut-off sphere of the site."""
    real = work.x.dtype.type
    limit = splat(real(cutoff2))
    for i in range(SIDE):
        x2 = splat(work.x[1, i])
        for p in range(0, BLOCK, VECTOR_BYTES // work.x.itemsize):
            r2 = load(work.yz, 2, p) + x2
            part = select_below(r2, limit, load(work.inner, i, p), splat(real(0.0)))
            store(work.values, i, p, part + load(work.values, i, p))


@compiled
def forward(
    tables: Any, scene: Any, c: Any, grid: Any, l_max: int, task: int, n_tasks: int, work: Any, out: Any
) -> None:
    """Field of one channel on the grid into out [nx * ny * nz]; task of n_tasks."""
    nx, ny, nz = grid.shape[0], grid.shape[1], grid.shape[2]
    n_y = (ny + SIDE - 1) // SIDE
    zero = out.dtype.type(0.0)
    for line in range(task, (nx + SIDE - 1) // SIDE * n_y, n_tasks):
        x0, y0 = line // n_y * SIDE, line % n_y * SIDE
        n_near = 0
        for image in range(scene.image_site.size):
            dx, _ = span(grid.origin[0], grid.step[0], x0, scene.image_position[image, 0])
            dy, _ = span(grid.origin[1], grid.step[1], y0, scene.image_position[image, 1])
            if dx * dx + dy * dy <= scene.site_reach[scene.image_site[image]] ** 2:
                work.near[n_near] = image
                n_near += 1
        for z0 in range(0, nz, SIDE):
            work.values[:] = zero
            for i in range(n_near):
                position = scene.image_position[work.near[i]]
                site = scene.image_site[work.near[i]]
                near_x, far_x = span(grid.origin[0], grid.step[0], x0, position[0])
                near_y, far_y = span(grid.origin[1], grid.step[1], y0, position[1])
                near_z, far_z = span(grid.origin[2], grid.step[2], z0, position[2])
                nearest2 = (near_x * near_x + near_y * near_y + near_z * near_z) * (1.0 - 1e-12)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                set_axes(grid, x0, y0, z0, position, l_max, work)
                cut = far_x * far_x + far_y * far_y + far_z * far_z > scene.cutoff2
                if cut:
                    work.inner[:] = zero
                add_site(tables, scene, site, nearest2, c, l_max, work, work.inner if cut else work.values)
                if cut:
                    add_inside(work, scene.cutoff2)
            for i in range(min(SIDE, nx - x0)):
                for j in range(min(SIDE, ny - y0)):
                    start = ((x0 + i) * ny + y0 + j) * nz + z0
                    for k in range(min(SIDE, nz - z0)):
                        out[start + k] = work.values[i, j * SIDE + k]
