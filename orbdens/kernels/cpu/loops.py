"""The compiled loops of the CPU backend: units of blocks of points, the sites that reach them, their shells."""

from __future__ import annotations

from typing import Any

from orbdens.kernels.blocks import BLOCK
from orbdens.kernels.cpu.math import add_gaussian, add_harmonic_sum, contract, displace, harmonics, product
from orbdens.kernels.cpu.scratch import ROWS
from orbdens.kernels.cpu.vector import compiled, inlined

BEYOND = 1e30  # stands for r² beyond the cut-off; its exponential is exactly 0


@inlined
def load_unit(blocks: Any, scene: Any, unit: int, work: Any) -> int:
    """Points of a unit into work.gathered, the images that reach the box around them into work.near.

    Returns:
        number of images.
    """
    start = blocks.block_ptr[blocks.unit_ptr[unit]]
    n_points = blocks.block_ptr[blocks.unit_ptr[unit + 1]] - start
    for axis in range(3):
        low = high = blocks.points[blocks.order[start], axis]
        for i in range(n_points):
            value = blocks.points[blocks.order[start + i], axis]
            work.gathered[axis, i] = value
            low, high = min(low, value), max(high, value)
        work.box[0, axis], work.box[1, axis] = low, high
    structure = blocks.unit_structure[unit]
    n = 0
    for image in range(scene.image_ptr[structure], scene.image_ptr[structure + 1]):
        distance2 = 0.0
        for axis in range(3):
            x = scene.image_position[image, axis]
            distance2 += max(work.box[0, axis] - x, x - work.box[1, axis], 0.0) ** 2
        if distance2 <= scene.site_reach[scene.image_site[image]] ** 2:
            work.near[n] = image
            n += 1
    return n


@inlined
def load_block(blocks: Any, unit: int, block: int, work: Any) -> int:
    """Points of a block of the loaded unit relative to its first one into work.local; returns their number.

    The rest of the 64 stays at the first point.
    """
    first = blocks.block_ptr[block] - blocks.block_ptr[blocks.unit_ptr[unit]]
    count = blocks.block_ptr[block + 1] - blocks.block_ptr[block]
    for axis in range(3):
        origin = work.gathered[axis, first]
        work.origin[axis] = origin
        for p in range(count):
            work.local[axis, p] = work.gathered[axis, first + p] - origin
        for p in range(count, BLOCK):
            work.local[axis, p] = work.local.dtype.type(0.0)
    return int(count)


@inlined
def displacements(scene: Any, image: int, work: Any) -> float:
    """x, y, z, r² and screened r² of a block from an image into work.d; returns a lower bound on r²."""
    real = work.d.dtype.type
    x0 = real(scene.image_position[image, 0] - work.origin[0])
    y0 = real(scene.image_position[image, 1] - work.origin[1])
    z0 = real(scene.image_position[image, 2] - work.origin[2])
    limit = real(min(scene.cutoff2, BEYOND))
    return float(displace(work.local, x0, y0, z0, limit, real(BEYOND), work.d)) * (1.0 - 1e-5)


@inlined
def radial_rows(
    tables: Any, scene: Any, site: int, first: int, last: int, nearest2: float, work: Any
) -> tuple[int, int]:
    """Radial functions of the shells in shell_order[first:last] that count at this block, up to ROWS of them.

    They go to work.radial[0], their shells to work.shells, the first coefficient of each to work.offsets.

    Returns:
        number of rows written, and where to go on.
    """
    own_type = scene.site_type[site]
    radial = work.radial[0]
    scale = scene.scalings[site] if scene.scalings.size else radial.dtype.type(1.0)
    entry = scene.reach_ptr[site] - tables.type_primitive[own_type]
    ahead = scene.shell_reach_ptr[site] - tables.group_shell_ptr[tables.group_ptr[own_type]]
    n = 0
    index = first
    while index < last and n < ROWS:
        if scene.shell_reach2[ahead + index] <= nearest2:
            index = last
            break
        shell = tables.shell_order[index]
        empty = True
        for q in range(tables.primitive_ptr[shell], tables.primitive_ptr[shell + 1]):
            if scene.reach2[entry + q] > nearest2:
                add_gaussian(empty, tables.weights[q], tables.exponents[q] * scale, work.d, radial, n)
                empty = False
        if not empty:
            work.shells[n] = shell
            work.offsets[n] = scene.coefficient_ptr[site] + tables.shell_offset[shell]
            n += 1
        index += 1
    return n, index


@inlined
def site_field(tables: Any, scene: Any, site: int, nearest2: float, c: Any, work: Any) -> int:
    """Coefficients contracted with radial functions into work.angular[0].

    Returns:
        largest l that counts, -1 for none; the array is set up to there.
    """
    own_type = scene.site_type[site]
    angular = work.angular[0]
    zero = angular.dtype.type(0.0)
    l_max = -1
    for group in range(tables.group_ptr[own_type], tables.group_ptr[own_type + 1]):
        l = tables.group_l[group]
        index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
        while index < last:
            n, index = radial_rows(tables, scene, site, index, last, nearest2, work)
            if n == 0:
                continue
            if l > l_max:
                angular[(l_max + 1) ** 2 : (l + 1) ** 2] = zero
                l_max = l
            contract(c, work.orders, 2 * l + 1, work.offsets, n, work.radial[0], angular, l * l)
    return int(l_max)


@compiled
def forward(tables: Any, scene: Any, blocks: Any, c: Any, task: int, n_tasks: int, work: Any, out: Any) -> None:
    """Field of one channel, coefficients c [n_coefficients], into out [n_points]; task of n_tasks."""
    values = work.values
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = load_unit(blocks, scene, unit, work)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, unit, block, work)
            values[0] = out.dtype.type(0.0)
            for i in range(n_near):
                site = scene.image_site[work.near[i]]
                nearest2 = displacements(scene, work.near[i], work)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                top = site_field(tables, scene, site, nearest2, c, work)
                if top >= 0:
                    add_harmonic_sum(top, work.d, work.angular[0], values)
            first = blocks.block_ptr[block]
            for p in range(count):
                out[blocks.order[first + p]] = values[0, p]


@compiled
def forward_channels(
    tables: Any, scene: Any, blocks: Any, c: Any, task: int, n_tasks: int, work: Any, out: Any
) -> None:
    """Fields of K channels, flat coefficients c [n_coefficients * K], into out [n_points, K]: orbitals, then a gemm."""
    n_channels = out.shape[1]
    values = work.values
    for unit in range(task, blocks.unit_structure.size, n_tasks):
        n_near = load_unit(blocks, scene, unit, work)
        for block in range(blocks.unit_ptr[unit], blocks.unit_ptr[unit + 1]):
            count = load_block(blocks, unit, block, work)
            values[:] = out.dtype.type(0.0)
            for i in range(n_near):
                site = scene.image_site[work.near[i]]
                own_type = scene.site_type[site]
                nearest2 = displacements(scene, work.near[i], work)
                if nearest2 > scene.site_reach[site] ** 2:
                    continue
                harmonics(tables.group_l[tables.group_ptr[own_type + 1] - 1], work.d, work.s)
                for group in range(tables.group_ptr[own_type], tables.group_ptr[own_type + 1]):
                    l = tables.group_l[group]
                    index, last = tables.group_shell_ptr[group], tables.group_shell_ptr[group + 1]
                    while index < last:
                        n, index = radial_rows(tables, scene, site, index, last, nearest2, work)
                        n_orbitals = 0
                        for j in range(n):
                            for m in range(2 * l + 1):
                                product(work.radial[0], j, work.s, l * l + m, work.orbitals, n_orbitals)
                                work.orbital_offsets[n_orbitals] = (work.offsets[j] + m) * n_channels
                                n_orbitals += 1
                        contract(c, work.orders, n_channels, work.orbital_offsets, n_orbitals, work.orbitals, values, 0)
            first = blocks.block_ptr[block]
            for p in range(count):
                for k in range(n_channels):
                    out[blocks.order[first + p], k] = values[k, p]
