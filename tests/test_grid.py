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
