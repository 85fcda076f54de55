"""Arrays of the CPU loops: the points in blocks, and what one task writes to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbdens.kernels.blocks import BLOCK, cut, morton_order
from orbdens.kernels.prepare import Array, Index, Real, Scene

UNIT = 8  # blocks
ROWS = 32  # radial functions held at a time


class Blocks(NamedTuple):
    """Points in blocks of at most 64 neighbours; units of up to 8 blocks share a list of candidate sites."""

    points: Real  # [n_points, 3]
    order: Index  # points, block by block
    block_ptr: Index  # entries of order of each block
    unit_ptr: Index  # blocks of each unit
    unit_structure: Index


def blocks(points: Real, point_ptr: Index) -> Blocks:
    """Sort the points [n_points, 3] of each structure along a Morton curve and cut them into blocks and units."""
    block_ptr, _, blocks_of_structure = cut(point_ptr, BLOCK)
    unit_ptr, unit_structure, _ = cut(blocks_of_structure, UNIT)
    return Blocks(points, morton_order(points, point_ptr), block_ptr, unit_ptr, unit_structure)


class Scratch(NamedTuple):
    """What one task writes to; the loops themselves do not allocate."""

    gathered: Real  # [3, UNIT * 64] points of the unit
    local: Real  # [3, 64] points of the block from its origin
    d: Real  # [5, 64] x, y, z, r² from a site, and r² or huge beyond the cut-off
    radial: Real  # [3, ROWS, 64] radial functions; twice their derivative by r²; four times the second
    angular: Real  # [3, n_harmonics, 64] the same, contracted with the coefficients
    s: Real  # [n_harmonics, 64] solid harmonics
    slopes: Real  # [3, n_harmonics, 64] their gradients
    weighted: Real  # [n_harmonics, 64] harmonics times cotangents
    z: Real  # [ROWS, 64] those times coefficients, summed over m
    orbitals: Real  # [ROWS * (2 l_max + 1), 64]
    values: Real  # [max(K, 10), 64]
    cotangents: Real  # [UNIT, 64]
    sums: Real  # [3 * UNIT, 64] gradients at the points of a unit
    origin: Array  # [3]
    box: Array  # [2, 3]
    near: Index  # images that reach a unit
    shells: Index  # [ROWS]
    offsets: Index  # [ROWS]
    orbital_offsets: Index  # [ROWS * (2 l_max + 1)]
    orders: Index  # 0, 1, 2, ...


def new_scratch(scene: Scene, l_max: int, n_channels: int, dtype: np.dtype[np.floating]) -> Scratch:
    """Scratch arrays of one task."""
    n_harmonics, n_orbitals = (l_max + 1) ** 2, ROWS * (2 * l_max + 1)
    return Scratch(
        gathered=np.empty((3, UNIT * BLOCK), dtype),
        local=np.empty((3, BLOCK), dtype),
        d=np.empty((5, BLOCK), dtype),
        radial=np.empty((3, ROWS, BLOCK), dtype),
        angular=np.empty((3, n_harmonics, BLOCK), dtype),
        s=np.empty((n_harmonics, BLOCK), dtype),
        slopes=np.empty((3, n_harmonics, BLOCK), dtype),
        weighted=np.empty((n_harmonics, BLOCK), dtype),
        z=np.empty((ROWS, BLOCK), dtype),
        orbitals=np.empty((n_orbitals if n_channels > 1 else 0, BLOCK), dtype),
        values=np.empty((max(n_channels, 10), BLOCK), dtype),
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
