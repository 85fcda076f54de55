"""Cube files, from a file to a store and back."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io.cube import read_cube_data, write_cube
from importing import bring, grids, water_cube

from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.formats import cube
from orbdens.grid import Grid
from orbdens.store import Store
from orbdens.units import BOHR

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("name", ["water.cube", "water.cub.gz", "water.cube.xz"])
def test_cube(name: str, tmp_path: Path) -> None:
    structure, grid, values = water_cube(tmp_path / "in.cube")
    data = (tmp_path / "in.cube").read_bytes()
    pack: Callable[[bytes], bytes] = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(data))
    bring(tmp_path / name, tmp_path / "s")
    assert Store(tmp_path / "s").keys() == ["water"]
    (record,) = grids(tmp_path / "s")
    _, read_grid, read_values = cube.read_cube(tmp_path / "in.cube")
    np.testing.assert_allclose(record.values, read_values, rtol=1e-7)
    np.testing.assert_allclose(record.values, values, rtol=2e-5, atol=1e-9)
    np.testing.assert_allclose(record.origin, read_grid.origin, atol=1e-12)
    np.testing.assert_allclose(record.steps, grid.steps, atol=1e-7)
    np.testing.assert_allclose(record.structure.positions, structure.positions, atol=1e-7)
    assert not record.structure.periodic
    theirs, atoms = read_cube_data(str(tmp_path / "in.cube"))
    np.testing.assert_allclose(record.values, theirs / BOHR**3, rtol=1e-6)
    np.testing.assert_array_equal(record.structure.numbers, atoms.numbers)


def test_store_to_cube_and_back(tmp_path: Path) -> None:
    water_cube(tmp_path / "a.cube")
    bring(tmp_path / "a.cube", tmp_path / "s")
    (first,) = grids(tmp_path / "s")
    grid = Grid(first.origin, first.steps, first.values.shape)  # type: ignore[arg-type]
    cube.write_cube(tmp_path / "b.cube", first.structure, grid, first.values)
    bring(tmp_path / "b.cube", tmp_path / "t")
    (second,) = grids(tmp_path / "t")
    np.testing.assert_allclose(second.values, first.values, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(second.steps, first.steps, atol=1e-8)


def test_cubes_of_others(tmp_path: Path) -> None:
    """As ASE writes them; with a nuclear charge instead of the atom's number; with an orbital line; in Å."""
    values = np.random.default_rng(0).random((4, 5, 6))
    values *= 2 / values.sum() * BOHR**3 / 0.001  # two electrons in steps of 0.1 Å
    atoms = Atoms("H2", [[0, 0, 0], [0.3, 0.3, 0.4]], cell=np.diag([0.4, 0.5, 0.6]))
    with (tmp_path / "ase.cube").open("w") as file:
        write_cube(file, atoms, values, origin=(0.1, 0.0, 0.2))
    bring(tmp_path / "ase.cube", tmp_path / "ase")
    (record,) = grids(tmp_path / "ase")
    np.testing.assert_allclose(record.values, values / BOHR**3, rtol=1e-5)
    np.testing.assert_allclose(record.origin, [0.1, 0, 0.2], atol=1e-6)
    words = "\n".join(f"{value:.8e}" for value in values.reshape(-1))
    head = "a\nb\n -2 0.1 0 0.2 1\n -4 .1 0 0\n -5 0 .1 0\n -6 0 0 .1\n 1 1. 0 0 0\n 1 1. .3 .3 .4\n 1 7\n"
    (tmp_path / "orbital.cube").write_text(head + words)
    bring(tmp_path / "orbital.cube", tmp_path / "orbital", UserStatement(charge=0))
    (again,) = grids(tmp_path / "orbital")
    np.testing.assert_allclose(again.values, values / BOHR**3, rtol=1e-6)
    np.testing.assert_allclose(again.steps, 0.1 * np.eye(3))
    np.testing.assert_allclose(again.structure.positions[1], [0.3, 0.3, 0.4])


CUBE_MISTAKES: dict[str, tuple[Callable[[str], str], str]] = {
    "cut": (lambda s: s[:-200], r"ends in line \d+, after \d+ values of"),
    "one value too many": (lambda s: s + "1.0\n", "expected the end of the grid of"),
    "stars": (lambda s: s.replace("E-02", "****", 1), r"expected value \d+ of .* but found '.*\*\*\*\*'"),
    "atom missing": (lambda s: s.replace("    8 ", "", 1).replace("    3 ", "    4 ", 1), "atom 1 of 4"),
    "two values": (
        lambda s: s.replace("    3 ", "    3 ", 1).replace("\n", " 2\n", 3),
        "one value per point, but found 2",
    ),
    "no points": (
        lambda s: "\n".join([*s.split("\n")[:3], "  0 0.1 0 0", *s.split("\n")[4:]]),
        "three numbers of points",
    ),
    "no element": (lambda s: s.replace("    8 ", "  999 ", 1), "expected atomic numbers from 1 to 118"),
    "half an atom": (
        lambda s: s.replace("    3 ", "  3.5 ", 1),
        "expected the number of atoms and the origin, but found 3.5",
    ),
    "words": (lambda s: s.replace("    8 ", "    O ", 1), "expected element, charge and x, y, z of atom 1 of 3"),
    "only a head": (lambda s: "\n".join(s.split("\n")[:9]), "after 0 values of"),
    "empty": (lambda s: "", "a.cube is empty"),
}


@pytest.mark.parametrize("name", CUBE_MISTAKES)
def test_broken_cubes(name: str, tmp_path: Path) -> None:
    change, message = CUBE_MISTAKES[name]
    water_cube(tmp_path / "a.cube")
    (tmp_path / "a.cube").write_text(change((tmp_path / "a.cube").read_text()))
    with pytest.raises(UserError, match=message) as caught:
        bring(tmp_path / "a.cube", tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


# MD sets
