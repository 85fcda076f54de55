"""Corrections on a grid that are added to free atoms, against Gaussians whose integrals are known."""

import numpy as np
import pytest

from orbdens.density import GridDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.models.promolecules import CorrectedDensity, correction_at
from orbdens.observables.free_atoms import charged_promolecule
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.1, 0.2], [0.76, 0.1, 0.79], [-0.76, 0.1, 0.79]]))
CENTRE, WIDTH, CHARGE = np.array([0.2, 0.1, 0.4]), 0.5, 0.3
"""Å, Å and e: of the Gaussian that is added."""


def gaussian(points: np.ndarray) -> np.ndarray:
    """What is added, e/Å³ [n_points]."""
    squares = np.square(points - CENTRE).sum(axis=-1)
    return CHARGE * np.exp(-squares / (2 * WIDTH**2)) / (2 * np.pi * WIDTH**2) ** 1.5


@pytest.fixture(scope="module")
def density() -> CorrectedDensity:
    grid = Grid.around(WATER, 0.2, 3.5)
    values = gaussian(grid.points()).reshape(grid.shape).astype(np.float32)
    return CorrectedDensity(WATER, charged_promolecule(WATER, "valence"), GridDensity(WATER, grid, values))


def test_free_atoms_everywhere_and_the_correction_inside_its_grid(density: CorrectedDensity) -> None:
    inside = CENTRE + np.random.default_rng(0).normal(size=(40, 3))
    outside = np.array([[0.0, 0.0, 6.0], [-5.5, 0.0, 0.0]])
    np.testing.assert_allclose(density.at(inside), density.free.at(inside) + gaussian(inside), atol=2e-4)
    np.testing.assert_array_equal(density.at(outside), density.free.at(outside))
    assert density.free.at(outside).min() > 0


def test_on_another_grid_as_at_its_points(density: CorrectedDensity) -> None:
    grid = Grid.around(WATER, 0.37, 4.5)
    np.testing.assert_allclose(density.on(grid).ravel(), density.at(grid.points()), atol=2e-6)


def test_electrons_dipole_and_multipoles_are_of_both_parts(density: CorrectedDensity) -> None:
    origin = np.array([0.3, -0.2, 0.1])
    assert density.n_electrons == pytest.approx(8 + CHARGE, abs=1e-5)
    np.testing.assert_allclose(density.dipole, density.free.dipole - CHARGE * CENTRE, atol=1e-5)
    added = density.multipoles(origin, 1) - density.free.multipoles(origin, 1)
    x, y, z = np.sqrt(3) * (CENTRE - origin)
    np.testing.assert_allclose(added, CHARGE / np.sqrt(4 * np.pi) * np.array([1, y, z, x]), atol=1e-5)


def test_no_potential_of_values_on_a_grid(density: CorrectedDensity) -> None:
    with pytest.raises(UserError, match="needs a density of orbitals"):
        density.coulomb_at(np.zeros((1, 3)))


def test_of_a_label_on_a_grid_the_difference_is_interpolated(density: CorrectedDensity) -> None:
    """Near the oxygen the label itself is too sharp for splines over 0.2 Å, its difference from free atoms is not."""
    grid = density.correction.grid
    label = GridDensity(WATER, grid, density.on(grid))
    near = WATER.positions[0] + 0.3 * np.random.default_rng(1).normal(size=(40, 3))
    found = correction_at(label, density.free, near)
    np.testing.assert_allclose(found, gaussian(near), atol=2e-4)
    assert np.abs(label.at(near) - density.free.at(near) - found).max() > 1e-3
