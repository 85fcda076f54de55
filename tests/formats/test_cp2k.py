"""CP2K: its finest grid against grids of its own, and the inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orbdens.errors import UserError
from orbdens.formats.cp2k import LENGTHS, finest_grid, write_input
from orbdens.structure import Structure
from orbdens.units import BOHR

HELIUM = Structure(np.array([2]), np.array([[2.0, 2, 2]]), charge=0)


@pytest.mark.parametrize(
    ("edge", "cutoff", "count"),
    [
        (4.0, 50, 18),  # the cube of CP2K's own regression test of this, tests/QS/regtest-harris/he_density.cube
        (9.8528, 280, 100),  # its benchmark of 32 water molecules
        (12.42, 280, 125),  # and of 64
    ],
)
def test_grid_is_that_of_cp2k(edge: float, cutoff: float, count: int) -> None:
    grid = finest_grid(np.eye(3) * edge, cutoff)
    assert grid.shape == (count,) * 3
    np.testing.assert_allclose(grid.steps, np.eye(3) * edge / count)
    np.testing.assert_array_equal(grid.origin, 0)
    if count == 18:
        assert grid.steps[0, 0] / BOHR == pytest.approx(0.419939, abs=1e-6)


def test_every_vector_has_its_own_number_of_points() -> None:
    cell = np.array([[4.0, 0, 0], [3.0, 5.0, 0], [0, 0, 11.0]])
    grid = finest_grid(cell, 50)
    assert grid.shape == (18, 25, 48)
    np.testing.assert_allclose(grid.steps * np.array(grid.shape)[:, None], cell)


def test_lengths_have_no_other_factors_than_2_3_5() -> None:
    lengths = [int(word) for word in LENGTHS.split()]
    assert lengths == sorted(set(lengths)) and len(lengths) == 81
    for length in lengths:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1


@pytest.mark.parametrize(
    ("cell", "cutoff", "sentence"),
    [
        (np.eye(3) * 4, 0, "a cut-off above 0 Ry, but got 0"),
        (np.diag([4.0, 4, 0]), 50, "a cell that has a volume"),
        (np.eye(3) * 90, 800, "needs 1531 points along one vector of the cell, more than CP2K's 1024"),
    ],
)
def test_impossible_grids_are_refused(cell: np.ndarray, cutoff: float, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        finest_grid(cell, cutoff)


def test_inputs_say_what_cp2k_reads(tmp_path: Path) -> None:
    cell = np.eye(3) * 4
    for use in ("guess", "harris"):
        write_input(tmp_path / f"{use}.inp", HELIUM, cell, 50, tmp_path / "he.cube", use)
    guess, harris = ((tmp_path / f"{use}.inp").read_text().split("\n") for use in ("guess", "harris"))
    words = {line.strip() for line in guess}
    assert {"SCF_GUESS EXTERNAL_DENSITY", "EXTERNAL_DENSITY_FILE_NAME he.cube", "CUTOFF 50", "NGRIDS 1"} <= words
    assert "A 4.0000000000 0.0000000000 0.0000000000" in words
    assert "He 2.0000000000 2.0000000000 2.0000000000" in words
    assert not any("HARRIS" in line for line in words)
    words = {line.strip() for line in harris}
    assert {"&HARRIS_METHOD ON", "DENSITY_SOURCE CUBE", "FILE_DENSITY he.cube", "SCF_GUESS NONE"} <= words
    assert not any("EXTERNAL_DENSITY" in line for line in words)
    for lines in (guess, harris):  # every section is closed
        opened: list[str] = []
        for line in (line.strip() for line in lines):
            if line.startswith("&END"):
                assert opened.pop() == line.split()[1]
            elif line.startswith("&"):
                opened.append(line[1:].split()[0])
        assert not opened
