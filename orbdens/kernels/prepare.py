"""What the CPU kernels need before they run: sorted blocks of points, tables per type, radii, images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from orbdens.kernels import screening
from orbdens.kernels.problem import Problem

BLOCK = 64  # points
UNIT = 8  # blocks
ROWS = 32  # radial functions held at a time

Array = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating]
Index = npt.NDArray[np.int64]


class Tables(NamedTuple):
    """Per type: shells sorted by l into groups of equal l, and their radial functions."""

    group_ptr: Index  # groups of each type [n_types + 1]
    group_l: Index  # [n_groups]
    group_shell_ptr: Index  # entries of shell_order of each group [n_groups + 1]
    shell_order: Index  # shells, sorted by type and l
    shell_offset: Index  # first coefficient of each shell, counted from its site's first
    primitive_ptr: Index
    type_primitive: Index  # first primitive of each type
    exponents: Real
    weights: Real


class Scene(NamedTuple):
    """Sites, their images and how far each primitive reaches."""

    image_ptr: Index  # images of each structure
    image_site: Index
    image_position: Array  # [n_images, 3] float64
    site_type: Index
    coefficient_ptr: Index
    reach_ptr: Index
    reach2: Array
    site_reach: Array
    shell_reach_ptr: Index  # first entry of shell_reach2 of each site
    shell_reach2: Array  # largest reach2 of a shell and those after it in its group, in the order of shell_order
    scalings: Real  # empty where there are none
    cutoff2: float


class Blocks(NamedTuple):
    """Points in blocks of at most 64 neighbours; units of up to 8 blocks share a list of candidate sites."""

    points: Real  # [n_points, 3]
    order: Index  # points, block by block
    block_ptr: Index  # entries of order of each block
    unit_ptr: Index  # blocks of each unit
    unit_structure: Index


class Scratch(NamedTuple):
    """What one task writes to; the loops themselves do not allocate."""

    gathered: Real  # [3, UNIT * 64] points of the unit
    local: Real  # [3, 64] points of the block from its origin
    d: Real  # [5, 64] x, y, z, r² from a site, and r² or huge beyond the cut-off
    radial: Real  # [3, ROWS, 64] radial functions; twice their derivative by r²; their part of the Laplacian
    angular: Real  # [3, n_harmonics, 64] the same, contracted with the coefficients
    s: Real  # [n_harmonics, 64] solid harmonics
    weighted: Real  # [n_harmonics, 64] harmonics times cotangents
    z: Real  # [ROWS, 64] those times coefficients, summed over m
    orbitals: Real  # [ROWS * (2 l_max + 1), 64]
    values: Real  # [max(K, 8), 64]
    cotangents: Real  # [UNIT, 64]
    sums: Real  # [3 * UNIT, 64] gradients at the points of a unit
    origin: Array  # [3]
    box: Array  # [2, 3]
    near: Index  # images that reach a unit
    shells: Index  # [ROWS]
    offsets: Index  # [ROWS]
    orbital_offsets: Index  # [ROWS * (2 l_max + 1)]
    orders: Index  # 0, 1, 2, ...


def scratch(scene: Scene, l_max: int, n_channels: int, dtype: np.dtype[np.floating]) -> Scratch:
    """Scratch arrays of one task."""
    n_harmonics, n_orbitals = (l_max + 1) ** 2, ROWS * (2 * l_max + 1)
    return Scratch(
        gathered=np.empty((3, UNIT * BLOCK), dtype),
        local=np.empty((3, BLOCK), dtype),
        d=np.empty((5, BLOCK), dtype),
        radial=np.empty((3, ROWS, BLOCK), dtype),
        angular=np.empty((3, n_harmonics, BLOCK), dtype),
        s=np.empty((n_harmonics, BLOCK), dtype),
        weighted=np.empty((n_harmonics, BLOCK), dtype),
        z=np.empty((ROWS, BLOCK), dtype),
        orbitals=np.empty((n_orbitals if n_channels > 1 else 0, BLOCK), dtype),
        values=np.empty((max(n_channels, 8), BLOCK), dtype),
        cotangents=np.empty((UNIT, BLOCK), dtype),
        sums=np.empty((3 * UNIT, BLOCK), dtype),
        origin=np.empty(3),
        box=np.empty((2, 3)),
        near=np.empty(np.diff(scene.image_ptr).max(initial=0), dtype=np.int64),
        shells=np.empty(ROWS, dtype=np.int64),
        offsets=np.empty(ROWS, dtype=np.int64),
        orbital_offsets=np.empty(n_orbitals, dtype=np.int64),
        orders=np.arange(max(2 * l_max + 1, n_channels)),
    )


def tables(problem: Problem) -> Tables:
    shells = problem.shells
    shell_ptr, shell_l = shells.shell_ptr.numpy(), shells.shell_l.numpy()
    primitive_ptr = shells.primitive_ptr.numpy()
    shell_type = np.repeat(np.arange(shells.n_types), np.diff(shell_ptr))
    # Wide shells first, so that the first one out of reach ends its group.
    widest = np.minimum.reduceat(shells.exponents.detach().numpy(), primitive_ptr[:-1]) if shell_l.size else shell_l
    order = np.lexsort((widest, shell_l, shell_type))
    key = shell_type[order] * 64 + shell_l[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    ends = np.concatenate([[0], np.cumsum(2 * shell_l + 1)])
    return Tables(
        group_ptr=np.searchsorted(shell_type[order][first], np.arange(shells.n_types + 1)).astype(np.int64),
        group_l=shell_l[order][first],
        group_shell_ptr=np.append(first, order.size).astype(np.int64),
        shell_order=order.astype(np.int64),
        shell_offset=ends[:-1] - ends[shell_ptr[shell_type]],
        primitive_ptr=primitive_ptr,
        type_primitive=primitive_ptr[shell_ptr],
        exponents=shells.exponents.detach().numpy(),
        weights=shells.weights.detach().numpy(),
    )


def scene(problem: Problem, table: Tables, at_least: float, corners: Array | None = None) -> tuple[Scene, Array | None]:
    """Sites with images and radii; ``at_least`` is a floor under the coefficient norms used for screening.

    Points of periodic structures are taken to lie in the cell, or between the ``corners`` [n, 3] (Å) given.

    Returns:
        the scene, and the completed cells [n_structures, 3, 3] where anything is periodic.
    """
    shells = problem.shells
    shell_ptr, shell_l = shells.shell_ptr.numpy(), shells.shell_l.numpy()
    primitive_ptr = shells.primitive_ptr.numpy()
    site_type, site_ptr = problem.site_type.numpy(), problem.site_ptr.numpy()
    coefficients = problem.coefficients.detach().numpy()
    scalings = np.empty(0, coefficients.dtype) if problem.scalings is None else problem.scalings.detach().numpy()
    strength_ptr = _pointers(np.diff(shell_ptr)[site_type])
    strength = screening.shell_strength(site_type, shell_ptr, shell_l, coefficients, strength_ptr, at_least)
    reach_ptr = _pointers(np.diff(primitive_ptr[shell_ptr])[site_type])
    cutoff = np.inf if problem.cutoff is None else float(problem.cutoff)
    reach2, site_reach = screening.site_radii(
        site_type,
        site_ptr,
        shell_ptr,
        shell_l,
        primitive_ptr,
        shells.exponents.detach().numpy(),
        shells.weights.detach().numpy(),
        scalings,
        strength,
        strength_ptr,
        reach_ptr,
        problem.tolerance,
        cutoff,
    )
    shell_reach2 = screening.suffix_reach(
        site_type,
        table.group_ptr,
        table.group_shell_ptr,
        table.shell_order,
        primitive_ptr,
        table.type_primitive,
        reach_ptr,
        reach2,
        strength_ptr,
    )
    positions = problem.site_positions.detach().to(torch.float64).numpy()
    cells = None
    if problem.cells is not None and problem.pbc is not None and bool(problem.pbc.any()):
        pbc = problem.pbc.numpy()
        cells = screening.complete_cells(problem.cells.detach().to(torch.float64).numpy(), pbc)
        inverse = np.linalg.inv(cells).astype(np.float64, copy=False)
        bounds: Array = np.tile(np.array([[0.0] * 3, [1.0] * 3]), (len(cells), 1, 1))
        if corners is not None:
            fractional = corners @ inverse[0]
            bounds[0] = fractional.min(0), fractional.max(0)
        position, site, ptr = screening.images(positions, site_ptr, site_reach, cells, inverse, pbc, bounds)
    else:
        position, site, ptr = positions, np.arange(site_type.size), site_ptr
    return (
        Scene(
            image_ptr=ptr,
            image_site=site,
            image_position=position,
            site_type=site_type,
            coefficient_ptr=shells.coefficient_ptr(problem.site_type).numpy(),
            reach_ptr=reach_ptr,
            reach2=reach2,
            site_reach=site_reach,
            shell_reach_ptr=strength_ptr,
            shell_reach2=shell_reach2,
            scalings=scalings,
            cutoff2=cutoff * cutoff,
        ),
        cells,
    )


def blocks(points: Real, point_ptr: Index) -> Blocks:
    """Sort the points [n_points, 3] of each structure along a Morton curve and cut them into blocks and units."""
    counts = np.diff(point_ptr)
    n_blocks = -(-counts // BLOCK)
    n_units = -(-n_blocks // UNIT)
    block_structure = np.repeat(np.arange(counts.size), n_blocks)
    block_in_structure = np.arange(block_structure.size) - _pointers(n_blocks)[block_structure]
    unit_structure = np.repeat(np.arange(counts.size), n_units)
    unit_in_structure = np.arange(unit_structure.size) - _pointers(n_units)[unit_structure]
    return Blocks(
        points=points,
        order=_morton_order(points, point_ptr),
        block_ptr=np.append(point_ptr[block_structure] + BLOCK * block_in_structure, point_ptr[-1]),
        unit_ptr=np.append(_pointers(n_blocks)[unit_structure] + UNIT * unit_in_structure, block_structure.size),
        unit_structure=unit_structure,
    )


def _pointers(counts: Index) -> Index:
    ptr = np.zeros(counts.size + 1, dtype=np.int64)
    np.cumsum(counts, out=ptr[1:])
    return ptr


@njit(cache=True, nogil=True)
def _morton_order(points: Real, point_ptr: Index) -> Index:
    """Order of the points of each structure along a Morton curve, by a counting sort of cells of about 8 points."""
    order = np.empty(points.shape[0], dtype=np.int64)
    for structure in range(point_ptr.size - 1):
        first, last = point_ptr[structure], point_ptr[structure + 1]
        n = last - first
        if n == 0:
            continue
        bits = 0
        while bits < 7 and (8 << (3 * bits)) < n:
            bits += 1
        low = np.array([np.inf, np.inf, np.inf])
        high = -low
        for i in range(first, last):
            for axis in range(3):
                value = float(points[i, axis])
                low[axis] = min(low[axis], value)
                high[axis] = max(high[axis], value)
        side = max(high[0] - low[0], high[1] - low[1], high[2] - low[2])
        factor = (1 << bits) * 0.999999 / side if side > 0 else 0.0
        spread = np.zeros(1 << bits, dtype=np.int64)
        for value in range(1 << bits):
            for bit in range(bits):
                spread[value] |= ((value >> bit) & 1) << (3 * bit)
        start = np.zeros((1 << (3 * bits)) + 1, dtype=np.int64)
        key = np.empty(n, dtype=np.int32)
        for i in range(n):
            x = int((float(points[first + i, 0]) - low[0]) * factor)
            y = int((float(points[first + i, 1]) - low[1]) * factor)
            z = int((float(points[first + i, 2]) - low[2]) * factor)
            cell = spread[x] << 2 | spread[y] << 1 | spread[z]
            key[i] = cell
            start[cell + 1] += 1
        for cell in range(start.size - 1):
            start[cell + 1] += start[cell]
        for i in range(n):
            order[first + start[key[i]]] = first + i
            start[key[i]] += 1
    return order
