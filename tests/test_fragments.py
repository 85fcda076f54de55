"""Which atoms make a molecule, and which molecule of a structure carries its charge."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from orbdens.fragments import local_charges, molecule_of_atom
from orbdens.structure import Structure


def _acetate() -> Atoms:
    atoms = molecule("CH3COOH")
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    oxygens = np.flatnonzero(atoms.numbers == 8)
    del atoms[int(hydrogens[atoms.get_all_distances()[np.ix_(oxygens, hydrogens)].min(axis=0).argmin()])]
    return atoms


def _together(*parts: Atoms, distance: float, charge: int) -> Structure:
    joined = Atoms()
    for number, part in enumerate(parts):
        part = part.copy()
        part.positions += [0, 0, number * distance]
        joined += part
    joined.info["charge"] = charge
    return Structure.from_ase(joined)


def test_molecules_of_a_structure() -> None:
    structure = _together(_acetate(), molecule("H2O"), Atoms("Cl"), distance=6.0, charge=0)
    np.testing.assert_array_equal(molecule_of_atom(structure), [0] * 7 + [1] * 3 + [2])


@pytest.mark.parametrize("distance", [3.5, 40.0])
def test_the_ion_carries_the_charge(distance: float) -> None:
    """At contact and far away: the solvent molecule stays neutral."""
    charges, shares = local_charges(_together(_acetate(), molecule("H2O"), distance=distance, charge=-1))
    np.testing.assert_array_equal(charges, [-1.0] * 7 + [0.0] * 3)
    np.testing.assert_allclose(shares, [-1 / 7] * 7 + [0.0] * 3)


def test_two_ions_of_one_kind() -> None:
    charges, _ = local_charges(_together(Atoms("Cl"), molecule("H2O"), Atoms("Cl"), distance=5.0, charge=-2))
    np.testing.assert_array_equal(charges, [-1, 0, 0, 0, -1])


@pytest.mark.parametrize("charge", [-2, -1, 1, 2])
def test_an_undecided_charge_is_shared_by_all(charge: int) -> None:
    """Two closed shells with a charge: the structure counts as one molecule."""
    charges, shares = local_charges(_together(molecule("H2O"), molecule("NH3"), distance=9.0, charge=charge))
    np.testing.assert_array_equal(charges, np.full(7, charge))
    assert shares.sum() == pytest.approx(charge)


def test_a_neutral_structure_has_no_charges() -> None:
    charges, shares = local_charges(_together(_acetate(), molecule("NH3"), distance=4.0, charge=0))
    assert not charges.any() and not shares.any()
