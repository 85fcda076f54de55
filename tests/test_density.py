"""Densities as functions: points that make no sense, places far from the origin, observables that are not defined."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest

from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.formats import WRITERS
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.kernels import Shells
from orbdens.labels import label_density
from orbdens.store import Store
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.1, 0.1], [0.3, 0.76, -0.5], [0.0, -0.76, -0.6]]))
FAR = np.array([1e4, -2e4, 3e3])
POINTS = np.random.default_rng(0).normal(size=(40, 3))


def orbital_density(structure: Structure = WATER) -> OrbitalDensity:
    """Steep and diffuse s, p and d orbitals on every atom."""
    shells = Shells.from_lists(
        [[(l, [4.0, 0.5], [0.3, 0.7]) for l in range(3)], [(0, [1.3], [1.0]), (1, [0.7], [1.0])]]
    )
    coefficients = np.random.default_rng(1).normal(size=9 + 4 + 4) + 1
    return OrbitalDensity(structure, structure.positions, np.array([0, 1, 1]), shells, coefficients, cutoff=6.0)


def grid_density(structure: Structure = WATER) -> GridDensity:
    grid = Grid.around(structure, 0.3, 2.0)
    return GridDensity(structure, grid, orbital_density(structure).on(grid))


def stored_density(shift: np.ndarray | None = None) -> Density:
    """The density of the first record of a store, moved."""
    store = Store(places.GOLDEN / "ethanol")
    record = store[store.keys()[0]]
    structure = record.structure
    if shift is not None:
        structure = replace(structure, positions=structure.positions + shift)
    return label_density(replace(record, structure=structure), store.manifest)


def moved(shift: np.ndarray) -> Structure:
    return replace(WATER, positions=WATER.positions + shift)


KINDS = pytest.mark.parametrize(
    "density", [orbital_density(), grid_density(), stored_density()], ids=lambda d: type(d).__name__
)


@KINDS
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_and_parts_have_the_values_of_the_whole_grid(
    density: Density, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbdens.density.SLAB", 1000)
    grid = density.suited_grid(0.35, 2.5)
    whole = density.on(grid)
    slabs = list(density.slabs(grid, axis))
    assert len(slabs) > 1
    rounding = 2e-6 * np.abs(whole).max()
    np.testing.assert_allclose(np.concatenate(slabs, axis=axis), whole, rtol=0, atol=rounding)
    part = grid.within(np.array([-1.0, -0.6, -1.3]), np.array([1.1, 1.9, 0.4]))
    place = grid.place_of(part)
    assert place is not None
    np.testing.assert_allclose(density.on(part), whole[place], rtol=0, atol=rounding)


def test_a_part_of_a_crystal_beyond_its_cell_is_the_part_within() -> None:
    cell = np.diag([4.0, 5.0, 4.5])
    density = orbital_density(replace(WATER, cell=cell, pbc=(True, True, True)))
    grid = density.suited_grid(0.25)
    part = grid.within(np.array([-1.0, -0.6, 1.0]), np.array([1.0, 0.8, 2.0]), density.structure)
    values, whole = density.on(part), density.on(grid)
    ranges = [
        np.arange(n) + round(start / step)
        for n, start, step in zip(part.shape, part.origin, np.diag(grid.steps), strict=True)
    ]
    inside = whole[np.ix_(*(index % n for index, n in zip(ranges, grid.shape, strict=True)))]
    assert min(ranges[0]) < 0
    np.testing.assert_allclose(values, inside, rtol=0, atol=2e-6 * whole.max())


@pytest.mark.parametrize("name", WRITERS)
def test_a_grid_goes_to_disk_in_less_memory_than_it_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three million values of 4 bytes: about 30 slabs of 0.4 MB."""
    monkeypatch.setattr("orbdens.density.SLAB", 100_000)
    monkeypatch.setattr("orbdens.formats.cube.CHUNK", 1000)
    density, writer = orbital_density(), WRITERS[name]
    grid = Grid(np.full(3, -8.0), np.eye(3) * 0.12, (130, 110, 130))
    writer.write(tmp_path / "small", WATER, Grid(np.zeros(3), np.eye(3), (2, 2, 2)), np.ones((2, 2, 2)))  # imports
    tracemalloc.start()
    writer.write(tmp_path / "a", WATER, grid, density.slabs(grid, writer.axis))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < grid.n_points * 4 / 2
    if writer.bytes_per_point is not None:
        assert (tmp_path / "a").stat().st_size == pytest.approx(writer.bytes_per_point * grid.n_points, rel=0.01)


@KINDS
@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (np.zeros((6, 2)), "expected points of shape [n_points, 3], but got [6, 2]"),
        (np.zeros((3, 5)), "expected points of shape [n_points, 3], but got [3, 5]"),
        (np.zeros(3), "expected points of shape [n_points, 3], but got [3]"),
        (np.zeros((2, 2, 3)), "expected points of shape [n_points, 3], but got [2, 2, 3]"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "the coordinates of point 2 of 2 are not finite numbers"),
        (np.array([[0, 0, np.inf]]), "the coordinates of point 1 of 1 are not finite numbers"),
        ([["x", "y", "z"]], "expected points as numbers of shape [n_points, 3]"),
        ([[0.0, 1.0, 2.0], [1.0]], "expected points as numbers of shape [n_points, 3]"),
    ],
    ids=["two columns", "five columns", "one vector", "a grid", "NaN", "infinite", "words", "ragged"],
)
def test_points_that_make_no_sense(density: Density, points: Any, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        density.at(points)
    assert sentence in str(error.value)


def test_derivatives_check_their_points() -> None:
    with pytest.raises(UserError, match="expected points of shape"):
        orbital_density().derivatives_at(np.zeros((6, 2)))


def test_points_may_be_lists_and_none() -> None:
    density = orbital_density()
    np.testing.assert_array_equal(density.at([[0, 0, 1]]), density.at(np.array([[0.0, 0.0, 1.0]])))
    assert density.at(np.zeros((0, 3))).shape == (0,)


def test_values_far_from_the_origin_are_those_at_the_origin() -> None:
    """Single precision has steps of 1e-3 Å at 1e4 Å."""
    here, there = orbital_density(), orbital_density(moved(FAR))
    values = here.at(POINTS)
    np.testing.assert_allclose(there.at(POINTS + FAR), values, atol=1e-6 * values.max(), rtol=0)
    grid = Grid.around(WATER, 0.3, 2.0)
    shifted = Grid(grid.origin + FAR, grid.steps, grid.shape)
    np.testing.assert_allclose(there.on(shifted), here.on(grid), atol=1e-6 * values.max(), rtol=0)
    for near, far in zip(here.derivatives_at(POINTS), there.derivatives_at(POINTS + FAR), strict=True):
        np.testing.assert_allclose(far, near, atol=1e-9 * np.abs(near).max(), rtol=0)
    np.testing.assert_allclose(there.dipole, here.dipole - here.n_electrons * FAR, rtol=1e-12)


def test_labels_far_from_the_origin_are_those_at_the_origin() -> None:
    values = stored_density().at(POINTS)
    np.testing.assert_allclose(stored_density(FAR).at(POINTS + FAR), values, atol=1e-6 * values.max(), rtol=0)


def test_a_crystal_far_from_the_origin() -> None:
    cell = {"cell": np.array([[6.0, 0, 0], [1.0, 6.5, 0], [0.3, 0.2, 5.0]]), "pbc": (True, True, True)}
    values = orbital_density(replace(WATER, **cell)).at(POINTS)
    there = orbital_density(replace(moved(FAR), **cell))
    np.testing.assert_allclose(there.at(POINTS + FAR), values, atol=1e-6 * values.max(), rtol=0)


def test_the_suited_grid_moves_with_the_molecule() -> None:
    here, there = orbital_density().suited_grid(0.3), orbital_density(moved(FAR)).suited_grid(0.3)
    np.testing.assert_allclose(there.origin - FAR, here.origin, atol=1e-6)
    total = orbital_density().on(here).sum(dtype=np.float64) * here.volume_element
    assert total == pytest.approx(orbital_density().n_electrons, rel=2e-3)


@pytest.mark.parametrize(("spacing", "margin"), [(0.0, 4.0), (-1.0, 4.0), (np.nan, 4.0), (0.2, -10.0), (0.2, np.inf)])
def test_grids_that_make_no_sense(spacing: float, margin: float, tmp_path: Path) -> None:
    for density in (orbital_density(), grid_density()):
        with pytest.raises(UserError, match="of the grid"):
            density.on_grid(spacing, margin)
        with pytest.raises(UserError, match="of the grid"):
            density.to_cube(tmp_path / "no.cube", spacing, margin)
    assert not list(tmp_path.iterdir())


def test_a_crystal_has_no_dipole() -> None:
    crystal = replace(WATER, cell=6 * np.eye(3), pbc=(True, True, True))
    for density in (orbital_density(crystal), grid_density(crystal)):
        with pytest.raises(UserError, match="H2O is periodic, and the dipole of a periodic structure is not defined"):
            _ = density.dipole


def test_a_slab_repeats_along_its_vectors_only() -> None:
    """Beyond the grid's edge in the vacuum there is nothing, and not the other side of the slab."""
    cell, pbc = np.diag([5.0, 6.0, 1.0]), (True, True, False)
    density = grid_density(replace(WATER, cell=cell, pbc=pbc))
    grid = density.grid
    corners = grid.points()[:: max(1, grid.n_points // 50)]
    values = density.at(corners)
    assert values.max() > 0.1
    along, across = cell[0] - 2 * cell[1], grid.shape[2] * grid.steps[2]
    np.testing.assert_allclose(density.at(corners + along), values, atol=1e-5)
    np.testing.assert_array_equal(density.at(corners + across), 0)
    np.testing.assert_array_equal(density.at(corners - across), 0)
