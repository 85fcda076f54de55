"""How many electrons a density holds: those of the neutral atoms, less the charge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from orbdens.structure import Structure


def core_charges(structure: Structure, valence_electrons: Mapping[str, int]) -> NDArray[np.float64]:
    """Charges in e [n_atoms] of nuclei (or of cores): each balances the electrons of its neutral atom.

    Args:
        structure: any.
        valence_electrons: electrons that a neutral atom brings into the density, by symbol.
    """
    return np.array([valence_electrons[symbol] for symbol in structure.symbols], dtype=np.float64)


def electrons_of(structure: Structure, valence_electrons: Mapping[str, int]) -> int:
    """Electrons in the density of a structure, its charge taken into account; arguments as ``core_charges``."""
    return sum(valence_electrons[symbol] for symbol in structure.symbols) - structure.charge
