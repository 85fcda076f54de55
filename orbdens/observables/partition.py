"""Atoms in a molecule by shares of its density: their charges, dipoles and volumes, whatever the shares are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density, check_molecule
from orbdens.structure import Structure

CHUNK = 1 << 22
"""Pairs of points and atoms looked at together, which bounds the memory."""

Weights = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""The share of each atom [n_points, n_atoms] in the density at points [n_points, 3], adding up to 1."""


@dataclass(frozen=True)
class AtomsInMolecule:
    """What integrals over the atoms of a molecule give.

    Attributes:
        charges: of the atoms, nuclei (or cores) included, e [n_atoms].
        dipoles: −∫ρ_a (r − R_a) dr, e·Å [n_atoms, 3].
        volumes: ∫ρ_a |r − R_a|³ dr, e·Å³ [n_atoms].
    """

    charges: NDArray[np.float64]
    dipoles: NDArray[np.float64]
    volumes: NDArray[np.float64]


@dataclass(frozen=True)
class Quadrature:
    """A density at the points of a quadrature over all space: Σ volumes · density is its electrons.

    Attributes:
        structure: whose density it is.
        points: Å [n_points, 3].
        volumes: Å³ [n_points].
        density: e/Å³ [n_points].
    """

    structure: Structure
    points: NDArray[np.float64]
    volumes: NDArray[np.float64]
    density: NDArray[np.float64]

    @classmethod
    def of(cls, density: Density, level: int = 3) -> Quadrature:
        """That of a density on Becke's and Lebedev's points; ``level`` is PySCF's, from 0 to 9.

        Raises:
            UserError: the structure is periodic.
        """
        check_molecule(density.structure, "partition into atoms")
        from orbdens.pyscf.quadrature import quadrature

        points, volumes, _ = quadrature(density.structure, level)
        return cls(density.structure, points, volumes, density.at(points).astype(np.float64))

    @property
    def n_electrons(self) -> float:
        """∫ρ dr by the quadrature."""
        return float(self.volumes @ self.density)

    def chunks(self) -> list[slice]:
        """Parts of the points, so many that pairs with atoms fit the memory."""
        step = max(1, CHUNK // self.structure.n_atoms)
        return [slice(start, start + step) for start in range(0, len(self.points), step)]


def atoms_in_molecule(quadrature: Quadrature, weights: Weights, cores: NDArray[np.float64]) -> AtomsInMolecule:
    """Integrals over the atoms that weights cut a density into.

    Args:
        quadrature: the density.
        weights: share of each atom in it.
        cores: charges of nuclei or cores, e [n_atoms].
    """
    structure = quadrature.structure
    electrons, volumes = np.zeros(structure.n_atoms), np.zeros(structure.n_atoms)
    dipoles = np.zeros((structure.n_atoms, 3))
    for part in quadrature.chunks():
        shares = weights(quadrature.points[part])
        shares *= (quadrature.volumes[part] * quadrature.density[part])[:, None]
        for atom, position in enumerate(structure.positions):
            vectors = quadrature.points[part] - position
            electrons[atom] += shares[:, atom].sum()
            dipoles[atom] -= shares[:, atom] @ vectors
            volumes[atom] += shares[:, atom] @ np.linalg.norm(vectors, axis=1) ** 3
    return AtomsInMolecule(cores - electrons, dipoles, volumes)
