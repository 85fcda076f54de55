"""How many electrons a density holds: those of the neutral atoms, less the charge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.structure import Structure


def core_charges(structure: Structure, valence_electrons: Mapping[str, int]) -> NDArray[np.float64]:
    """Charges in e [n_atoms] of nuclei (or of cores): each balances the electrons of its neutral atom.

    Args:
        structure: any.
        valence_electrons: electrons that a neutral atom brings into the density, by symbol.

    Raises:
        UserError: an element of the structure is not among them.
    """
    unknown = set(structure.symbols) - set(valence_electrons)
    if unknown:
        raise UserError(f"it is not known how many electrons {', '.join(sorted(unknown))} brings into the density")
    return np.array([valence_electrons[symbol] for symbol in structure.symbols], dtype=np.float64)


def electrons_of(structure: Structure, valence_electrons: Mapping[str, int]) -> int:
    """Electrons in the density of a structure, its charge taken into account; the rest as ``core_charges``."""
    return round(core_charges(structure, valence_electrons).sum()) - structure.charge


def electrons_on_grid(values: NDArray[np.floating], steps: NDArray[np.float64]) -> float:
    """Electrons of a density on a regular grid.

    Args:
        values: e/Å³ [nx, ny, nz], any floating type.
        steps: step vectors of the grid as rows, Å [3, 3].
    """
    return float(values.sum(dtype=np.float64) * abs(np.linalg.det(steps)))


class CountedSlabs:
    """Slabs of a density on a regular grid, counted as they pass, once.

    Args:
        slabs: e/Å³, arrays [nx, ny, nz].
        steps: as ``electrons_on_grid``.

    Attributes:
        n_electrons: of those that have passed.
    """

    def __init__(self, slabs: Iterable[NDArray[np.float32]], steps: NDArray[np.float64]) -> None:
        self._slabs, self._steps, self.n_electrons = slabs, steps, 0.0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for slab in self._slabs:
            self.n_electrons += electrons_on_grid(slab, self._steps)
            yield slab
