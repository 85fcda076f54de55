"""Densities that are known by their values on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density, check_molecule
from orbdens.electrons import electrons_on_grid
from orbdens.grid import EDGE, Grid
from orbdens.metrics import electronic_dipole
from orbdens.sampling import draw_voxels
from orbdens.structure import Structure


@dataclass(frozen=True, eq=False)
class GridDensity(Density):
    """Values on a grid, tricubic in between and zero outside; along the vectors that the structure repeats, periodic.

    Attributes:
        structure: what it is the density of.
        grid: where the values are.
        values: e/Å³, of the grid's shape.
        warnings, valence_electrons, has_cores: as ``Density`` says.
    """

    structure: Structure
    grid: Grid
    values: NDArray[np.float32]
    warnings: tuple[str, ...] = ()
    valence_electrons: Mapping[str, int] | None = None
    has_cores: bool = False

    @property
    def native_grid(self) -> Grid:
        return self.grid

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        return draw_voxels(self.grid, self.values, n, rng)

    def on(self, grid: Grid) -> NDArray[np.float32]:
        place = self.grid.place_of(grid)
        return super().on(grid) if place is None else self.values[place]

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        from scipy.ndimage import map_coordinates  # a fifth of a second that densities of orbitals do without

        index = (points - self.grid.origin) @ np.linalg.inv(self.grid.steps)
        mode = "grid-wrap" if self.structure.periodic else "constant"
        result: NDArray[np.float32] = map_coordinates(self.values, index.T, order=3, mode=mode, output=np.float32)
        if self.structure.periodic:  # of the vacuum beside a slab there are no images
            free = index[:, ~np.array(self.structure.pbc)]
            last = np.array(self.grid.shape)[~np.array(self.structure.pbc)] - 1
            result[((free < -EDGE) | (free > last + EDGE)).any(axis=1)] = 0
        return result

    @property
    def n_electrons(self) -> float:
        return electrons_on_grid(self.values, self.grid.steps)

    @property
    def dipole(self) -> NDArray[np.float64]:
        check_molecule(self.structure, "dipole")
        return electronic_dipole(self.grid, self.values)
