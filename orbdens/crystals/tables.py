"""Form factors of all atoms of a crystal, each molecule of it predicted for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orbdens.crystal import Crystal
from orbdens.crystals.molecules import Molecule, molecules
from orbdens.density import Density
from orbdens.observables.form_factors import form_factors
from orbdens.structure import Structure

Predict = Callable[[Sequence[Structure]], Sequence[Density]]
"""Structures in, their valence densities out: ``DensityModel.predict``."""


def crystal_form_factors(
    crystal: Crystal, indices: NDArray[np.int64], predict: Predict, charges: Mapping[str, int] | None = None
) -> tuple[NDArray[np.complex128], list[Molecule], list[Density]]:
    """Form factors of the atoms where the crystal's list has them.

    Atoms that belong to several alternatives of a disordered molecule get the mean over these, by their occupancies.

    Args:
        crystal: any.
        indices: h, k, l of the reflections [n_reflections, 3].
        predict: gives the valence densities of molecules.
        charges: of molecules, see ``molecules``.

    Returns:
        Form factors in e [n_atoms, n_reflections], the molecules, and the density of each.

    Raises:
        UserError: as ``molecules`` and ``predict``, or there is no free atom of an element.
    """
    whole = molecules(crystal, charges)
    densities = list(predict([molecule.structure for molecule in whole]))
    total = np.zeros((crystal.n_atoms, len(indices)), dtype=np.complex128)
    weight = np.zeros(crystal.n_atoms)
    half, row, mate = _halved(indices)
    vectors = crystal.wave_vectors(half)
    for molecule, density in zip(whole, densities, strict=True):
        members = np.flatnonzero(molecule.originals)
        rows = molecule.atoms[members]
        of_half = form_factors(density, members.tolist(), vectors)[:, row]
        total[rows] += molecule.weight * np.where(mate, of_half.conj(), of_half)
        weight[rows] += molecule.weight
    return total / weight[:, None], whole, densities


def _halved(indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """One of each pair of Friedel's mates: these, the row of each reflection among them, and whether it is the mate."""
    first = np.take_along_axis(indices, (indices != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    mate = first < 0
    half, row = np.unique(np.where(mate[:, None], -indices, indices), axis=0, return_inverse=True)
    return half, row.reshape(-1), mate
