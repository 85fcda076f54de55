"""Regular grids of points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.structure import Structure


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
        """The smallest axis-aligned grid with ``margin`` Å on all sides of a molecule, centred on it.

        A periodic structure gets its cell instead, divided so that no step is longer than ``spacing``.
        """
        if structure.periodic and structure.cell is not None:
            n = np.maximum(np.ceil(np.linalg.norm(structure.cell, axis=1) / spacing - 1e-9).astype(int), 1)
            return cls(np.zeros(3), structure.cell / n[:, None], (int(n[0]), int(n[1]), int(n[2])))
        low, high = structure.positions.min(axis=0) - margin, structure.positions.max(axis=0) + margin
        n = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1
        origin = (low + high - (n - 1) * spacing) / 2
        return cls(origin, spacing * np.eye(3), (int(n[0]), int(n[1]), int(n[2])))

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
