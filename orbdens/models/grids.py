"""Grids that networks work on: where their points are, how points become channels, and the 48 ways to turn a cube."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from torch import Tensor

from orbdens.grid import Grid
from orbdens.models.grid_options import GridOptions
from orbdens.structure import Structure

POINTS_AT_ONCE = 500_000
"""Grid points of the structures that go through a network together in prediction; one structure is never split."""

WAYS = 48
"""Rotations and reflections of a cube."""

ORDERS = list(permutations(range(3)))


def network_grid(structure: Structure, options: GridOptions) -> Grid:
    """``Grid.around`` a structure, with lengths that are whole multiples of ``options.multiple``.

    It is widened on both sides by whole steps, and divided more finely along axes that repeat.
    """
    grid = Grid.around(structure, options.spacing, options.margin)
    lengths = np.array(grid.shape)
    wide = -(-lengths // options.multiple) * options.multiple
    repeats = np.array(structure.pbc if structure.cell is not None else (False, False, False))
    steps = np.where(repeats[:, None], grid.steps * (lengths / wide)[:, None], grid.steps)
    before = np.where(repeats, 0, (wide - lengths) // 2)
    return Grid(grid.origin - before @ steps, steps, (int(wide[0]), int(wide[1]), int(wide[2])))


def of_one_shape(grids: Sequence[Grid]) -> Iterator[list[int]]:
    """Indices of grids that go through a network together: of one shape, and not too many points."""
    same: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, grid in enumerate(grids):
        same[grid.shape].append(i)
    for shape, members in same.items():
        step = max(1, POINTS_AT_ONCE // math.prod(shape))
        yield from (members[start : start + step] for start in range(0, len(members), step))


def turned(values: Tensor, way: int) -> Tensor:
    """Values whose last three axes were turned and mirrored in one of ``WAYS`` ways, of which 0 leaves them."""
    leading = values.dim() - 3
    axes = [leading + axis for axis in ORDERS[way // 8]]
    flipped = [leading + axis for axis in range(3) if way % 8 >> axis & 1]
    return values.permute(*range(leading), *axes).flip(flipped).contiguous()


def folded(values: Tensor, n: int) -> Tensor:
    """Blocks of n³ points as channels: [b, c, nx, ny, nz] to [b, c·n³, nx/n, ny/n, nz/n]."""
    if n == 1:
        return values
    b, c, x, y, z = values.shape
    blocks = values.reshape(b, c, x // n, n, y // n, n, z // n, n).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(b, c * n**3, x // n, y // n, z // n)


def unfolded(channels: Tensor, n: int) -> Tensor:
    """The inverse of ``folded``: [b, c·n³, nx, ny, nz] to [b, c, n·nx, n·ny, n·nz]."""
    if n == 1:
        return channels
    b, c, x, y, z = channels.shape
    blocks = channels.reshape(b, c // n**3, n, n, n, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(b, c // n**3, x * n, y * n, z * n)
