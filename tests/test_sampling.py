"""Points drawn by importance estimate integrals without bias, of molecules, of cells and on grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from places import GOLDEN

from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.sampling import draw_points, draw_voxels, evenly_spaced
from orbdens.store import Store
from orbdens.structure import Structure

N, DRAWS = 500, 100


def estimate(draw: Callable[[], float]) -> tuple[float, float]:
    """Mean of many draws, and its standard error."""
    draws = np.array([draw() for _ in range(DRAWS)])
    return float(draws.mean()), float(draws.std() / DRAWS**0.5)


def check_unbiased(draw: Callable[[], float], expected: float, largest_error: float) -> None:
    mean, error = estimate(draw)
    assert error < largest_error * abs(expected)  # else this test would see nothing
    assert abs(mean - expected) < 4 * error


WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0.1], [0.76, 0.02, -0.5], [-0.76, 0, -0.5]]))


@pytest.mark.parametrize("exponent", [0.3, 2.0, 8.0])
def test_integrals_over_space(exponent: float) -> None:
    rng = np.random.default_rng(1)
    centre = np.array([0.5, 0.2, -0.3])

    def draw() -> float:
        points, volumes = draw_points(WATER, N, rng)
        assert points.shape == (N, 3)
        return float(volumes @ np.exp(-exponent * ((points - centre) ** 2).sum(axis=1)))

    check_unbiased(draw, (np.pi / exponent) ** 1.5, 0.02)


CELL = np.array([[3.0, 0, 0], [0.8, 3.5, 0], [-0.5, 0.3, 4.0]])


@pytest.mark.parametrize("charge", ["uniform", "wave"])
def test_integrals_over_a_cell(charge: str) -> None:
    """Neighbouring cells reach into this one, which is smaller than what points are drawn from."""
    rng = np.random.default_rng(2)
    crystal = Structure(np.array([11, 17]), np.array([[0.2, 0.1, -0.3], [1.9, 1.5, 5.0]]), CELL, (True, True, True))
    inverse = np.linalg.inv(CELL)

    def draw() -> float:
        points, volumes = draw_points(crystal, N, rng)
        fractions = points @ inverse
        factor = 1 if charge == "uniform" else 1 + np.sin(2 * np.pi * (fractions[:, 0] - 2 * fractions[:, 2]))
        return float((volumes * factor).sum())

    check_unbiased(draw, float(np.linalg.det(CELL)), 0.02)


def test_integrals_over_a_slab() -> None:
    """Over one cell along the axes that repeat, over all space along the one that does not."""
    rng = np.random.default_rng(3)
    cell = np.diag([3.0, 3.5, 20.0])
    slab = Structure(np.array([6]), np.array([[0.5, 0.5, 0.5]]), cell, (True, True, False))

    def draw() -> float:
        points, volumes = draw_points(slab, N, rng)
        return float(volumes @ np.exp(-0.5 * (points[:, 2] - 0.8) ** 2))

    check_unbiased(draw, 3.0 * 3.5 * (2 * np.pi) ** 0.5, 0.02)


@pytest.mark.parametrize(("store", "key", "n_electrons"), [("ethanol_v2", None, 20), ("grid_v2", "h2", 2)])
def test_records_integrate_to_their_electrons(store: str, key: str | None, n_electrons: int) -> None:
    opened = Store(GOLDEN / store)
    label = stored_density(opened, key or opened.keys()[0])
    rng = np.random.default_rng(4)

    def draw() -> float:
        points, volumes, values = label.sample(N, rng)
        np.testing.assert_allclose(values, label.at(points), rtol=1e-3, atol=1e-4 * float(values.max()))
        return float(volumes @ values)

    check_unbiased(draw, n_electrons, 0.01)


@pytest.mark.parametrize("cores", [True, False])
def test_points_reach_the_cores(cores: bool) -> None:
    """A draw finds the two 1s electrons of oxygen within 15 % if points are drawn in cores, and is far off if not."""
    rng = np.random.default_rng(6)
    decay = 2 * 7.7 / 0.529177

    def draw() -> float:
        points, volumes = draw_points(WATER, N, rng, cores)
        distances = np.linalg.norm(points - WATER.positions[0], axis=1)
        return float(2 * decay**3 / (8 * np.pi) * volumes @ np.exp(-decay * distances))

    mean, error = estimate(draw)
    assert abs(mean - 2) < 4 * error
    assert (error * DRAWS**0.5 < 0.2 * 2) == cores


def test_grid_points_are_drawn_with_their_values() -> None:
    rng = np.random.default_rng(5)
    steps = np.array([[0.2, 0, 0], [0, 0.3, 0.1], [0, 0, 0.4]])
    grid = Grid(np.array([1.0, 2.0, 3.0]), steps, (4, 5, 6))
    values: NDArray[Any] = rng.normal(size=grid.shape) ** 3  # of both signs, as a spin density
    by_place = {tuple(point): value for point, value in zip(grid.points().round(6), values.reshape(-1), strict=True)}
    points, _, drawn = draw_voxels(grid, values, 1000, rng)
    np.testing.assert_allclose(drawn, [by_place[tuple(point)] for point in points.round(6)], rtol=1e-6)
    assert np.abs(drawn).mean() > 1.5 * np.abs(values).mean()

    def draw() -> float:
        _, volumes, drawn = draw_voxels(grid, values, N, rng)
        return float(volumes @ drawn)

    check_unbiased(draw, float(values.sum()) * grid.volume_element, 0.1)
    check_unbiased(lambda: float(draw_voxels(grid, values, N, rng)[1].sum()), 120 * grid.volume_element, 0.01)


def test_an_empty_grid_is_drawn_from_evenly() -> None:
    grid = Grid(np.zeros(3), np.eye(3), (3, 3, 3))
    _, volumes, values = draw_voxels(grid, np.zeros(grid.shape, dtype=np.float32), 9, np.random.default_rng(0))
    np.testing.assert_allclose(volumes, 3.0)
    assert not values.any()


def test_the_same_seed_draws_the_same_points() -> None:
    first, second = (draw_points(WATER, 10, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_evenly_spaced() -> None:
    assert evenly_spaced(range(10), 4) == [0, 3, 6, 9]
    assert evenly_spaced("abc", 10) == ["a", "b", "c"]
    assert evenly_spaced([], 3) == []
    assert evenly_spaced(range(10), 0) == []
    assert evenly_spaced(range(100), 7) == evenly_spaced(range(100), 7)
