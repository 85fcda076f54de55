"""Stores as cube and CHGCAR files: our readers, ASE and pymatgen get the numbers, cell, origin and units back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.vasp import VaspChargeDensity
from ase.io.cube import read_cube as ase_read_cube
from places import GOLDEN

from data_tools.stores.converting import convert, file_names
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.formats import WRITERS
from orbdens.formats.chgcar import write_chgcar
from orbdens.formats.cube import read_cube
from orbdens.grid import Grid
from orbdens.labels import label_density
from orbdens.shipped import store_path
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.structure import Structure
from orbdens.units import BOHR


@pytest.fixture
def crystal() -> GridRecord:
    """A spin-polarised density in a skewed cell, with a number of points that no line of a file divides."""
    rng = np.random.default_rng(0)
    cell = np.array([[3.0, 0.1, 0.0], [-0.4, 3.6, 0.2], [0.3, 0.5, 4.1]])
    structure = Structure(np.array([8, 3, 3, 8]), rng.random((4, 3)) @ cell, cell, (True, True, True))
    values = rng.random((3, 4, 7)).astype(np.float32)
    return GridRecord(structure, np.zeros(3), cell / np.array([[3], [4], [7]]), values, values / 3 - 0.1)


def one_record(path: Path, record: GridRecord) -> Store:
    with StoreWriter(path, Manifest({}, "valence", {"Li": 3, "O": 6})) as writer:
        writer.put("only", record)
        writer.finish({})
    return Store(path)


def test_cube_of_orbitals(tmp_path: Path) -> None:
    store = Store(store_path())
    (path,) = convert(store, tmp_path, "cube", split="test", n=1, spacing=0.5, margin=2.0)
    key = store.keys("test")[0]
    assert path == tmp_path / f"{key}.cube"
    record = store[key]
    grid = Grid.around(record.structure, 0.5, 2.0)
    expected = label_density(record, store.manifest).on(grid)
    structure, found, values = read_cube(path)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(structure.positions, record.structure.positions, atol=1e-7)
    np.testing.assert_allclose(found.origin, grid.origin, atol=1e-7)
    np.testing.assert_allclose(found.steps, grid.steps, atol=1e-7)
    with path.open() as file:
        theirs = ase_read_cube(file)
    np.testing.assert_allclose(theirs["data"] / BOHR**3, expected, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(theirs["origin"], grid.origin, atol=1e-6)
    np.testing.assert_allclose(theirs["spacing"], grid.steps, atol=1e-6)
    np.testing.assert_allclose(theirs["atoms"].positions, record.structure.positions, atol=1e-6)


def test_cube_of_a_grid_is_a_round_trip(tmp_path: Path, crystal: GridRecord) -> None:
    moved = replace(crystal, origin=np.array([0.3, -0.2, 0.1]))
    (path,) = convert(one_record(tmp_path / "s", moved), tmp_path / "out", "cube")
    structure, grid, values = read_cube(path)
    np.testing.assert_allclose(values, moved.values, rtol=1e-5)
    np.testing.assert_allclose(grid.origin, moved.origin, atol=1e-7)
    np.testing.assert_allclose(grid.steps, moved.steps, atol=1e-7)
    np.testing.assert_array_equal(structure.numbers, moved.structure.numbers)


def test_chgcar_of_orbitals_is_a_box(tmp_path: Path) -> None:
    store = Store(store_path())
    key = store.keys()[0]
    (path,) = convert(store, tmp_path, "chgcar", n=1, spacing=0.3, margin=3.0)
    theirs = VaspChargeDensity(str(path))
    record, atoms = store[key], theirs.atoms[0]
    shift = atoms.positions[0] - record.structure.positions[0]
    np.testing.assert_allclose(atoms.positions - shift, record.structure.positions, atol=1e-8)
    assert atoms.get_chemical_symbols() == ["Li", "O", "Li"]
    lengths = np.ptp(record.structure.positions, axis=0) + 6
    assert (np.diag(atoms.cell) >= lengths - 1e-6).all()
    assert (np.diag(atoms.cell) < lengths + 0.3).all()
    # any point of the file is i / n of the cell, and its value that of the density there
    shape = np.array(theirs.chg[0].shape)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = (index / shape) @ np.asarray(atoms.cell) - shift
    assert isinstance(record, OrbitalRecord)
    expected = label_density(record, store.manifest).at(points).reshape(shape)
    np.testing.assert_allclose(theirs.chg[0], expected, rtol=1e-6, atol=1e-7)


def test_chgcar_of_a_crystal(tmp_path: Path, crystal: GridRecord) -> None:
    (path,) = convert(one_record(tmp_path / "s", crystal), tmp_path / "out", "chgcar")
    theirs = VaspChargeDensity(str(path))
    np.testing.assert_allclose(theirs.chg[0], crystal.values, rtol=1e-9)
    np.testing.assert_allclose(theirs.chgdiff[0], crystal.spin_values, rtol=1e-9)
    np.testing.assert_allclose(theirs.atoms[0].cell, crystal.structure.cell, atol=1e-9)
    np.testing.assert_allclose(theirs.atoms[0].positions, crystal.structure.positions, atol=1e-8)
    assert theirs.atoms[0].get_chemical_symbols() == ["O", "Li", "Li", "O"]


def test_pymatgen_reads_the_same(tmp_path: Path, crystal: GridRecord) -> None:
    vasp = pytest.importorskip("pymatgen.io.vasp")
    common = pytest.importorskip("pymatgen.io.common")
    store = one_record(tmp_path / "s", crystal)
    (path,) = convert(store, tmp_path / "out", "chgcar")
    theirs = vasp.Chgcar.from_file(str(path))
    volume = theirs.structure.volume
    np.testing.assert_allclose(theirs.data["total"] / volume, crystal.values, rtol=1e-9)
    np.testing.assert_allclose(theirs.data["diff"] / volume, crystal.spin_values, rtol=1e-9)
    np.testing.assert_allclose(theirs.structure.lattice.matrix, crystal.structure.cell, atol=1e-9)
    np.testing.assert_allclose(theirs.structure.cart_coords, crystal.structure.positions, atol=1e-8)
    (path,) = convert(store, tmp_path / "out", "cube")
    cube = common.VolumetricData.from_cube(str(path))
    np.testing.assert_allclose(cube.data["total"] / BOHR**3, crystal.values, rtol=1e-5)
    np.testing.assert_allclose(cube.structure.lattice.matrix, crystal.structure.cell, atol=1e-6)


def test_spin_density_of_orbitals(tmp_path: Path) -> None:
    golden = Store(GOLDEN / "ethanol")
    record = golden[golden.keys()[0]]
    assert isinstance(record, OrbitalRecord)
    # the same orbitals for both spins, but one electron fewer of spin down
    both = replace(
        record,
        orbitals=np.concatenate([record.orbitals, record.orbitals[:, 1:]], axis=1),
        occupations=np.ones(19, dtype=np.float32),
        spins=np.repeat(np.array([1, -1], dtype=np.int8), [10, 9]),
    )
    with StoreWriter(tmp_path / "s", golden.manifest) as writer:
        writer.put("cation", both)
        writer.finish({})
    (path,) = convert(Store(tmp_path / "s"), tmp_path, "chgcar", spacing=0.4)
    theirs = VaspChargeDensity(str(path))
    share = theirs.atoms[0].get_volume() / theirs.chg[0].size
    assert theirs.chg[0].sum() * share == pytest.approx(19, abs=0.3)
    assert theirs.chgdiff[0].sum() * share == pytest.approx(1, abs=0.05)
    assert theirs.chgdiff[0].min() > -1e-6


def test_a_grid_that_leaves_part_of_the_cell(tmp_path: Path, crystal: GridRecord) -> None:
    store = one_record(tmp_path / "s", replace(crystal, steps=0.9 * crystal.steps))
    with pytest.raises(UserError, match="record 'only': its grid does not fill its cell"):
        convert(store, tmp_path / "out", "chgcar")


def test_refused(tmp_path: Path) -> None:
    store = Store(GOLDEN / "grid")
    with pytest.raises(UserError, match="written as cube, hdf5, chgcar, npz, but not as 'xsf'"):
        convert(store, tmp_path, "xsf")
    (tmp_path / "h2.cube").write_text("dear")
    with pytest.raises(UserError, match="exists; --force replaces it"):
        convert(store, tmp_path, "cube")
    assert (tmp_path / "h2.cube").read_text() == "dear"
    convert(store, tmp_path, "cube", overwrite=True)
    assert read_cube(tmp_path / "h2.cube")[0].n_atoms == 2


def test_file_names_stay_in_their_folder() -> None:
    keys = ["../../etc/passwd", "a/b", "a_b", "A_B", "..", "ä b", "x" * 400, ""]
    names = file_names(keys)
    assert list(names) == keys
    assert len({name.casefold() for name in names.values()}) == len(keys)
    for name in names.values():
        assert Path(name).name == name
        assert not name.startswith(".")
        assert len(name) < 200
    assert set(WRITERS) == {"cube", "hdf5", "chgcar", "npz"}


def test_write_chgcar_is_whole_or_absent(tmp_path: Path, crystal: GridRecord) -> None:
    grid = Grid(crystal.origin, crystal.steps, crystal.values.shape)
    with pytest.raises(UserError, match="cannot write"):
        write_chgcar(tmp_path / "nowhere" / "CHGCAR", crystal.structure, grid, crystal.values)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "convert", str(GOLDEN / "grid"), str(tmp_path / "out"), "--to", "cube", "--n", "1"]
    assert run(command, debug=False) == 0
    assert (tmp_path / "out" / "h2.cube").exists()
    capsys.readouterr()
    assert run(command, debug=False) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("to", "precision"), [("cube", 1e-5), ("chgcar", 1e-7)])
def test_imported_again(tmp_path: Path, to: str, precision: float) -> None:
    """Store -> file -> import -> store: the same within the printed digits (and float32)."""
    golden = Store(GOLDEN / "grid")
    (path,) = convert(golden, tmp_path / "files", to)
    assert run(["data", "import", str(path), str(tmp_path / "again")], debug=False) == 0
    again = Store(tmp_path / "again")
    before, after = golden["h2"], again["h2"]
    assert isinstance(before, GridRecord)
    assert isinstance(after, GridRecord)
    np.testing.assert_allclose(after.values, before.values, rtol=precision, atol=1e-12)
    np.testing.assert_allclose(after.steps, before.steps, atol=1e-7)
    np.testing.assert_array_equal(after.structure.numbers, before.structure.numbers)
    # the corner of a CHGCAR's cell is its origin
    shift = after.origin - before.origin
    np.testing.assert_allclose(after.structure.positions - shift, before.structure.positions, atol=1e-7)
