"""The density that a probe-point network predicts: free atoms in closed form, and what the network adds at points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from orbdens.density import Density, OrbitalDensity, check_molecule
from orbdens.devices import Device
from orbdens.grid import Grid
from orbdens.metrics import SPACING
from orbdens.models.probe_gnn.points import PointNetwork
from orbdens.structure import Structure

LEVEL = 2
"""Fineness, as PySCF counts, of the quadrature for integrals of what the network adds, which is smooth at nuclei."""


@dataclass(frozen=True, eq=False)
class ProbeDensity(Density):
    """Free atoms, and what a network reads from its messages at every point.

    Attributes:
        structure: what it is the density of.
        free: superposition of its free atoms.
        network: reads densities at points.
        weights: of the atoms, as ``PointNetwork.spread`` gives them.
        warnings, valence_electrons, has_cores: as ``Density`` says.
    """

    structure: Structure
    free: OrbitalDensity
    network: PointNetwork
    weights: Tensor
    warnings: tuple[str, ...] = ()
    valence_electrons: Mapping[str, int] | None = None
    has_cores: bool = False

    def to(self, device: Device) -> ProbeDensity:
        """The free atoms there; what the network adds stays where the network is."""
        return replace(self, free=self.free.to(device))

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        return self.free.values_at(points) + self.added_at(points)

    def on(self, grid: Grid) -> NDArray[np.float32]:
        values = self.free.on(grid)  # grids have a faster way
        values += self.added_at(grid.points()).reshape(grid.shape)
        return values

    def added_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """What the network adds to the free atoms, e/Å³ [n_points], at points in Å [n_points, 3]."""
        return self.network.at(self.structure, points, self.weights)

    @property
    def n_electrons(self) -> float:
        """That of the free atoms in closed form, of the rest by quadrature (or on a 0.2 Å grid of the cell)."""
        _, volumes, added = self._integrand
        return self.free.n_electrons + float((volumes * added).sum())

    @property
    def dipole(self) -> NDArray[np.float64]:
        """As ``n_electrons``, in e·Å [3]."""
        check_molecule(self.structure, "dipole")
        points, volumes, added = self._integrand
        moved: NDArray[np.float64] = (volumes * added) @ points
        return self.free.dipole - moved

    @cached_property
    def _integrand(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        """Points Å [n_points, 3], their volumes Å³ [n_points], and what the network adds there e/Å³ [n_points]."""
        if self.structure.periodic:
            grid = Grid.around(self.structure, SPACING, self.network.cutoff)
            points, volumes = grid.points(), np.full(grid.n_points, grid.volume_element)
        else:
            points, volumes = _quadrature(self.structure)
        return points, volumes, self.added_at(points)


def _quadrature(structure: Structure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and volumes, along the principal axes of a molecule: so they turn and mirror with it."""
    from orbdens.pyscf.quadrature import quadrature  # PySCF takes a second to import

    centre = structure.positions.mean(axis=0)
    about = structure.positions - centre
    axes = np.linalg.eigh(about.T @ (structure.numbers[:, None] * about))[1]
    points, volumes = quadrature(replace(structure, positions=about @ axes), LEVEL)
    return points @ axes.T + centre, volumes
