"""Molecules within a structure, and the charge of each: a solvent molecule beside an ion is told that it is neutral."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbdens.sites import Bonds, bonds_of
from orbdens.structure import Structure


def molecule_of_atom(structure: Structure, bonds: Bonds | None = None) -> NDArray[np.int64]:
    """Number of the molecule each atom belongs to: atoms that bonds connect [n_atoms]; ``bonds`` as ``place_sites``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second, _, weights = bonds_of(structure) if bonds is None else bonds
    graph = coo_array((weights, (first, second)), shape=(structure.n_atoms, structure.n_atoms))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def local_charges(structure: Structure, bonds: Bonds | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Charges of the molecules within a structure.

    Molecules with an odd number of electrons as neutral ones carry a charge of one each, if that adds up to the
    total: so do all closed-shell ions of charge one among closed-shell neighbours. Otherwise it is not known who
    carries the charge, and the structure counts as one molecule.

    Args:
        structure: any.
        bonds: as in ``place_sites``.

    Returns:
        For each atom the charge of its molecule and its own even share of that, e [n_atoms] both.
    """
    n, total = structure.n_atoms, structure.charge
    if total == 0:
        return np.zeros(n), np.zeros(n)
    molecule = molecule_of_atom(structure, bonds)
    odd = np.bincount(molecule, weights=structure.numbers) % 2
    if odd.sum() != abs(total):
        molecule, odd = np.zeros(n, dtype=np.int64), np.array([abs(total)])
    charge = (np.sign(total) * odd)[molecule]
    return charge, charge / np.bincount(molecule)[molecule]
