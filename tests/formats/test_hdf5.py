"""Densities in HDF5: h5py as the outside reader, and disks that fill up while HDF5 writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from places import ROOT

import orbdens
from orbdens.errors import UserError
from orbdens.formats import read_density, read_head
from orbdens.formats.hdf5 import write_hdf5
from orbdens.formats.structures import read_structures
from orbdens.grid import Grid
from orbdens.structure import Structure

CELL = np.array([[3.0, 0.4, 0.0], [-0.7, 3.5, 0.3], [0.2, 0.9, 4.0]])
ION = Structure(
    np.array([8, 1]),
    np.array([[0.1, 0.2, 0.3], [0.9, 0.2, -0.3]]),
    CELL,
    (True, False, True),
    charge=-1,
    multiplicity=3,
)
GRID = Grid(np.array([-1.0, 0.5, 2.0]), np.array([[0.2, 0.01, 0], [0, 0.3, 0], [0, 0.02, 0.25]]), (20, 70, 7))
VALUES = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    facts = {"n_electrons": 9.0, "model": "general"}
    write_hdf5(path, ION, GRID, [VALUES[:8], VALUES[8:]], [2 * VALUES], facts)
    structure, grid, values = read_density(path)
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_array_equal(grid.steps, GRID.steps)
    np.testing.assert_array_equal(grid.origin, GRID.origin)
    np.testing.assert_array_equal(structure.positions, ION.positions)
    np.testing.assert_array_equal(structure.cell, ION.cell)
    assert (structure.pbc, structure.charge, structure.multiplicity) == (ION.pbc, -1, 3)
    assert read_head(path)[1].same_as(GRID)
    assert read_structures(path)[0].symbols == ["O", "H"]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["spin_density"][5:9, :2, 1], 2 * VALUES[5:9, :2, 1])
        assert file["density"].dtype == np.float32
        assert file["density"].chunks == (8, 64, 7)
        assert {name: dataset.attrs["unit"] for name, dataset in file.items()}["spin_density"] == "e/Angstrom^3"
        assert file.attrs["orbdens"] == orbdens.__version__
        assert (file.attrs["n_electrons"], file.attrs["model"]) == (9.0, "general")


def _changed(path: Path, **attributes: Any) -> None:
    write_hdf5(path, ION, GRID, VALUES)
    with h5py.File(path, "r+") as file:
        file.attrs.update(attributes)


def _lacking(path: Path) -> None:
    write_hdf5(path, ION, GRID, VALUES)
    with h5py.File(path, "r+") as file:
        del file["steps"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_text("no"), "a.h5 is not a whole HDF5 file of a density: .*signature not found"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "a.h5 is not a whole HDF5 file of a density"),
        (lambda path: _changed(path, format="other"), "that orbdens wrote, but .*a.h5 says of itself: other"),
        (lambda path: _changed(path, version=2), "has version 2 of the format, and this orbdens knows 1"),
        (_lacking, "a.h5 is not a whole HDF5 file of a density: .*steps"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, make: Any, sentence: str) -> None:
    path = tmp_path / "a.h5"
    if "whole" in sentence and "signature" not in sentence:
        write_hdf5(path, ION, GRID, VALUES)
    make(path)
    with pytest.raises(UserError, match=sentence):
        read_density(path)


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from orbdens.errors import UserError
from orbdens.formats.hdf5 import write_hdf5
from orbdens.grid import Grid
from orbdens.structure import Structure

path, limit = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
grid = Grid(np.zeros(3), np.eye(3), (64, 64, 64))
made = []

def slabs():
    for _ in range(8):
        made.append(rng.normal(size=(8, 64, 64)).astype(np.float32))
        yield made[-1]

try:
    write_hdf5(path, Structure(np.array([1]), np.zeros((1, 3))), grid, slabs())
except UserError as error:
    print(error)
print(path.read_text(), len(made) < 8, [file.name for file in path.parent.iterdir()])
"""


@pytest.mark.parametrize(("limit", "early"), [(100, True), (300_000, True), (900_000, False)])
def test_a_full_disk_is_one_sentence_at_once_and_no_crash(tmp_path: Path, limit: int, early: bool) -> None:
    path = tmp_path / "a.h5"
    path.write_text("old")
    command = [sys.executable, "-c", FULL, str(path), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"cannot write {path}: file too large", f"old {early} ['a.h5']"], done.stderr
    assert done.returncode == 0
