"""Charges of the atoms that reproduce an electrostatic potential: least squares, and RESP in two stages.

Bayly, Cieplak, Cornell, Kollman, J. Phys. Chem. 97, 10269 (1993): the squared error of the potential in atomic units
plus Σ a (√(q² + b²) − b) over the heavy atoms. The first stage (a = 0.0005) makes atoms equal that bonds cannot tell
apart, but for the hydrogens of CH2 and CH3; the second (a = 0.001) fits those groups alone again, hydrogens equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.observables.potential import potential
from orbdens.observables.surfaces import POINTS_PER_AREA, SCALES, merz_kollman_points
from orbdens.sites import bonds_of
from orbdens.structure import Structure
from orbdens.units import COULOMB, KCAL_PER_MOL

WEAK, STRONG = 0.0005, 0.001
"""Strengths a of the restraint in the two stages, atomic units."""

TIGHTNESS = 0.1
"""b of the hyperbola, e."""

STEPS, CONVERGED = 1000, 1e-9
"""Iterations at most, and the change of a charge in e with which they end."""

Classes = NDArray[np.int64]


@dataclass(frozen=True)
class PotentialAtPoints:
    """A potential around one conformer (or orientation) of a molecule.

    Attributes:
        structure: where its atoms are.
        points: Å [n_points, 3].
        values: Hartree/e [n_points].
    """

    structure: Structure
    points: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def of(
        cls, density: Density, scales: Sequence[float] = SCALES, points_per_area: float = POINTS_PER_AREA
    ) -> PotentialAtPoints:
        """That of a density on the Merz-Kollman shells; errors as ``potential`` and ``merz_kollman_points``."""
        points = merz_kollman_points(density.structure, scales, points_per_area)
        return cls(density.structure, points, potential(density, points))

    def of_charges(self, charges: NDArray[np.float64]) -> NDArray[np.float64]:
        """The potential of charges in e on the atoms [n_atoms] at the points, Hartree/e."""
        return self.matrix @ charges

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Potential at each point of a charge of one e on each atom, Hartree/e² [n_points, n_atoms]."""
        distances = np.linalg.norm(self.points[:, None] - self.structure.positions, axis=2)
        if (distances < 1e-3).any():
            raise UserError(f"a point of the potential lies on an atom of {self.structure.formula}")
        return COULOMB / distances


@dataclass(frozen=True)
class FittedCharges:
    """Charges and how well they reproduce the potential.

    Attributes:
        charges: e [n_atoms].
        rms: root of the mean squared error of their potential, kcal/mol per e.
        relative_rms: the same, relative to the root of the mean squared potential.
    """

    charges: NDArray[np.float64]
    rms: float
    relative_rms: float


def esp_charges(potentials: Sequence[PotentialAtPoints]) -> FittedCharges:
    """The charges nearest to the potential, without restraint (Merz-Kollman); as ``resp_charges``."""
    atoms = np.arange(_checked(potentials).n_atoms)
    return _judged(_fit(potentials, atoms, np.full(len(atoms), np.nan), 0.0), potentials)


def resp_charges(potentials: Sequence[PotentialAtPoints]) -> FittedCharges:
    """RESP charges by both stages, which add up to the charge of the structure.

    Args:
        potentials: of one conformer, or of many with their atoms in one order, fitted together.

    Raises:
        UserError: there is no potential, or conformers differ in their atoms or charge, or fewer points than atoms.
    """
    structure = _checked(potentials)
    alike = equivalent_atoms(structure)
    groups = _refitted(structure)
    hydrogens = groups & (structure.numbers == 1)
    first = alike.copy()
    first[hydrogens] = alike.max() + 1 + np.arange(hydrogens.sum())
    first = np.unique(first, return_inverse=True)[1]
    charges = _fit(potentials, first, np.full(structure.n_atoms, np.nan), WEAK)
    if groups.any():
        charges = _fit(potentials, alike, np.where(groups, np.nan, charges), STRONG)
    return _judged(charges, potentials)


def equivalent_atoms(structure: Structure) -> Classes:
    """Classes of atoms that elements and bonds cannot tell apart [n_atoms], numbered from 0.

    By refining: atoms differ if their elements do, or the classes of those they are bonded to (Morgan).
    """
    bonds = bonds_of(structure)
    near: list[list[int]] = [[] for _ in range(structure.n_atoms)]
    for i, j in zip(bonds.first.tolist(), bonds.second.tolist(), strict=True):
        near[i].append(j)
        near[j].append(i)
    classes: Classes = np.unique(structure.numbers, return_inverse=True)[1]
    while True:
        described = [(int(c), tuple(sorted(classes[near[i]].tolist()))) for i, c in enumerate(classes)]
        order = {description: k for k, description in enumerate(sorted(set(described)))}
        refined = np.array([order[description] for description in described])
        if len(order) == classes.max() + 1:
            return refined
        classes = refined


def _refitted(structure: Structure) -> NDArray[np.bool_]:
    """The carbons of CH2 and CH3 groups with four neighbours, and their hydrogens [n_atoms]."""
    bonds = bonds_of(structure)
    pairs = np.concatenate([np.stack([bonds.first, bonds.second]), np.stack([bonds.second, bonds.first])], axis=1)
    n = structure.n_atoms
    neighbours = np.bincount(pairs[0], minlength=n)
    hydrogens = np.bincount(pairs[0], weights=structure.numbers[pairs[1]] == 1, minlength=n)
    carbon = (structure.numbers == 6) & (neighbours == 4) & (hydrogens >= 2)
    chosen = carbon.copy()
    chosen[pairs[1][carbon[pairs[0]] & (structure.numbers[pairs[1]] == 1)]] = True
    return chosen


def _fit(
    potentials: Sequence[PotentialAtPoints], classes: Classes, given: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Charges [n_atoms], equal within classes, those that are not NaN as given, by iterated linear equations."""
    structure = potentials[0].structure
    spread = np.eye(classes.max() + 1)[classes]
    sizes = spread.sum(axis=0)
    normal, right = np.zeros((len(classes),) * 2), np.zeros(len(classes))
    for one in potentials:
        matrix = one.matrix
        normal += matrix.T @ matrix
        right += matrix.T @ one.values
    fixed = (spread.T @ np.nan_to_num(given)) / sizes
    free = np.flatnonzero(spread.T @ np.isnan(given) > 0)
    fixed[free] = 0.0
    restrained = structure.numbers != 1
    charges = fixed.copy()
    for _ in range(STEPS):
        # the gradient of the hyperbola is a q / √(q² + b²): once for every conformer, as the RESP program has it
        pull = np.where(restrained, strength * len(potentials) / np.hypot(charges[classes], TIGHTNESS), 0.0)
        reduced = spread.T @ (normal + np.diag(pull)) @ spread
        system = np.zeros((len(free) + 1,) * 2)
        system[:-1, :-1] = reduced[np.ix_(free, free)]
        system[-1, :-1] = system[:-1, -1] = sizes[free]
        target = np.append((spread.T @ right - reduced @ fixed)[free], structure.charge - sizes @ fixed)
        before, charges = charges, fixed.copy()
        charges[free] = np.linalg.lstsq(system, target)[0][:-1]
        if np.abs(charges - before).max() < CONVERGED:
            break
    return charges[classes]


def _judged(charges: NDArray[np.float64], potentials: Sequence[PotentialAtPoints]) -> FittedCharges:
    values = np.concatenate([one.values for one in potentials])
    errors = np.concatenate([one.of_charges(charges) for one in potentials]) - values
    rms, size = np.sqrt((errors**2).mean()), np.sqrt((values**2).mean())
    return FittedCharges(charges, float(rms * KCAL_PER_MOL), float(rms / size) if size else 0.0)


def _checked(potentials: Sequence[PotentialAtPoints]) -> Structure:
    """The structure of the first, UserError where they do not go together."""
    if not potentials:
        raise UserError("charges need at least one potential to be fitted to")
    first = potentials[0].structure
    for one in potentials:
        structure = one.structure
        if not np.array_equal(structure.numbers, first.numbers) or structure.charge != first.charge:
            raise UserError(f"conformers must have their atoms in one order: {first.formula} and {structure.formula}")
        if len(one.points) < structure.n_atoms:
            raise UserError(f"{structure.formula} has {structure.n_atoms} atoms, but only {len(one.points)} points")
    return first
