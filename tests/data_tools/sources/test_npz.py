"""``.npz`` files become stores; broken ones one sentence and no store."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import GOLDEN

from data_tools.sources.importing import import_source
from data_tools.sources.npz import open_source
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.pyscf.integrals import dipole, electron_count
from orbdens.pyscf.order import ao_order, shell_l
from orbdens.store import OrbitalRecord, Store
from orbdens.structure import Structure
from orbdens.units import DEBYE

Arrays = dict[str, np.ndarray[Any, Any]]

NPY = (
    b"\x93NUMPY\x01\x00F\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }".ljust(69)
    + b"\n"
    + bytes(8)
)

LEVEL = {
    "basis": "gth-dzvp",
    "pseudo": "gth-pbe",
    "density": "valence",
    "units": {"positions": "angstrom", "energy": "hartree", "dipole": "debye"},
}


def import_npz(source: Path, target: Path, resume: bool = False, overwrite: bool = False) -> None:
    import_source(open_source([source], UserStatement()), target, resume=resume, overwrite=overwrite)


@pytest.fixture
def water_arrays(water: tuple[Structure, Any]) -> Arrays:
    """Three times the same water, one per split, as PySCF gives its orbitals."""
    structure, mf = water
    occupied = mf.mo_coeff[:, mf.mo_occ > 0].astype(np.float32)
    return {
        "numbers": np.tile(structure.numbers, 3).astype(np.int8),
        "positions": np.tile(structure.positions, (3, 1)).astype(np.float32),
        "atom_ptr": np.arange(4) * 3,
        "occupied": np.tile(occupied.reshape(-1), 3),
        "occupied_ptr": np.arange(4) * occupied.size,
        "n_ao": np.full(3, occupied.shape[0], dtype=np.int32),
        "n_occ": np.full(3, occupied.shape[1], dtype=np.int32),
        "energy": np.full(3, mf.e_tot),
        "dipole": np.tile(mf.dip_moment(verbose=0), (3, 1)).astype(np.float32),
        "split": np.array([0, 2, 1], dtype=np.uint8),
        "smiles": np.array(["O"]),
        "level": np.array(json.dumps(LEVEL)),
    }


@pytest.fixture
def source(tmp_path: Path, water_arrays: Arrays) -> Path:
    path = tmp_path / "water.npz"
    np.savez(path, **water_arrays)
    return path


def test_water(tmp_path: Path, source: Path, water_arrays: Arrays) -> None:
    import_npz(source, tmp_path / "store")
    store = Store(tmp_path / "store")
    assert {name: list(keys) for name, keys in store.manifest.splits.items()} == {
        "train": ["water-00000"],
        "val": ["water-00002"],
        "test": ["water-00001"],
    }
    assert store.manifest.valence_electrons == {"H": 1, "O": 6}
    assert store.manifest.provenance["file"] == "water.npz"
    assert store.manifest.label_basis is not None
    record = store["water-00001"]
    assert isinstance(record, OrbitalRecord)
    assert record.energy == water_arrays["energy"][1]
    assert electron_count(record, store.manifest.label_basis) == pytest.approx(8, abs=1e-5)
    np.testing.assert_allclose(dipole(record, store.manifest), water_arrays["dipole"][1] * DEBYE, atol=1e-5)


def test_resume_and_overwrite(tmp_path: Path, source: Path, water_arrays: Arrays) -> None:
    target = tmp_path / "store"
    import_npz(source, target)
    with pytest.raises(UserError, match="exists; resume or overwrite"):
        import_npz(source, target)
    import_npz(source, target, resume=True)
    np.savez(source, **{**water_arrays, "split": np.array([0, 0, 2], dtype=np.uint8)})
    with pytest.raises(UserError, match="made from another file"):
        import_npz(source, target, resume=True)
    import_npz(source, target, overwrite=True)
    assert set(Store(target).manifest.splits) == {"train", "test"}


def test_golden_store_comes_out_again(tmp_path: Path) -> None:
    """Exporting a store in PySCF's order and importing it gives the same records."""
    golden = Store(GOLDEN / "ethanol")
    basis = golden.manifest.label_basis
    assert basis is not None
    records = [golden[key] for key in golden.keys()]  # noqa: SIM118
    orbitals = []
    for record in records:
        assert isinstance(record, OrbitalRecord)
        orbitals.append(record.orbitals[np.argsort(ao_order(shell_l(basis, record.structure.numbers)))])
    n = len(records)
    np.savez(
        tmp_path / "ethanol.npz",
        numbers=np.concatenate([r.structure.numbers for r in records]).astype(np.int8),
        positions=np.concatenate([r.structure.positions for r in records]).astype(np.float32),
        atom_ptr=np.arange(n + 1) * 9,
        occupied=np.concatenate([o.reshape(-1) for o in orbitals]),
        occupied_ptr=np.arange(n + 1) * 690,
        n_ao=np.full(n, 69),
        n_occ=np.full(n, 10),
        energy=np.array([r.energy for r in records]),
        dipole=np.array([r.dipole / DEBYE for r in records if r.dipole is not None]).astype(np.float32),
        split=np.zeros(n, dtype=np.uint8),
        smiles=np.array(["CCO"]),
        level=np.array(json.dumps({**golden.manifest.level, "units": LEVEL["units"]})),
    )
    import_npz(tmp_path / "ethanol.npz", tmp_path / "store")
    store = Store(tmp_path / "store")
    assert store.manifest.label_basis == basis
    assert store.manifest.level == golden.manifest.level
    for key, record in zip(store.keys("train"), records, strict=True):
        again = store[key]
        assert isinstance(again, OrbitalRecord)
        assert isinstance(record, OrbitalRecord)
        np.testing.assert_array_equal(again.orbitals, record.orbitals)
        np.testing.assert_array_equal(again.structure.positions, record.structure.positions)
        np.testing.assert_allclose(again.dipole, record.dipole, rtol=1e-6)  # type: ignore[arg-type]


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path, source: Path, water_arrays: Arrays) -> None:
    water_arrays["occupied"] = np.zeros(20_000_000, dtype=np.float32)
    np.savez_compressed(source, **water_arrays)
    assert source.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(UserError, match=r"water.npz would unpack to 76 MiB, which no real numbers do"):
        import_npz(source, tmp_path / "store")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def _changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path, Arrays], None]:
    def damage(path: Path, arrays: Arrays) -> None:
        np.savez(path, **{**arrays, name: change(arrays[name].copy())})

    return damage


def _without(name: str) -> Callable[[Path, Arrays], None]:
    return lambda path, arrays: np.savez(path, **{k: v for k, v in arrays.items() if k != name})


def _nan(array: Any) -> Any:
    array.reshape(-1)[4] = np.nan
    return array


def _level(**changes: Any) -> Callable[[Any], Any]:
    return lambda _: np.array(json.dumps({**LEVEL, **changes}))


def _one_spot(positions: Any) -> Any:
    positions[4] = positions[3]
    return positions


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, _: path.unlink(), "there is no file"),
        (lambda path, _: path.write_bytes(b""), "is not a whole .npz file"),
        (lambda path, _: path.write_bytes(path.read_bytes()[:-300]), "is not a whole .npz file"),
        (lambda path, _: path.write_bytes(bytes(range(256)) * 9), "is not a zip archive"),
        (lambda path, _: path.write_bytes(pickle.dumps({"numbers": 1})), "pickles are never opened"),
        (lambda path, _: path.write_bytes(NPY), "is a single array"),
        (_without("occupied_ptr"), "lacks the array 'occupied_ptr'"),
        (_changed("smiles", lambda _: np.array([{"a": 1}], dtype=object)), "pickles are never opened"),
        (_changed("positions", _nan), "array 'positions' of .* not finite"),
        (_changed("occupied", _nan), "array 'occupied' of .* not finite"),
        (_changed("energy", lambda a: a.astype(int)), "array 'energy' of .* is of type int64"),
        (_changed("dipole", lambda a: a[:2]), r"array 'dipole' of .* has shape \(2, 3\), expected \(3, 3\)"),
        (_changed("occupied_ptr", lambda a: a + 1), "'occupied_ptr' of .* does not cut"),
        (_changed("atom_ptr", lambda a: a[[0, 2, 1, 3]]), "'atom_ptr' of .* does not cut"),
        (_changed("numbers", lambda a: a - 1), "not all atomic numbers"),
        (_changed("numbers", lambda a: np.full_like(a, 6)), "has 23 orbitals, its basis and atoms make 39"),
        (_changed("split", lambda a: a + 1), "'split' of .* holds other numbers"),
        (_changed("positions", _one_spot), "structure 1 of .* on one spot"),
        (_changed("occupied", lambda a: 1.01 * a), "integrates to 8.16.. electrons, expected 8"),
        (_changed("level", lambda _: np.array("PBE")), "'level' of .* is not the level of theory in JSON"),
        (_changed("level", _level(units={"positions": "bohr"})), "names units or a density"),
        (_changed("level", _level(basis="gth-nonsense")), "PySCF has no basis 'gth-nonsense'"),
    ],
)
def test_broken_files(
    tmp_path: Path, source: Path, water_arrays: Arrays, damage: Callable[[Path, Arrays], None], message: str
) -> None:
    damage(source, water_arrays)
    with pytest.raises(UserError, match=message) as caught:
        import_npz(source, tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()
