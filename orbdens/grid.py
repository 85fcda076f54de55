"""Regular grids of points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.structure import Structure, perpendicular

THICKNESS = 8
"""Planes of a slab are a multiple of this: the kernels work on tiles of so many points a side, HDF5 on such chunks."""

EDGE = 1e-6
"""Steps by which a point may miss an edge and still be on it."""

Values = NDArray[np.floating] | Iterable[NDArray[np.floating]]
"""Values on a grid: an array of its shape, or its slabs along one axis, one after the other."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Points ``origin + i·steps[0] + j·steps[1] + k·steps[2]``, the last index fastest.

    Attributes:
        origin: Å [3].
        steps: step vectors as rows, Å [3, 3].
        shape: number of points along each step vector.
        part_of: the grid of which these points are a part; None for a whole one.
    """

    origin: NDArray[np.float64]
    steps: NDArray[np.float64]
    shape: tuple[int, int, int]
    part_of: Grid | None = None

    @classmethod
    def around(cls, structure: Structure, spacing: float, margin: float) -> Grid:
        """The smallest grid with ``margin`` Å on all sides of a molecule, along the Cartesian axes, centred on it.

        Along the lattice vectors that repeat it spans the cell instead, divided so that no step is longer than
        ``spacing``; along the others it has the margin around the atoms, at right angles to those that repeat.

        Raises:
            UserError: the spacing is not above 0, or the margin is negative.
        """
        if not 0 < spacing < np.inf:
            raise UserError(f"expected a spacing of the grid above 0 Å, but got {spacing:g}")
        if not 0 <= margin < np.inf:
            raise UserError(f"expected a margin of the grid of 0 Å or more, but got {margin:g}")
        repeats = np.array(structure.pbc if structure.cell is not None else (False, False, False))
        lattice = np.zeros((3, 3)) if structure.cell is None else structure.cell
        axes = lattice.copy()
        axes[~repeats] = perpendicular(lattice[repeats])
        if np.linalg.det(axes) < 0 and not repeats.all():
            axes[np.flatnonzero(~repeats)[-1]] *= -1  # right-handed, as some programs expect
        free = axes[~repeats]
        along = structure.positions @ free.T
        low, high = along.min(axis=0) - margin, along.max(axis=0) + margin
        counts = np.ones(3, dtype=int)
        counts[repeats] = np.maximum(np.ceil(np.linalg.norm(axes[repeats], axis=1) / spacing - 1e-9), 1)
        counts[~repeats] = np.ceil((high - low) / spacing - 1e-9) + 1
        steps = np.where(repeats[:, None], axes / counts[:, None], axes * spacing)
        origin = (low + high - (counts[~repeats] - 1) * spacing) / 2 @ free
        return cls(origin, steps, (int(counts[0]), int(counts[1]), int(counts[2])))

    def without_end_points(self, repeats: tuple[bool, bool, bool]) -> Grid:
        """The same grid without its last point along axes that do not repeat, so that it fills a box that does.

        Args:
            repeats: for each axis whether its points already stop one step before the edge.
        """
        nx, ny, nz = (n if full else max(n - 1, 1) for n, full in zip(self.shape, repeats, strict=True))
        return Grid(self.origin, self.steps, (nx, ny, nz))

    def same_as(self, other: Grid) -> bool:
        """Whether both have the same points."""
        return self.shape == other.shape and self.place_of(other) is not None

    @property
    def n_points(self) -> int:
        return int(np.prod(self.shape))

    @property
    def volume_element(self) -> float:
        """Å³ per point."""
        return float(abs(np.linalg.det(self.steps)))

    @property
    def whole(self) -> Grid:
        """The grid of which this is a part, or this one."""
        return self.part_of or self

    def part(self, first: tuple[int, int, int], shape: tuple[int, int, int]) -> Grid:
        """So many points along each axis, from a point of this grid on; beyond its edges they go on in its steps."""
        return Grid(self.origin + np.array(first) @ self.steps, self.steps, shape, self.whole)

    def place_of(self, other: Grid) -> tuple[slice, slice, slice] | None:
        """Where the points of another grid are among those of this one; None if not all of them are."""
        first = (other.origin - self.origin) @ np.linalg.inv(self.steps)
        start = np.rint(first).astype(int)
        on_points = np.allclose(other.steps, self.steps) and np.abs(first - start).max() < EDGE
        if not on_points or (start < 0).any() or (start + other.shape > self.shape).any():
            return None
        x, y, z = (slice(a, a + n) for a, n in zip(start.tolist(), other.shape, strict=True))
        return x, y, z

    def within(self, low: NDArray[np.float64], high: NDArray[np.float64], structure: Structure | None = None) -> Grid:
        """The smallest part that holds all points in a box along x, y and z.

        Along vectors of a cell that the grid fills it goes on beyond the edge, up to one whole cell. A grid whose
        steps are not along x, y and z has no boxes, so that its part holds points beside the box, too.

        Args:
            low: Å [3]; -inf leaves this side open.
            high: Å [3]; likewise inf.
            structure: whose cell may repeat; None for none.

        Raises:
            UserError: a bound is no number or above its partner, or there is no point in the box.
        """
        box = f"the box from {_words(low)} to {_words(high)} Å"
        if not ((low <= high) & (low < np.inf) & (high > -np.inf)).all():
            raise UserError(f"expected a box whose first corner is below its second, but got {box}")
        inverse, last = np.linalg.inv(self.steps), np.array(self.shape) - 1
        own = _corners(np.zeros(3), last) @ self.steps + self.origin
        bounded = np.where(np.isinf(low), own.min(axis=0), low), np.where(np.isinf(high), own.max(axis=0), high)
        index = (_corners(*bounded) - self.origin) @ inverse
        begin = np.ceil(index.min(axis=0) - EDGE).astype(int)
        end = np.floor(index.max(axis=0) + EDGE).astype(int)
        repeats = np.zeros(3, dtype=bool) if structure is None else self.repeats(structure)
        goes_on = repeats & (end - begin < last)
        begin = np.where(goes_on, begin, np.where(repeats, 0, np.maximum(begin, 0)))
        end = np.where(goes_on, end, np.where(repeats, last, np.minimum(end, last)))
        if (begin > end).any():
            reach = f"from {_words(own.min(axis=0))} to {_words(own.max(axis=0))} Å"
            steps = _words(np.linalg.norm(self.steps, axis=1))
            raise UserError(f"{box} holds no point of the grid, which reaches {reach} in steps of {steps} Å")
        nx, ny, nz = (end - begin + 1).tolist()
        return self.part((int(begin[0]), int(begin[1]), int(begin[2])), (nx, ny, nz))

    def repeats(self, structure: Structure) -> NDArray[np.bool_]:
        """Along which axes the grid fills the cell of a structure that repeats [3]."""
        if structure.cell is None:
            return np.zeros(3, dtype=bool)
        spans = self.steps * np.array(self.shape)[:, None]
        return np.array(structure.pbc) & np.isclose(spans, structure.cell, atol=1e-4).all(axis=1)

    def slabs(self, n_points: int, axis: int = 0) -> Iterator[tuple[slice, Grid]]:
        """Parts along an axis, the first unless told, with where they sit on it.

        They have about ``n_points`` points each, and ``THICKNESS`` planes or a multiple of it where that many fit.
        """
        n = self.shape[axis]
        thickness = max(1, n_points * n // max(1, self.n_points))
        thickness -= thickness % THICKNESS if thickness > THICKNESS else 0
        for start in range(0, n, thickness):
            stop = min(start + thickness, n)
            first, shape = [0, 0, 0], list(self.shape)
            first[axis], shape[axis] = start, stop - start
            yield slice(start, stop), self.part((first[0], first[1], first[2]), (shape[0], shape[1], shape[2]))

    def parts(self, values: Values, axis: int = 0) -> Iterator[NDArray[np.floating]]:
        """Values on this grid, which may come as an array or in slabs along an axis, as slabs in order.

        Raises:
            ValueError: they do not fill the grid.
        """
        filled, across = 0, self.shape[:axis] + self.shape[axis + 1 :]
        for part in [values] if isinstance(values, np.ndarray) else values:
            filled += part.shape[axis]
            if part.shape[:axis] + part.shape[axis + 1 :] != across or filled > self.shape[axis]:
                raise ValueError(f"values of shape {part.shape} on a grid of shape {self.shape}")
            yield part
        if filled != self.shape[axis]:
            raise ValueError(f"values of {filled} planes on a grid of shape {self.shape}")

    def points(self) -> NDArray[np.float64]:
        """All points in Å [n_points, 3], the last axis of the grid fastest."""
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij"), axis=-1)
        return self.origin + index.reshape(-1, 3) @ self.steps


def _corners(low: NDArray[np.generic], high: NDArray[np.generic]) -> NDArray[np.float64]:
    """All corners of a box [8, 3]."""
    return np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3).astype(np.float64)


def _words(numbers: NDArray[np.float64]) -> str:
    return ", ".join(f"{x:.3g}" for x in numbers)
