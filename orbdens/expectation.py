"""What a model expects of the errors of a density that it predicts, and how new to it every atom and bond is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.structure import Structure

UNFAMILIAR = 2.0
"""Novelty from which on an atom or a bond is unlike any in the training data: molecules like those reach 1 to 1.8."""

EXTRAPOLATION = 2.0
"""Times the usual error: from there on a prediction is called an extrapolation."""

NAMED = 3
"""So many atoms at most are named as those to which most of an error is due."""


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected errors of one density.

    Attributes:
        error: NMAE, %.
        usual: the median of what was expected of the structures that the model validated on, %.
        atom_errors: ∫|ρ̂ − ρ| dr over the space nearest to each atom, % of the electrons of the neutral atom [n_atoms].
            Their mean, weighted by these electrons, is the NMAE of a neutral structure.
        atom_novelty: how unlike those of the training data the surroundings of each atom are; mostly below 1 for
            molecules like those [n_atoms].
        bonds: the two atoms that each bond connects, as far as the model has midpoints [n_bonds, 2].
        bond_novelty: the same of each bond [n_bonds].
    """

    error: float
    usual: float
    atom_errors: NDArray[np.float64]
    atom_novelty: NDArray[np.float64]
    bonds: NDArray[np.int64]
    bond_novelty: NDArray[np.float64]

    def unfamiliar(self, structure: Structure) -> tuple[str, ...]:
        """Names of atoms (``N3``, the third atom) and bonds (``C1-N3``) unlike any in the training data."""
        names = [f"{symbol}{number}" for number, symbol in enumerate(structure.symbols, start=1)]
        atoms = [names[atom] for atom in np.flatnonzero(self.atom_novelty > UNFAMILIAR)]
        bonds = ["-".join(names[atom] for atom in bond) for bond in self.bonds[self.bond_novelty > UNFAMILIAR]]
        return (*atoms, *bonds)

    def warnings(self, structure: Structure) -> tuple[str, ...]:
        """A phrase if the prediction is an extrapolation, and where most of all."""
        if self.error <= EXTRAPOLATION * self.usual:
            return ()
        worst = np.argsort(-self.atom_errors, kind="stable")[:NAMED]
        atoms = ", ".join(f"{structure.symbols[atom]}{atom + 1}" for atom in worst)
        return (f"an extrapolation: {self.error / self.usual:.1f} times the usual error, most of all at {atoms}",)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By the names under which files keep them."""
        return {
            "expected_error": np.array(self.error),
            "usual_error": np.array(self.usual),
            "expected_errors": self.atom_errors,
            "novelty": self.atom_novelty,
            "bonds": self.bonds,
            "bond_novelty": self.bond_novelty,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Expectation:
        """The inverse of ``arrays``."""
        return cls(
            error=float(arrays["expected_error"]),
            usual=float(arrays["usual_error"]),
            atom_errors=arrays["expected_errors"],
            atom_novelty=arrays["novelty"],
            bonds=arrays["bonds"],
            bond_novelty=arrays["bond_novelty"],
        )
