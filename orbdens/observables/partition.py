"""Atoms in a molecule by shares of its density: their charges, dipoles and volumes, whatever the shares are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.density import Density, check_molecule
from orbdens.kernels import solid_harmonics
from orbdens.observables.cores import whole_density
from orbdens.structure import Structure

CHUNK = 1 << 22
"""Pairs of points and atoms looked at together, which bounds the memory."""

Weights = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""The share of each atom [n_points, n_atoms] in the density at points [n_points, 3], adding up to 1."""


@dataclass(frozen=True)
class AtomsInMolecule:
    """What integrals over the atoms of a molecule give.

    Attributes:
        multipoles: of the atoms about them, nuclei (or cores) included, e·Å^l [n_atoms, 9], index l² + l + m, in
            Racah's normalisation, R_lm = √(4π / (2l + 1)) S_lm: charge, dipole as y, z, x, the quadrupole's five.
        volumes: ∫ρ_a |r − R_a|³ dr, e·Å³ [n_atoms].
    """

    multipoles: NDArray[np.float64]
    volumes: NDArray[np.float64]

    @property
    def charges(self) -> NDArray[np.float64]:
        """Of the atoms, nuclei (or cores) included, e [n_atoms]."""
        return self.multipoles[:, 0]

    @property
    def dipoles(self) -> NDArray[np.float64]:
        """−∫ρ_a (r − R_a) dr as x, y, z, e·Å [n_atoms, 3]."""
        return self.multipoles[:, [3, 1, 2]]


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
    def of(cls, density: Density, level: int = 4) -> Quadrature:
        """That of a density on Becke's and Lebedev's points; ``level`` is PySCF's, from 0 to 9.

        Raises:
            UserError: the structure is periodic.
        """
        check_molecule(density.structure, "partition into atoms")
        from orbdens.pyscf.quadrature import quadrature

        points, volumes = quadrature(density.structure, level)
        return cls(density.structure, points, volumes, density.at(points).astype(np.float64))

    @classmethod
    def of_whole(cls, density: Density, level: int = 4) -> Quadrature:
        """That of all electrons: a valence density gets the frozen cores of free atoms. Its charges are the nuclei's.

        Partitions are then those of all-electron calculations: of water, H2CO and HCN charges by MBIS are off by 0.01
        to 0.02 e (by up to 0.04 with functions for the valence alone), by Hirshfeld by 0.001 to 0.007 e.

        Raises:
            UserError: as ``of`` and ``whole_density``.
        """
        return cls.of(whole_density(density), level)

    @property
    def n_electrons(self) -> float:
        """∫ρ dr by the quadrature."""
        return float(self.volumes @ self.density)

    def chunks(self) -> list[slice]:
        """Parts of the points, so many that pairs with atoms fit the memory."""
        step = max(1, CHUNK // self.structure.n_atoms)
        return [slice(start, start + step) for start in range(0, len(self.points), step)]


def atoms_in_molecule(
    quadrature: Quadrature, weights: Weights, charges: NDArray[np.float64] | None = None
) -> AtomsInMolecule:
    """Integrals over the atoms that weights cut a density into.

    Args:
        quadrature: the density.
        weights: share of each atom in it.
        charges: of nuclei or cores, e [n_atoms]; None takes those of nuclei.
    """
    structure = quadrature.structure
    volumes, multipoles = np.zeros(structure.n_atoms), np.zeros((structure.n_atoms, 9))
    multipoles[:, 0] = structure.numbers if charges is None else charges
    racah = np.sqrt(4 * np.pi / np.repeat([1, 3, 5], [1, 3, 5]))
    for part in quadrature.chunks():
        shares = weights(quadrature.points[part])
        shares *= (quadrature.volumes[part] * quadrature.density[part])[:, None]
        for atom, position in enumerate(structure.positions):
            vectors = quadrature.points[part] - position
            multipoles[atom] -= racah * (shares[:, atom] @ solid_harmonics(2, torch.from_numpy(vectors)).numpy())
            volumes[atom] += shares[:, atom] @ np.linalg.norm(vectors, axis=1) ** 3
    return AtomsInMolecule(multipoles, volumes)
