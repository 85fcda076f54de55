"""Grids around molecules, slabs, wires and crystals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.structure import Structure

POSITIONS = np.array([[0.1, -0.3, 0.7], [1.2, 0.5, -0.8], [-0.9, 0.4, 0.2]])
CELL = np.array([[3.0, 0.4, 0.0], [-0.7, 3.5, 0.3], [0.2, 0.9, 4.0]])


def test_a_molecule_is_centred_with_its_margin() -> None:
    grid = Grid.around(Structure(np.ones(3), POSITIONS), 0.25, 2.0)
    np.testing.assert_array_equal(grid.steps, 0.25 * np.eye(3))
    points = grid.points()
    below, above = POSITIONS.min(axis=0) - points.min(axis=0), points.max(axis=0) - POSITIONS.max(axis=0)
    np.testing.assert_allclose(below, above)
    assert ((below >= 2.0 - 1e-9) & (below < 2.0 + 0.25)).all()


def test_a_crystal_gets_its_cell() -> None:
    grid = Grid.around(Structure(np.ones(3), POSITIONS, CELL, (True, True, True)), 0.3, 4.0)
    np.testing.assert_allclose(grid.steps * np.array(grid.shape)[:, None], CELL)
    np.testing.assert_array_equal(grid.origin, np.zeros(3))
    assert (np.linalg.norm(grid.steps, axis=1) <= 0.3).all()


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (True, False, False), (False, False, True)])
def test_slabs_and_wires_get_cell_and_margin(pbc: tuple[bool, bool, bool]) -> None:
    """A density around atoms anywhere in space sums to its integral, wherever the cell begins."""
    structure = Structure(np.ones(3), POSITIONS - [0, 0, 3.0], CELL, pbc)
    grid = Grid.around(structure, 0.25, 2.5)
    repeats = np.array(pbc)
    np.testing.assert_allclose(grid.steps[repeats] * np.array(grid.shape)[repeats, None], CELL[repeats])
    free = grid.steps[~repeats]
    np.testing.assert_allclose(free @ free.T, 0.0625 * np.eye(len(free)), atol=1e-12)
    np.testing.assert_allclose(free @ CELL[repeats].T, 0, atol=1e-12)
    assert np.linalg.det(grid.steps) > 0
    total = 0.0
    for shift in product(*(range(-3, 4) if repeat else (0,) for repeat in pbc)):
        for position in structure.positions + np.array(shift) @ CELL:
            square = ((grid.points() - position) ** 2).sum(axis=1)
            total += ((2 / np.pi) ** 1.5 * np.exp(-2 * square)).sum() * grid.volume_element
    assert total == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize(
    ("spacing", "margin", "message"),
    [
        (0.0, 4.0, "spacing of the grid above 0 Å, but got 0"),
        (-1.0, 4.0, "but got -1"),
        (float("nan"), 4.0, "spacing"),
        (0.2, -10.0, "margin of the grid of 0 Å or more, but got -10"),
        (0.2, float("inf"), "margin"),
    ],
)
def test_grids_that_cannot_be(spacing: float, margin: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Grid.around(Structure(np.ones(3), POSITIONS), spacing, margin)


def test_without_end_points_a_box_repeats() -> None:
    grid = Grid(np.zeros(3), np.eye(3), (5, 6, 1))
    assert grid.without_end_points((False, True, False)).shape == (4, 6, 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_are_whole_blocks_on_the_points_of_the_grid(axis: int) -> None:
    grid = Grid(np.array([0.3, 0.1, -0.2]), CELL / 30, (37, 29, 41))
    points = grid.points().reshape(*grid.shape, 3)
    slabs = list(grid.slabs(20 * grid.n_points // grid.shape[axis], axis))
    for where, slab in slabs:
        place = tuple(where if along == axis else slice(None) for along in range(3))
        np.testing.assert_allclose(slab.points().reshape(*slab.shape, 3), points[place], atol=1e-12)
        assert grid.place_of(slab) is not None
        assert slab.part_of is grid
    assert [where.start % 8 for where, _ in slabs] == [0] * len(slabs)
    assert sum(slab.n_points for _, slab in slabs) == grid.n_points
    assert len(slabs) > 1


def test_a_box_is_the_points_in_it() -> None:
    grid = Grid.around(Structure(np.ones(3), POSITIONS), 0.25, 2.0)
    low, high = np.array([-1.1, -np.inf, 0.2]), np.array([0.35, np.inf, 0.2])
    high[2] = grid.points()[:, 2].max() + 5  # beyond the edge there is nothing
    part, points = grid.within(low, high), grid.points()
    inside = ((points >= low) & (points <= high)).all(axis=1)
    np.testing.assert_allclose(part.points(), points[inside], atol=1e-12)
    assert part.whole is grid
    assert part.within(low, high).whole is grid


def test_a_box_on_skewed_axes_holds_all_points_that_are_in_it() -> None:
    grid = Grid(np.array([0.3, 0.1, -0.2]), CELL / 20, (20, 20, 20))
    low, high = np.array([1.0, 1.0, 0.5]), np.array([2.0, 2.5, 1.5])
    part, points = grid.within(low, high), grid.points()
    place = grid.place_of(part)
    assert place is not None
    inside = ((points >= low) & (points <= high)).all(axis=1).reshape(grid.shape)
    assert inside.sum() == inside[place].sum() > 0
    assert part.n_points < grid.n_points / 2


def test_a_crystal_goes_on_beyond_its_edge_for_one_cell_at_most() -> None:
    cell = np.diag([2.0, 3.0, 4.0])
    structure = Structure(np.ones(3), POSITIONS, cell, (True, True, False))
    grid = Grid(np.zeros(3), cell / 10, (10, 10, 10))
    part = grid.within(np.array([-0.5, 2.0, -1.0]), np.array([0.5, 9.0, 1.0]), structure)
    np.testing.assert_allclose(part.origin, [-0.4, 0, 0])
    assert part.shape == (5, 10, 3)
    assert grid.within(np.full(3, -np.inf), np.full(3, np.inf), structure).shape == grid.shape
    without_vacuum = Grid(np.zeros(3), cell / 10, (9, 10, 10))  # as wide as no cell
    assert without_vacuum.within(np.array([-0.5, 0, 0]), np.array([0.5, 1, 1]), structure).shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([0, 0, 2], [1, 1, 1], "first corner is below its second, but got the box from 0, 0, 2 to 1, 1, 1 Å"),
        ([0, 0, 0], [1, np.nan, 1], "first corner is below"),
        ([9, 0, 0], [10, 1, 1], "from 9, 0, 0 to 10, 1, 1 Å holds no point of the grid, which reaches from -2.9"),
        ([0.03, 0, 0], [0.04, 1, 1], "holds no point"),
        ([np.inf, 0, 0], [np.inf, 1, 1], "first corner is below"),
    ],
)
def test_boxes_without_points_are_one_sentence(low: list[float], high: list[float], message: str) -> None:
    grid = Grid.around(Structure(np.ones(3), POSITIONS), 0.25, 2.0)
    with pytest.raises(UserError, match=message):
        grid.within(np.array(low), np.array(high))


def test_values_that_do_not_fill_a_grid_are_a_bug() -> None:
    grid = Grid(np.zeros(3), np.eye(3), (4, 3, 2))
    whole = np.arange(24.0).reshape(grid.shape)
    assert len(list(grid.parts(whole))) == 1
    assert np.array_equal(np.concatenate(list(grid.parts([whole[..., :1], whole[..., 1:]], axis=2)), axis=2), whole)
    for wrong in ([whole[:2]], [whole, whole[:1]], [whole[:, :2]], whole[:3]):
        with pytest.raises(ValueError, match="on a grid of shape"):
            list(grid.parts(wrong))
