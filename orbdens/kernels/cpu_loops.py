"""The compiled loops of the CPU backend: units of blocks of points, the sites that reach them, their shells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .cpu_math import BLOCK, add_gaussian, contract, harmonics, product
from .cpu_vector import VECTOR_BYTES, load, store

ROWS = 32  # radial functions held at a time
BEYOND = 1e30  # stands for r² beyond the cut-off; its exponential is exactly 0


@njit(nogil=True)
def load_block(blocks: Any, block: int, local: Any, origin: Any) -> int:
    """Points of a block relative to its first one into local [3, 64], padded with it; returns their number."""
    real = local.dtype.type
    first = blocks.block_ptr[block]
    count = blocks.block_ptr[block + 1] - first
    for axis in range(3):
        origin[axis] = float(blocks.points[blocks.order[first], axis])
        for p in range(count):
            local[axis, p] = real(float(blocks.points[blocks.order[first + p], axis]) - origin[axis])
        for p in range(count, BLOCK):
            local[axis, p] = real(0.0)
    return int(count)


@njit(nogil=True)
def candidates(blocks: Any, scene: Any, unit: int, out: Any) -> int:
    """Images that reach the box around the points of a unit, into out; returns their number."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    start = blocks.block_ptr[blocks.unit_ptr[unit]]
    for i in range(start, blocks.block_ptr[blocks.unit_ptr[unit + 1]]):
        for axis in range(3):
            value = float(blocks.points[blocks.order[i], axis])
            low[axis] = min(low[axis], value)
            high[axis] = max(high[axis], value)
    structure = blocks.unit_structure[unit]
    n = 0
    for image in range(scene.image_ptr[structure], scene.image_ptr[structure + 1]):
        distance2 = 0.0
        for axis in range(3):
            x = scene.image_position[image, axis]
            distance2 += max(low[axis] - x, x - high[axis], 0.0) ** 2
        if distance2 <= scene.site_reach[scene.image_site[image]] ** 2:
            out[n] = image
            n += 1
    return n


@njit(nogil=True)
def most_candidates(scene: Any) -> int:
    """Largest number of images of one structure."""
    most = 0
    for structure in range(scene.image_ptr.size - 1):
        most = max(most, scene.image_ptr[structure + 1] - scene.image_ptr[structure])
    return most


@njit(nogil=True)
def displacements(local: Any, origin: Any, scene: Any, image: int, d: Any) -> float:
    """x, y, z, r² and screened r² of a block from an image into d [5, 64]; returns the smallest r² in float64."""
    real = d.dtype.type
    x0 = real(scene.image_position[image, 0] - origin[0])
    y0 = real(scene.image_position[image, 1] - origin[1])
    z0 = real(scene.image_position[image, 2] - origin[2])
    limit = real(min(scene.cutoff2, BEYOND))
    beyond = real(BEYOND)
    for p in range(BLOCK):
        x, y, z = local[0, p] - x0, local[1, p] - y0, local[2, p] - z0
        r2 = x * x + y * y + z * z
        d[0, p] = x
        d[1, p] = y
        d[2, p] = z
        d[3, p] = r2
        d[4, p] = r2 if r2 <= limit else beyond
    smallest = d[3, 0]
    for p in range(1, BLOCK):
        smallest = min(smallest, d[3, p])
    return float(smallest) * (1.0 - 1e-5)


@njit(nogil=True)
def radial_rows(
    tables: Any, scene: Any, site: int, first: int, last: int, nearest2: float, d: Any, radial: Any, shells: Any
) -> tuple[int, int]:
    """Radial functions of the shells in shell_order[first:last] that count at this block, up to ROWS of them.

    Returns:
        number of rows written (with their shells), and where to go on.
    """
    kind = scene.site_type[site]
    scale = scene.scalings[site] if scene.scalings.size else radial.dtype.type(1.0)
    entry = scene.reach_ptr[site] - tables.type_primitive[kind]
    n = 0
    index = first
    while index < last and n < ROWS:
        shell = tables.shell_order[index]
        empty = True
        for q in range(tables.primitive_ptr[shell], tables.primitive_ptr[shell + 1]):
            if scene.reach2[entry + q] > nearest2:
                add_gaussian(empty, tables.weights[q], tables.exponents[q] * scale, d, radial, n)
                empty = False
        if not empty:
            shells[n] = shell
            n += 1
        index += 1
    return n, index


@njit(nogil=True)
def site_field(
    tables: Any, scene: Any, site: int, nearest2: float, c: Any, d: Any, rows: Any, radial: Any, angular: Any, s: Any
) -> int:
    """Coefficients contracted with radial functions, angular[l² + l + m, 64]; s gets the harmonics.

    Returns:
        largest l that counts, -1 for none; angular and s are set up to there.
    """
    kind = scene.site_type[site]
    zero = radial.dtype.type(0.0)
    l_max = -1
    shells = np.empty(ROWS, dtype=np.int64)
    offsets = np.empty(ROWS, dtype=np.int64)
    for group in range(tables.group_ptr[kind], tables.group_ptr[kind + 1]):
        l = tables.group_l[group]
        index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
        while index < last:
            n, index = radial_rows(tables, scene, site, index, last, nearest2, d, radial, shells)
            if n == 0:
                continue
            if l > l_max:
                angular[(l_max + 1) ** 2 : (l + 1) ** 2] = zero
                l_max = l
            for j in range(n):
                offsets[j] = scene.coefficient_ptr[site] + tables.shell_offset[shells[j]]
            contract(c, rows, 2 * l + 1, offsets, n, radial, angular, l * l)
    if l_max >= 0:
        harmonics(l_max, d, s)
    return l_max


@njit(nogil=True, cache=True)
def forward(tables: Any, scene: Any, blocks: Any, l_max: int, c: Any, task: int, n_tasks: int, out: Any) -> None:
    """Field of one channel, coefficients c [n_coefficients], into out [n_points]; task of n_tasks."""
    real = out.dtype.type
    n_harmonics = (l_max + 1) ** 2
    local, d = np.empty((3, BLOCK), out.dtype), np.empty((5, BLOCK), out.dtype)
    radial = np.empty((ROWS, BLOCK), out.dtype)
    angular, s = np.empty((n_harmonics, BLOCK), out.dtype), np.empty((n_harmonics, BLOCK), out.dtype)
    value = np.empty((1, BLOCK), out.dtype)
    origin = np.empty(3)
    rows = np.arange(2 * l_max + 1)
    near = np.empty(most_candidates(scene), dtype=np.int64)
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = candidates(blocks, scene, unit, near)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, block, local, origin)
            value[:] = real(0.0)
            for i in range(n_near):
                image = near[i]
                site = scene.image_site[image]
                nearest2 = displacements(local, origin, scene, image, d)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                top = site_field(tables, scene, site, nearest2, c, d, rows, radial, angular, s)
                for p in range(0, BLOCK, VECTOR_BYTES // out.itemsize):
                    sum_ = load(value, 0, p)
                    for k in range((top + 1) ** 2):
                        sum_ = sum_ + load(s, k, p) * load(angular, k, p)
                    store(value, 0, p, sum_)
            first = blocks.block_ptr[block]
            for p in range(count):
                out[blocks.order[first + p]] = value[0, p]


@njit(nogil=True, cache=True)
def forward_channels(
    tables: Any, scene: Any, blocks: Any, l_max: int, c: Any, task: int, n_tasks: int, out: Any
) -> None:
    """Fields of K channels, coefficients c [n_coefficients, K], into out [n_points, K]: orbitals, then a small gemm."""
    real = out.dtype.type
    n_channels = c.shape[1]
    flat = c.reshape(-1)
    n_harmonics = (l_max + 1) ** 2
    local, d = np.empty((3, BLOCK), out.dtype), np.empty((5, BLOCK), out.dtype)
    radial = np.empty((ROWS, BLOCK), out.dtype)
    s = np.empty((n_harmonics, BLOCK), out.dtype)
    orbitals = np.empty((ROWS * (2 * l_max + 1), BLOCK), out.dtype)
    offsets = np.empty(orbitals.shape[0], dtype=np.int64)
    shells = np.empty(ROWS, dtype=np.int64)
    values = np.empty((n_channels, BLOCK), out.dtype)
    channels = np.arange(n_channels)
    origin = np.empty(3)
    near = np.empty(most_candidates(scene), dtype=np.int64)
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = candidates(blocks, scene, unit, near)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, block, local, origin)
            values[:] = real(0.0)
            for i in range(n_near):
                image = near[i]
                site = scene.image_site[image]
                kind = scene.site_type[site]
                nearest2 = displacements(local, origin, scene, image, d)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                harmonics(tables.group_l[tables.group_ptr[kind + 1] - 1], d, s)
                for group in range(tables.group_ptr[kind], tables.group_ptr[kind + 1]):
                    l = tables.group_l[group]
                    index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
                    while index < last:
                        n, index = radial_rows(tables, scene, site, index, last, nearest2, d, radial, shells)
                        n_orbitals = 0
                        for j in range(n):
                            start = scene.coefficient_ptr[site] + tables.shell_offset[shells[j]]
                            for m in range(2 * l + 1):
                                product(radial, j, s, l * l + m, orbitals, n_orbitals)
                                offsets[n_orbitals] = (start + m) * n_channels
                                n_orbitals += 1
                        contract(flat, channels, n_channels, offsets, n_orbitals, orbitals, values, 0)
            first = blocks.block_ptr[block]
            for p in range(count):
                for k in range(n_channels):
                    out[blocks.order[first + p], k] = values[k, p]
