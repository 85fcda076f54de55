"""Expected errors of one density, and what is said of them."""

from __future__ import annotations

import numpy as np

from orbdens.expectation import EXTRAPOLATION, UNFAMILIAR, Expectation
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]]))


def expectation(error: float, novelty: list[float], bond_novelty: list[float]) -> Expectation:
    return Expectation(
        error=error,
        usual=0.2,
        atom_errors=np.array([0.1, 5.0, 1.0]),
        atom_novelty=np.array(novelty),
        bonds=np.array([[0, 1], [0, 2]]),
        bond_novelty=np.array(bond_novelty),
    )


def test_atoms_and_bonds_are_named() -> None:
    new, old = UNFAMILIAR + 0.01, UNFAMILIAR - 0.01
    assert expectation(0.2, [old, new, old], [old, new]).unfamiliar(WATER) == ("H2", "O1-H3")
    assert expectation(0.2, [old] * 3, [old] * 2).unfamiliar(WATER) == ()


def test_a_large_error_is_an_extrapolation_at_its_worst_atoms() -> None:
    limit = EXTRAPOLATION * 0.2
    assert expectation(limit - 0.01, [1.0] * 3, [1.0] * 2).warnings(WATER) == ()
    (phrase,) = expectation(3 * limit, [1.0] * 3, [1.0] * 2).warnings(WATER)
    assert phrase == f"an extrapolation: {3 * EXTRAPOLATION:.1f} times the usual error, most of all at H2, H3, O1"
