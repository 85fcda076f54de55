"""Regular grids of points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.structure import Structure, perpendicular


@dataclass(frozen=True, eq=False)
class Grid:
    """Points ``origin + i·steps[0] + j·steps[1] + k·steps[2]``, the last index fastest.

    Attributes:
        origin: Å [3].
        steps: step vectors as rows, Å [3, 3].
        shape: number of points along each step vector.
    """

    origin: NDArray[np.float64]
    steps: NDArray[np.float64]
    shape: tuple[int, int, int]

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
        same_axes = self.shape == other.shape and np.allclose(self.steps, other.steps)
        return same_axes and np.allclose(self.origin, other.origin)

    @property
    def n_points(self) -> int:
        return int(np.prod(self.shape))

    @property
    def volume_element(self) -> float:
        """Å³ per point."""
        return float(abs(np.linalg.det(self.steps)))

    def slabs(self, n_points: int) -> Iterator[tuple[slice, Grid]]:
        """Parts along the first axis of about so many points each, with where they sit on that axis."""
        thickness = max(1, n_points // max(1, self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], thickness):
            stop = min(start + thickness, self.shape[0])
            origin = self.origin + start * self.steps[0]
            yield slice(start, stop), Grid(origin, self.steps, (stop - start, *self.shape[1:]))

    def points(self) -> NDArray[np.float64]:
        """All points in Å [n_points, 3], the last axis of the grid fastest."""
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij"), axis=-1)
        return self.origin + index.reshape(-1, 3) @ self.steps
