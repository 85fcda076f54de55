"""Potential and field: against PySCF's own integrals on the same density, and against what electrostatics demands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from records import TRIANGLE, VALENCE, exact_pair, water_label

from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.kernels import Shells
from orbdens.labels import LabelDensity
from orbdens.observables.potential import electric_field, potential, potential_and_field
from orbdens.structure import Structure

BOHR = 0.529177210903


def points(n: int = 40) -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    return np.concatenate([rng.normal(size=(n, 3)) * 2, rng.normal(size=(5, 3)) * 30])


@pytest.fixture(scope="module")
def label(water: tuple[Structure, Any]) -> LabelDensity:
    return water_label(water)


def test_a_record_has_the_potential_of_pyscf(label: LabelDensity, water: tuple[Structure, Any]) -> None:
    mol, matrix = water[1].mol, water[1].make_rdm1()
    places = points()
    electrons = np.einsum("gij,ij->g", mol.intor("int1e_grids", grids=places / BOHR), matrix)
    vectors = places[:, None] / BOHR - mol.atom_coords()
    distances = np.linalg.norm(vectors, axis=2)
    expected = (mol.atom_charges() / distances).sum(axis=1) - electrons
    values, fields = potential_and_field(label, places)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    for axis in range(3):
        step = 1e-3 * np.eye(3)[axis]
        slope = (potential(label, places + step) - potential(label, places - step)) / 2e-3
        np.testing.assert_allclose(fields[:, axis], -slope, atol=1e-5, rtol=1e-4)


def test_a_sum_of_orbitals_has_the_potential_of_the_same_record() -> None:
    label, fitted = exact_pair()
    places = points()
    np.testing.assert_allclose(fitted.at(places), label.at(places), atol=1e-5)
    for ours, theirs in zip(potential_and_field(fitted, places), potential_and_field(label, places), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_far_away_it_is_that_of_charge_and_dipole(label: LabelDensity) -> None:
    direction = np.array([[0.0, 0.6, 0.8]])
    cores = np.array([6.0, 1, 1]) @ label.structure.positions
    dipole = cores + label.dipole
    for distance in (50.0, 100.0):
        expected = BOHR * (direction @ dipole) / distance**2
        np.testing.assert_allclose(potential(label, distance * direction), expected, rtol=10 / distance)


def test_on_a_nucleus_it_is_infinite(label: LabelDensity) -> None:
    assert np.isinf(potential(label, label.structure.positions)).all()


def test_units_by_one_charge_at_one_bohr() -> None:
    proton = Structure(np.array([1]), np.zeros((1, 3)))
    nothing = OrbitalDensity(
        proton,
        np.zeros((1, 3)),
        np.array([0]),
        Shells.from_lists([[(0, [1.0], [1.0])]]),
        np.zeros(1),
        None,
        valence_electrons={"H": 1},
    )
    at = np.array([[0.0, 0.0, BOHR]])
    assert potential(nothing, at) == pytest.approx(1.0)
    np.testing.assert_allclose(electric_field(nothing, at), [[0, 0, 1 / BOHR]])


def test_what_has_no_potential() -> None:
    _, fitted = exact_pair()
    grid = Grid.around(TRIANGLE, 0.5, 1.0)
    on_grid = GridDensity(TRIANGLE, grid, fitted.on(grid), valence_electrons=VALENCE)
    with pytest.raises(UserError, match="not values on a grid"):
        potential(on_grid, np.zeros((1, 3)))
    with pytest.raises(UserError, match="not known which electrons"):
        potential(replace(fitted, valence_electrons=None), np.zeros((1, 3)))
    cell = replace(TRIANGLE, cell=5 * np.eye(3), pbc=(True, True, True))
    with pytest.raises(UserError, match="periodic"):
        potential(replace(fitted, structure=cell), np.zeros((1, 3)))
    with pytest.raises(UserError, match=r"shape \[n_points, 3\]"):
        potential(fitted, np.zeros(3))
