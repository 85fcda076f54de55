"""Where densities are compared with a reference: on a regular grid, at points of its own or on a quadrature.

A regular grid of 0.2 Å cannot hold a core: the sum over it depends on where nuclei fall between its points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.metrics import MARGIN, QUADRATURE, SPACING, electronic_dipole, nearest_atoms, nearest_atoms_at
from orbdens.structure import Structure


@dataclass(frozen=True, eq=False)
class OnGrid:
    """The points of a regular grid.

    Attributes:
        structure: whose densities are compared.
        grid: the points.
    """

    structure: Structure
    grid: Grid

    @property
    def volumes(self) -> NDArray[np.float64]:
        """Å³ of every point, a single number []."""
        return np.array(self.grid.volume_element)

    def values(self, density: Density) -> NDArray[np.float32]:
        """A density in e/Å³, of the grid's shape."""
        return density.on(self.grid)

    def dipole(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """−∫ρ r dr of values here, e·Å [3]."""
        return electronic_dipole(self.grid, values)

    def nearest(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Distance in Å to the nearest atom, and which it is; both of the grid's shape."""
        return nearest_atoms(self.structure, self.grid)


@dataclass(frozen=True, eq=False)
class AtPoints:
    """Points with volumes: a reference's own, or those of Becke's and Lebedev's quadrature over all space.

    Attributes:
        structure: whose densities are compared.
        points: Å [n_points, 3].
        volumes: Å³ of every point [n_points].
    """

    structure: Structure
    points: NDArray[np.float64]
    volumes: NDArray[np.float64]

    def values(self, density: Density) -> NDArray[np.float32]:
        """A density in e/Å³ [n_points]."""
        return density.at(self.points)

    def dipole(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """−∫ρ r dr of values here, e·Å [3]."""
        result: NDArray[np.float64] = -(self.volumes * values) @ self.points
        return result

    def nearest(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Distance in Å to the nearest atom [n_points], and which it is [n_points]."""
        return nearest_atoms_at(self.structure, self.points)


Comparison = OnGrid | AtPoints
"""Points and their volumes: Σ volumes · values(density) is its electrons."""


def comparison(reference: Density, spacing: float = SPACING, margin: float = MARGIN) -> Comparison:
    """Where densities are compared with a reference: where it is known or, with cores, on a quadrature, or a grid.

    Args:
        reference: the exact density.
        spacing: Å; of a new grid around the atoms.
        margin: Å; as ``spacing``.

    Raises:
        UserError: the reference has cores and is known on a grid alone, or is periodic.
    """
    structure, own = reference.structure, reference.native_points
    if own is not None:
        return AtPoints(structure, *own)
    if not reference.has_cores:
        return OnGrid(structure, reference.native_grid or Grid.around(structure, spacing, margin))
    if reference.native_grid is not None or structure.periodic:
        raise UserError(
            f"the density of {structure.formula} has cores and is known on a grid, which cannot integrate them: errors "
            "of all-electron densities need orbital records of molecules"
        )
    from orbdens.pyscf.quadrature import quadrature  # PySCF takes a second to import

    return AtPoints(structure, *quadrature(structure, QUADRATURE))
