"""Files in and out, against ASE as the outside reader."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.vasp import VaspChargeDensity
from ase.io.cube import read_cube_data

from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.formats import WRITERS, find_writer
from orbdens.formats.cube import read_cube, write_cube
from orbdens.formats.npz import read_points
from orbdens.formats.structures import read_structures, write_frame
from orbdens.grid import Grid
from orbdens.structure import Structure
from orbdens.units import BOHR

WATER = Structure(np.array([8, 1, 1]), np.array([[0.1, 0.2, 0.3], [0.9, 0.2, -0.3], [-0.7, 0.2, -0.3]]))
HEADER = """two
comments
 {n_atoms}  1.0 2.0 3.0{n_values}
 {sign}2  0.5 0.0 0.0
 {sign}1  0.0 0.5 0.0
 {sign}3  0.0 0.0 0.5
 1 1.0  1.0 2.0 3.5
"""


def test_cube_round_trip_keeps_everything(tmp_path: Path) -> None:
    grid = Grid(np.array([-1.0, 0.5, 2.0]), np.array([[0.2, 0.01, 0], [0, 0.3, 0], [0, 0.02, 0.25]]), (4, 5, 7))
    values = np.random.default_rng(0).random(grid.shape)
    write_cube(tmp_path / "a.cube", WATER, grid, values)
    structure, read_grid, read_values = read_cube(tmp_path / "a.cube")
    np.testing.assert_allclose(read_values, values, rtol=1e-5)
    np.testing.assert_allclose(read_grid.origin, grid.origin, atol=1e-8)
    np.testing.assert_allclose(read_grid.steps, grid.steps, atol=1e-8)
    np.testing.assert_allclose(structure.positions, WATER.positions, atol=1e-8)
    assert structure.numbers.tolist() == [8, 1, 1]


def test_ase_reads_our_cube_in_e_per_cubic_bohr(tmp_path: Path) -> None:
    grid = Grid.around(WATER, 0.4, 3.0)
    exponent = 2.0
    density = np.exp(-exponent * ((grid.points() - WATER.positions[0]) ** 2).sum(axis=1)).reshape(grid.shape)
    density *= 8 * (exponent / np.pi) ** 1.5
    write_cube(tmp_path / "a.cube", WATER, grid, density)
    values, atoms = read_cube_data(str(tmp_path / "a.cube"))
    np.testing.assert_allclose(values, density * BOHR**3, rtol=1e-5, atol=1e-99)
    np.testing.assert_allclose(atoms.positions, WATER.positions, atol=1e-6)
    assert values.sum() * (0.4 / BOHR) ** 3 == pytest.approx(8.0, abs=1e-3)


@pytest.mark.parametrize(("sign", "unit"), [("", BOHR), ("-", 1.0)])
def test_the_sign_of_the_point_counts_tells_the_unit(tmp_path: Path, sign: str, unit: float) -> None:
    path = tmp_path / "a.cube"
    path.write_text(HEADER.format(n_atoms=1, n_values="", sign=sign) + "1 2 3\n4 5 6\n")
    structure, grid, values = read_cube(path)
    np.testing.assert_allclose(grid.origin, np.array([1, 2, 3]) * unit)
    np.testing.assert_allclose(grid.steps, 0.5 * unit * np.eye(3))
    np.testing.assert_allclose(structure.positions, np.array([[1, 2, 3.5]]) * unit)
    np.testing.assert_allclose(values * BOHR**3, [[[1, 2, 3]], [[4, 5, 6]]])


def test_an_orbital_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.cube"
    path.write_text(HEADER.format(n_atoms=-1, n_values=" 1", sign="") + "1 17\n1 2 3 4 5 6\n")
    np.testing.assert_allclose(read_cube(path)[2].ravel() * BOHR**3, [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a.cube is empty"),
        (
            HEADER.format(n_atoms=1, n_values="", sign="") + "1 2 3\n",
            r"a.cube ends in line 9, after 3 values of 2 x 1 x 3",
        ),
        (
            HEADER.format(n_atoms=1, n_values="", sign="") + "1 2 3 4 5 nan\n",
            "line 8: expected value 6 of 2 x 1 x 3, but found 'nan'",
        ),
        (
            HEADER.format(n_atoms=1, n_values="", sign="") + "1 2 3 4 5 ****\n",
            r"line 8: expected value 6 of 2 x 1 x 3, but found '\*\*\*\*'",
        ),
        (
            HEADER.format(n_atoms=1, n_values=" 2", sign="") + "1 2 3 4 5 6\n",
            "line 3: expected one value per point, but found 2",
        ),
        (
            HEADER.format(n_atoms=-1, n_values="", sign="") + "2 17 18\n1 2 3 4 5 6\n",
            "line 8: expected the number of one orbital, but found '2 17 18'",
        ),
        (HEADER.format(n_atoms=3, n_values="", sign=""), "before its element, charge and x, y, z of atom 2 of 3"),
    ],
)
def test_broken_cubes_are_told(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.cube"
    path.write_text(text)
    with pytest.raises(UserError, match=reason):
        read_cube(path)


def test_a_cube_of_170_000_values_is_written_in_well_under_a_second(tmp_path: Path) -> None:
    grid = Grid(np.zeros(3), 0.2 * np.eye(3), (55, 55, 56))
    values = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    begun = time.process_time()
    write_cube(tmp_path / "a.cube", WATER, grid, values)
    assert time.process_time() - begun < 0.6


@pytest.mark.parametrize("name", ["cube", "chgcar"])
def test_files_are_written_in_little_memory(tmp_path: Path, name: str) -> None:
    grid = Grid(np.zeros(3), 0.2 * np.eye(3), (80, 80, 80))
    values = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    tracemalloc.start()
    WRITERS[name].write(tmp_path / "file", WATER, grid, values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6  # all values as Python numbers take 16 MB


@pytest.mark.parametrize("shape", [(3, 4, 7), (5, 5, 5), (1, 1, 1), (2, 3, 1)])
def test_chgcar_lines_go_on_across_planes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).random(shape)
    WRITERS["chgcar"].write(tmp_path / "CHGCAR", WATER, Grid(np.zeros(3), np.eye(3), shape), values, -values)
    theirs = VaspChargeDensity(str(tmp_path / "CHGCAR"))
    np.testing.assert_allclose(theirs.chg[0], values, rtol=1e-9)
    np.testing.assert_allclose(theirs.chgdiff[0], -values, rtol=1e-9)
    lines = (tmp_path / "CHGCAR").read_text().splitlines()
    header, of_a_grid = 8 + WATER.n_atoms + 1, 1 + -(-values.size // 5)
    assert len(lines) == header + 2 * of_a_grid


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_written_through_the_table(tmp_path: Path, name: str) -> None:
    writer = WRITERS[name]
    grid = writer.suit(Grid.around(WATER, 0.5, 1.0), WATER)
    path = tmp_path / f"a{writer.suffix}"
    writer.write(path, WATER, grid, np.ones(grid.shape), np.zeros(grid.shape))
    assert path.stat().st_size > 0
    assert find_writer(name) is writer
    assert [other for other in WRITERS.values() if other.names(path)] == [writer]


def test_npz_holds_the_density_in_our_units(tmp_path: Path) -> None:
    grid = Grid.around(WATER, 0.5, 1.0)
    values = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    WRITERS["npz"].write(tmp_path / "a.npz", WATER, grid, values, values / 2)
    with np.load(tmp_path / "a.npz") as file:
        assert set(file.files) == {"numbers", "positions", "origin", "steps", "density", "spin_density"}
        np.testing.assert_array_equal(file["density"], values)
        np.testing.assert_array_equal(file["spin_density"], values / 2)
        np.testing.assert_array_equal(file["origin"], grid.origin)


@pytest.mark.parametrize("smiles", ["F", "T", "True", "C", "O=O", "[H][H]", "[O-][N+](=O)C"])
def test_texts_of_a_frame_are_read_back_as_texts(tmp_path: Path, smiles: str) -> None:
    """Without care ASE reads the SMILES of hydrogen fluoride as False."""
    atoms = ase.Atoms("HF", [[0, 0, 0], [0, 0, 0.92]], info={"smiles": smiles, "charge": 0, "vector": np.arange(3)})
    with (tmp_path / "a.xyz").open("w") as file:
        write_frame(file, atoms)
    again = ase.io.read(tmp_path / "a.xyz")
    assert again.info["smiles"] == smiles
    assert again.info["charge"] == 0
    np.testing.assert_array_equal(again.info["vector"], [0, 1, 2])
    np.testing.assert_allclose(again.positions, atoms.positions)
    assert atoms.info["smiles"] == smiles


def test_structures_of_any_kind_are_read(tmp_path: Path) -> None:
    (tmp_path / "two.xyz").write_text(
        "1\ncharge=-1 multiplicity=2\nO 0 0 0\n2\nProperties=species:S:1:pos:R:3\nH 0 0 0\nH 0 0 0.74\n"
    )
    first, second = read_structures(tmp_path / "two.xyz")
    assert (first.charge, first.multiplicity, first.n_atoms) == (-1, 2, 1)
    assert (second.charge, second.multiplicity, second.formula) == (0, 1, "H2")
    (tmp_path / "POSCAR").write_text("LiH\n4.0\n1 0 0\n0 1 0\n0 0 1\nLi H\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
    (crystal,) = read_structures(tmp_path / "POSCAR")
    assert crystal.periodic
    np.testing.assert_allclose(crystal.positions[1], [2, 2, 2])
    write_cube(tmp_path / "a.cube", WATER, Grid.around(WATER, 1.0, 1.0), np.ones(Grid.around(WATER, 1.0, 1.0).shape))
    (molecule,) = read_structures(tmp_path / "a.cube")
    assert not molecule.periodic


def test_points_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.ones((4, 3), dtype=np.float32))
    assert read_points(tmp_path / "p.npy").shape == (4, 3)
    np.save(tmp_path / "flat.npy", np.ones(4))
    with pytest.raises(UserError, match=r"\[n_points, 3\]"):
        read_points(tmp_path / "flat.npy")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_outputs_are_checked_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_output(tmp_path / "new" / "a.cube", force=False)
    check_output(tmp_path / "file", force=True)
    with pytest.raises(UserError, match="--force"):
        check_output(tmp_path / "file", force=False)
    with pytest.raises(UserError, match="cannot write to the folder"):
        check_output(tmp_path / "file" / "below" / "a.cube", force=False)
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path, force=True)
