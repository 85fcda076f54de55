"""The definition of errors, on densities whose errors are known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from orbdens.electrons import core_charges
from orbdens.grid import Grid
from orbdens.metrics import (
    Summary,
    density_error,
    dipole_error,
    distances_to_atoms,
    electronic_dipole,
    nearest_atoms,
    nmae,
)
from orbdens.structure import Structure
from orbdens.units import DEBYE

PAIR = Structure(np.array([3, 8]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]]))


def test_nmae_is_the_normalised_absolute_error_in_percent() -> None:
    reference = np.array([1.0, 2.0, 0.0, 1.0])
    predicted = np.array([1.1, 2.0, 0.1, 0.8])
    assert nmae(predicted, reference) == pytest.approx(10.0)
    weights = np.array([2.0, 1.0, 1.0, 1.0])
    error = density_error(predicted, reference, np.zeros(4), weights)
    assert error.nmae == pytest.approx(100 * 0.5 / 5)
    assert nmae(predicted, reference, weights) == pytest.approx(error.nmae)


def test_regions_share_the_nmae_between_them() -> None:
    reference = np.ones(4)
    predicted = np.array([1.1, 1.2, 1.3, 1.4])
    error = density_error(predicted, reference, np.array([0.49, 0.5, 2.0, 2.01]))
    assert error.regions == pytest.approx({"nuclei": 2.5, "bonds": 12.5, "tail": 10.0})
    assert sum(error.regions.values()) == pytest.approx(error.nmae)


def test_float32_sums_do_not_drift() -> None:
    reference = np.full(3_000_000, 1e-3, dtype=np.float32)
    assert nmae(reference * np.float32(1.01), reference) == pytest.approx(1.0, rel=1e-4)


def test_distances_on_a_molecules_grid() -> None:
    grid = Grid(np.zeros(3), np.diag([1.0, 1.0, 0.5]), (2, 1, 7))
    distances = distances_to_atoms(PAIR, grid)
    np.testing.assert_allclose(distances[0, 0], [0, 0.5, 0.5, 0, 0.5, 1.0, 1.5], atol=1e-6)
    assert distances[1, 0, 3] == pytest.approx(1.0)


def test_distances_see_periodic_images() -> None:
    crystal = Structure(np.array([3]), np.array([[9.5, 0.0, 0.0]]), cell=10.0 * np.eye(3), pbc=(True, False, False))
    grid = Grid(np.zeros(3), np.eye(3), (10, 1, 10))
    distances = distances_to_atoms(crystal, grid)
    assert distances[0, 0, 0] == pytest.approx(0.5)
    assert distances[0, 0, 9] == pytest.approx(np.hypot(0.5, 9.0), rel=1e-5)


def test_nearest_atoms_are_those_of_the_structure() -> None:
    crystal = Structure(np.array([3, 8]), np.array([[0.6, 0.0, 0.0], [4.0, 0.0, 0.0]]), 10 * np.eye(3), (True,) * 3)
    distances, atoms = nearest_atoms(crystal, Grid(np.zeros(3), np.eye(3), (10, 1, 1)))
    assert atoms[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(distances[[2, 5, 8], 0, 0], [1.4, 1.0, 2.6], rtol=1e-6)


def test_distances_in_a_crystal_take_no_time() -> None:
    """1728 images and 185,000 points; a loop over the images takes ten times as long."""
    place = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cell = 11.28 * np.eye(3)
    crystal = Structure(np.array([11, 17] * 32), place @ cell, cell, (True, True, True))
    grid = Grid.around(crystal, 0.2, 0.0)
    begun = time.process_time()
    distances = distances_to_atoms(crystal, grid)
    assert time.process_time() - begun < 0.9
    assert distances.max() == pytest.approx(np.sqrt(3) / 2 * 11.28 / 4, abs=0.1)


def test_dipole_of_a_shifted_charge() -> None:
    grid = Grid.around(PAIR, 0.2, 5.0)
    density = 9 * (2.0 / np.pi) ** 1.5 * np.exp(-2.0 * ((grid.points() - [0, 0, 1.0]) ** 2).sum(axis=1))
    total = core_charges(PAIR, {"Li": 3, "O": 6}) @ PAIR.positions + electronic_dipole(
        grid, density.reshape(grid.shape)
    )
    np.testing.assert_allclose(total, [0, 0, 6 * 1.5 - 9 * 1.0], atol=1e-6)
    assert dipole_error(total, np.zeros(3)) == pytest.approx(0.0, abs=1e-5)
    assert dipole_error(np.array([DEBYE, 0, 0]), np.zeros(3)) == pytest.approx(1.0)


def test_summaries_are_of_magnitudes() -> None:
    assert Summary.of([-3.0, 1.0, 2.0]) == Summary(mean=2.0, median=2.0, p95=pytest.approx(2.9), max=3.0)
