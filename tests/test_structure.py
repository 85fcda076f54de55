"""Structures from ASE, what is refused, and cells that repeat along some axes only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms

from orbdens.errors import UserError
from orbdens.structure import Structure, perpendicular


def test_charge_and_multiplicity_come_from_info() -> None:
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], info={"charge": np.float64(-1.0), "multiplicity": np.int64(3)})
    structure = Structure.from_ase(atoms)
    assert (structure.charge, structure.multiplicity) == (-1, 3)
    assert structure.to_ase().info == {"charge": -1, "multiplicity": 3}


@pytest.mark.parametrize("name", ["charge", "multiplicity"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "has no value"),
        (False, "has no value"),
        (np.True_, "has no value"),
        (0.7, "expected a whole number as {name}, but got 0.7"),
        ("one", "expected a whole number as {name}, but got one"),
        (np.array([1, 2]), "expected a whole number"),
        (float("nan"), "expected a whole number"),
        (float("inf"), "expected a whole number"),
    ],
)
def test_charges_that_are_none(name: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message.format(name=name)):
        Structure.from_ase(Atoms("H", info={name: value}))
    with pytest.raises(UserError, match=message.format(name=name)):
        Structure(np.ones(1), np.zeros((1, 3)), **{name: value})


def test_a_multiplicity_below_one_is_none() -> None:
    with pytest.raises(UserError, match="expected 1 or more as multiplicity, but got 0"):
        Structure(np.ones(1), np.zeros((1, 3)), multiplicity=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": ["O", "H"]}, "expected numbers as atomic numbers"),
        ({"numbers": [8.5, 1]}, r"expected whole atomic numbers, but got \[8.5, 1.0\]"),
        ({"numbers": [np.nan, 1]}, "expected whole atomic numbers"),
        ({"numbers": [np.inf, 1]}, "expected whole atomic numbers"),
        ({"positions": [["x", 0, 0], [0, 0, 1]]}, "expected numbers as positions"),
        ({"positions": [[0, 0, 0], [1.0]]}, "expected numbers as positions"),
        ({"pbc": True}, "expected pbc for each of three lattice vectors, but got True"),
        ({"cell": np.eye(2)}, r"expected a cell \[3, 3\], but got an array of shape \(2, 2\)"),
    ],
)
def test_arguments_that_make_no_structure(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Structure(**{"numbers": np.ones(2), "positions": np.eye(3)[:2], **changes})


@pytest.mark.parametrize("number", [-1, 0, 119, 200])
def test_numbers_that_no_element_has(number: int) -> None:
    with pytest.raises(UserError, match=f"water: atom 2 has the atomic number {number}, which no element has"):
        Structure(np.array([8, number]), np.eye(3)[:2]).check("water")


@pytest.mark.parametrize("shape", [(6, 2), (3, 4), (12,)])
def test_positions_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="expected positions"):
        Structure(np.ones(4), np.zeros(shape))


def test_a_slab_needs_no_third_vector() -> None:
    cell = np.array([[3.0, 0, 0], [1.0, 4.0, 0], [0, 0, 0]])
    slab = Structure(np.array([6]), np.array([[0.0, 0.0, 7.0]]), cell, (True, True, False))
    slab.check("slab")
    assert slab.cell is not None
    np.testing.assert_array_equal(slab.cell, [[3, 0, 0], [1, 4, 0], [0, 0, 1]])
    assert len(slab.images()) == 9
    assert np.isclose(slab.images()[:, 2], 7.0).all()


def test_a_vector_that_repeats_cannot_be_missing() -> None:
    cell = np.array([[3.0, 0, 0], [0, 0, 0], [0, 0, 5.0]])
    with pytest.raises(UserError, match="slab is periodic, but its cell has no volume"):
        Structure(np.array([6]), np.zeros((1, 3)), cell, (True, True, False)).check("slab")


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_perpendicular_directions(n: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    directions = perpendicular(vectors)
    assert directions.shape == (3 - n, 3)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3 - n), atol=1e-12)
    np.testing.assert_allclose(directions @ vectors.T, 0, atol=1e-12)


def test_perpendicular_directions_are_axes_where_they_can_be() -> None:
    np.testing.assert_array_equal(perpendicular(np.zeros((0, 3))), np.eye(3))
    np.testing.assert_array_equal(perpendicular(np.array([[0, 2.0, 0]])), np.eye(3)[[0, 2]])
