"""Whole densities: electrons on any grid, true values at points, and no cores where they do not belong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orbdens.density import OrbitalDensity
from orbdens.electrons import electrons_on_grid
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.observables.cores import WholeDensity, core_density, cores_on, for_grids
from orbdens.observables.free_atoms import free_atom, promolecule
from orbdens.observables.potential import charge_potential, potential
from orbdens.prediction import Request, predict_files
from orbdens.structure import Structure
from orbdens.units import COULOMB

METHANOL = Structure(  # C, O, H: with a core, and without
    np.array([6, 8, 1, 1, 1, 1]),
    np.array(
        [
            [-0.047, 0.665, 0.0],
            [-0.047, -0.759, 0.0],
            [-1.092, 0.97, 0.0],
            [0.438, 1.071, 0.889],
            [0.438, 1.071, -0.889],
            [0.861, -1.06, 0.0],
        ]
    ),
)
CELL = np.array([[4.0, 0, 0], [2, 3.5, 0], [1, 1, 4]])
SALT = Structure(np.array([11, 17]), np.array([[0.1, 0, 0.2], [2.9, 0.1, 0]]), CELL, (True, True, True))


@pytest.mark.parametrize("spacing", [0.12, 0.3])
@pytest.mark.parametrize("structure", [METHANOL, SALT], ids=lambda s: s.formula)
def test_cores_have_their_electrons_on_every_grid(structure: Structure, spacing: float) -> None:
    grid = Grid.around(structure, spacing, 4.0)
    electrons = electrons_on_grid(cores_on(structure, grid), grid.steps)
    assert electrons == pytest.approx(core_density(structure).n_electrons, abs=1e-9)


def test_every_atom_has_its_own_core() -> None:
    grid = Grid.around(METHANOL, 0.2, 4.0)
    values = cores_on(METHANOL, grid).reshape(-1)
    distances = np.linalg.norm(grid.points()[:, None] - METHANOL.positions[:2], axis=2)
    for atom in range(2):
        near = distances[:, atom] < 0.6
        assert values[near].sum() * grid.volume_element == pytest.approx(2, abs=0.02)


def test_values_on_a_grid_are_means_over_voxels() -> None:
    """Of the core of O, half a step off the nucleus, by far more points than the grid's own."""
    oxygen = Structure(np.array([8]), np.zeros((1, 3)))
    grid = Grid(np.array([-0.1, -0.1, -0.1]), np.eye(3) * 0.2, (2, 2, 2))
    fine = (np.arange(60) + 0.5) / 60 * 0.2
    within = np.stack(np.meshgrid(fine, fine, fine), axis=-1).reshape(-1, 3)
    mean = core_density(oxygen).at(within).mean(dtype=np.float64)
    np.testing.assert_allclose(cores_on(oxygen, grid), mean, rtol=2e-2)


@pytest.mark.parametrize("spacing", [0.2, 0.3])
def test_what_the_valence_loses_between_points_is_given_to_the_cores(spacing: float) -> None:
    """Of F and O, whose valence is steep; but not what a grid has no room for."""
    molecule = Structure(np.array([9, 8]), np.array([[0.03, 0, 0.07], [0, 1.42, 0]]))
    whole = WholeDensity.of(promolecule(molecule, "valence"))
    grid = Grid(np.full(3, -6.0), np.eye(3) * spacing, (round(13 / spacing),) * 3)
    lost = whole.valence.n_electrons - electrons_on_grid(whole.valence.on(grid), grid.steps)
    assert 1e-3 < abs(lost) < 0.3
    assert electrons_on_grid(whole.on(grid), grid.steps) == pytest.approx(17, abs=1e-4)
    part = Grid(np.full(3, -0.5), grid.steps, (grid.shape[0] // 13,) * 3)
    separate = whole.valence.on(part) + cores_on(molecule, part)
    np.testing.assert_allclose(whole.on(part), separate, rtol=1e-5)


@pytest.mark.parametrize("structure", [METHANOL, SALT], ids=lambda s: s.formula)
def test_slabs_and_parts_have_the_values_of_the_whole_grid(
    structure: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    density = WholeDensity.of(promolecule(structure, "valence"))
    grid = density.suited_grid(0.3)
    whole = density.on(grid)
    monkeypatch.setattr("orbdens.density.SLAB", 1000)
    monkeypatch.setattr("orbdens.observables.cores.SLAB", 1000)
    slabs = list(density.slabs(grid))
    assert len(slabs) > 1
    rounding = 2e-6 * whole.max()
    np.testing.assert_allclose(np.concatenate(slabs), whole, rtol=0, atol=rounding)
    part = grid.within(np.array([-0.6, -1.1, -0.7]), np.array([1.0, 0.5, 0.9]), structure)
    place = grid.place_of(part)
    if place is not None:  # within the cell
        np.testing.assert_allclose(density.on(part), whole[place], rtol=0, atol=rounding)


def test_a_whole_density_of_free_atoms_is_the_free_atoms() -> None:
    whole = WholeDensity.of(promolecule(METHANOL, "valence"))
    points = METHANOL.positions[0] + np.random.default_rng(0).normal(size=(100, 3)) * 0.3
    np.testing.assert_allclose(whole.at(points), promolecule(METHANOL).at(points), rtol=1e-4, atol=1e-5)
    nucleus = whole.at(METHANOL.positions[:1])
    np.testing.assert_allclose(nucleus, free_atom("C").at(0.0), rtol=1e-2)
    assert whole.n_electrons == pytest.approx(18, abs=1e-6)
    np.testing.assert_allclose(whole.dipole, -(METHANOL.numbers @ METHANOL.positions), atol=1e-5)


def test_the_potential_of_a_whole_density_is_that_of_nuclei() -> None:
    whole = WholeDensity.of(promolecule(METHANOL, "valence"))
    points = METHANOL.positions[[0, 1, 0]] + [[0.3, 0, 0], [0, 0.2, 0.1], [0, 4.0, 2.0]]
    nuclei, _ = charge_potential(METHANOL, METHANOL.numbers.astype(float), points)
    expected = COULOMB * (nuclei - promolecule(METHANOL).coulomb_at(points)[0])
    np.testing.assert_allclose(potential(whole, points), expected, atol=2e-4)


def test_densities_with_cores_get_none() -> None:
    with pytest.raises(UserError, match="14 valence electrons of CH4O, but the density holds 18"):
        WholeDensity.of(promolecule(METHANOL))


@pytest.mark.parametrize("spacing", [0.15, 0.25])
def test_a_density_with_cores_of_its_own_keeps_its_electrons_on_grids(spacing: float) -> None:
    """Where the sum of its values at grid points would be tenths of an electron off."""
    whole = replace(promolecule(METHANOL), valence_electrons={"C": 6, "O": 8, "H": 1})
    grid = Grid(np.array([-5.02, -5.0, -5.07]), np.eye(3) * spacing, (round(11 / spacing),) * 3)
    assert abs(electrons_on_grid(whole.on(grid), grid.steps) - 18) > 0.1
    assert electrons_on_grid(for_grids(whole).on(grid), grid.steps) == pytest.approx(18, abs=1e-3)
    points = METHANOL.positions[0] + np.random.default_rng(0).normal(size=(100, 3)) * 0.5
    np.testing.assert_allclose(for_grids(whole).at(points), whole.at(points), rtol=1e-4, atol=1e-4)
    assert for_grids(whole).n_electrons == pytest.approx(18, abs=1e-6)
    valence = promolecule(METHANOL, "valence")
    assert for_grids(valence) is valence


def test_predicted_cube_with_cores_holds_all_electrons(tmp_path: Path) -> None:
    import ase.io

    from orbdens.formats.cube import read_cube

    source, out = tmp_path / "methanol.xyz", tmp_path / "whole.cube"
    ase.io.write(source, METHANOL.to_ase())
    (written,) = predict_files(Request([source], core=True, out=out))
    assert written.n_electrons == pytest.approx(18, abs=1e-3)
    _, grid, values = read_cube(out)
    assert electrons_on_grid(values, grid.steps) == pytest.approx(18, abs=1e-3)
    assert isinstance(core_density(METHANOL), OrbitalDensity)
