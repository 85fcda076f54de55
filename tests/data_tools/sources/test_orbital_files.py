"""Orbitals from the files of other programs give the densities that PySCF gives at points."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from pyscf import dft, gto
from pyscf.tools import molden

from data_tools.sources.importing import import_source
from data_tools.sources.orbital_content import OrbitalContent
from data_tools.sources.orbital_files import open_source
from data_tools.sources.orbital_reading import read_orbital_file
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.kernels import Orbitals, density_from_orbitals
from orbdens.labels import label_shells, spin_density
from orbdens.pyscf.integrals import electron_count
from orbdens.store import Manifest, OrbitalRecord, Store
from orbdens.units import BOHR

WATER = [("O", (0.0, 0.0, 0.1)), ("H", (0.76, 0.02, -0.5)), ("H", (-0.76, 0.0, -0.5))]
OH = WATER[:2]
POINTS = np.random.default_rng(0).uniform(-1.5, 1.5, (100, 3))

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "all-electron": (dft.RKS, {"atom": WATER, "basis": "sto-3g"}),
    "pseudopotential": (dft.RKS, {"atom": WATER, "basis": "gth-dzvp", "pseudo": "gth-pbe"}),
    "to f": (dft.RKS, {"atom": WATER, "basis": "def2-tzvp"}),
    "unrestricted": (dft.UKS, {"atom": OH, "basis": "6-31g*", "spin": 1}),
    "restricted open shell": (dft.ROKS, {"atom": OH, "basis": "sto-3g", "charge": 1, "spin": 2}),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A calculation and the folder with its checkpoint and Molden file."""
    method, arguments = CASES[request.param]
    folder = tmp_path_factory.mktemp("files")
    mf = method(gto.M(verbose=0, **arguments), xc="lda,vwn")
    mf.chkfile = str(folder / "x.chk")
    mf._chkfile.close()
    mf.grids.level = 0
    mf.kernel()
    if mf.mo_coeff.ndim == 3:
        molden.from_scf(mf, str(folder / "x.molden"))
    else:
        molden.from_mo(mf.mol, str(folder / "x.molden"), mf.mo_coeff, occ=mf.mo_occ, ene=mf.mo_energy)
    return mf, folder


def _densities(mf: Any) -> np.ndarray[Any, Any]:
    orbitals = mf.mol.eval_gto("GTOval_sph", POINTS / BOHR)
    matrix = mf.make_rdm1()
    matrix = matrix if matrix.ndim == 2 else matrix.sum(axis=0)
    return np.einsum("pm,mn,pn->p", orbitals, matrix, orbitals) / BOHR**3


def _densities_of(file: OrbitalContent) -> np.ndarray[Any, Any]:
    record = file.record
    orbitals = Orbitals.of_structure(
        torch.as_tensor(record.structure.positions),
        torch.as_tensor(file.basis.types(record.structure.numbers)),
        label_shells(file.basis),
        torch.as_tensor(record.orbitals, dtype=torch.float64),
    )
    occupations = torch.as_tensor(record.occupations, dtype=torch.float64)
    values = density_from_orbitals(orbitals, occupations, torch.as_tensor(POINTS), backend="reference")
    return values.numpy()


def _check(file: OrbitalContent, mf: Any) -> None:
    expected = _densities(mf)
    np.testing.assert_allclose(_densities_of(file), expected, atol=2e-7 * expected.max())
    record, mol = file.record, mf.mol
    assert record.structure.charge == mol.charge
    assert record.structure.multiplicity == mol.spin + 1
    assert (record.spins is None) == (mol.spin == 0)
    assert electron_count(record, file.basis) == pytest.approx(mol.nelectron, abs=1e-5)
    spin = spin_density(record, Manifest({}, "valence", {}, file.basis))
    assert (0 if spin is None else spin.n_electrons) == pytest.approx(mol.spin, abs=1e-5)
    assert record.dipole is not None
    np.testing.assert_allclose(record.dipole, mf.dip_moment(unit="AU", verbose=0) * BOHR, atol=1e-6)
    symbols = [mol.atom_symbol(i) for i in range(mol.natm)]
    assert file.valence_electrons == dict(zip(symbols, mol.atom_charges().tolist(), strict=True))


def test_checkpoint(case: tuple[Any, Path]) -> None:
    mf, folder = case
    file = read_orbital_file(folder / "x.chk")
    _check(file, mf)
    assert file.record.energy == pytest.approx(mf.e_tot)
    assert file.level["basis"] == mf.mol.basis


def test_molden(case: tuple[Any, Path]) -> None:
    pytest.importorskip("iodata")
    mf, folder = case
    _check(read_orbital_file(folder / "x.molden"), mf)


def test_fchk(case: tuple[Any, Path]) -> None:
    iodata = pytest.importorskip("iodata")
    mf, folder = case
    found = iodata.load_one(str(folder / "x.molden"))
    found.lot, found.obasis_name, found.energy = "lda", "some-basis", mf.e_tot
    iodata.dump_one(found, str(folder / "x.fchk"), allow_changes=True)
    file = read_orbital_file(folder / "x.fchk")
    _check(file, mf)
    assert file.record.energy == pytest.approx(mf.e_tot)
    assert (file.level["method"], file.level["basis"]) == ("lda", "some-basis")


def _checkpoint(path: Path, **arguments: Any) -> None:
    mf = dft.RKS(gto.M(verbose=0, **{"atom": WATER, "basis": "sto-3g", **arguments}), xc="lda,vwn")
    mf.chkfile = str(path)
    mf._chkfile.close()
    mf.grids.level = 0
    mf.kernel()


def test_store_of_several(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    _checkpoint(tmp_path / "files" / "a.chk")
    _checkpoint(tmp_path / "files" / "b.chk", atom="H 0 0 0; F 0 0 0.9")
    made = import_source(open_source([tmp_path / "files"], UserStatement()), tmp_path / "store")
    assert made.count == 2
    store = Store(tmp_path / "store")
    assert store.manifest.label_basis is not None
    assert store.manifest.label_basis.symbols == ("H", "O", "F")
    assert (store.manifest.density, store.manifest.level["basis"]) == ("all-electron", "sto-3g")
    assert store.keys() == ["a", "b"]
    for key, n in (("a", 10), ("b", 10)):
        record = store[key]
        assert isinstance(record, OrbitalRecord)
        assert electron_count(record, store.manifest.label_basis) == pytest.approx(n, abs=1e-5)
    again = import_source(open_source([tmp_path / "files"], UserStatement()), tmp_path / "store", resume=True)
    assert again.count == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"basis": {"O": "6-31g", "H": "sto-3g"}}, "b.chk was made with basis None, files before it with sto-3g"),
        ({"basis": "6-31g"}, "b.chk was made with basis 6-31g, files before it with sto-3g"),
        ({"cart": True, "basis": "6-31g*"}, "b.chk has Cartesian orbitals, which are not supported"),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    _checkpoint(tmp_path / "a.chk")
    _checkpoint(tmp_path / "b.chk", **arguments)
    with pytest.raises(UserError, match=message):
        open_source([tmp_path / "a.chk", tmp_path / "b.chk"], UserStatement())


def test_one_basis_per_element(tmp_path: Path) -> None:
    pytest.importorskip("iodata")
    for name, basis in (("a", "sto-3g"), ("b", "6-31g")):
        mf = dft.RKS(gto.M(atom=WATER, basis=basis, verbose=0)).run(max_cycle=1)
        molden.from_scf(mf, str(tmp_path / f"{name}.molden"))
    with pytest.raises(UserError, match=r"b.molden has another basis for [HO] than files before it"):
        open_source([tmp_path], UserStatement())


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.chk"
    _checkpoint(path)
    with h5py.File(path, "r+") as file:
        tree = json.loads(file["mol"][()])
        tree["atom"] = tree["basis"] = f"open({str(tmp_path / 'done')!r}, 'w')"
        del file["mol"]
        file["mol"] = json.dumps(tree)
    file_read = read_orbital_file(path)
    assert not (tmp_path / "done").exists()
    assert "basis" not in file_read.level


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.chk", b"", "is empty"),
        (
            "a.chk",
            b"\x00\x01garbage",
            "is no PySCF checkpoint, Molden, fchk, wfn or wfx file; formchk makes a formatted one",
        ),
        ("a.molden", b"hello", "is no PySCF checkpoint, Molden, fchk, wfn or wfx file"),
        ("a.chk", b"\x89HDF\r\n\x1a\n" + bytes(100), "is not a whole PySCF checkpoint"),
        ("a.molden", b"[Molden Format]\n[Atoms] AU\nO 1 8 0 0 x\n", "is no whole molden file at line 3: could not"),
        ("a.fchk", b"a\nSP HF STO-3G\nNumber of electrons I 10\n", "is no whole fchk file"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_orbital_file(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_cut_and_wrong_files(case: tuple[Any, Path], tmp_path: Path) -> None:
    pytest.importorskip("iodata")
    mf, folder = case
    for name in ("x.chk", "x.molden"):
        whole = (folder / name).read_bytes()
        for share in (0.3, 0.6):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(UserError):
                read_orbital_file(tmp_path / name, charge=mf.mol.charge)
    lines = (folder / "x.molden").read_text().splitlines()
    last = max(i for i, line in enumerate(lines) if "Occup=" in line and float(line.split("=")[1]) > 0)
    lines[last] = "Occup= 0.5"
    (tmp_path / "x.molden").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="electrons"):
        read_orbital_file(tmp_path / "x.molden")


def test_orbitals_of_an_ion(tmp_path: Path) -> None:
    pytest.importorskip("iodata")
    mf = dft.RKS(gto.M(atom=[*WATER, ("H", (0.0, 0.9, 0.4))], basis="sto-3g", charge=1, verbose=0)).run(max_cycle=1)
    molden.from_scf(mf, str(tmp_path / "ion.molden"))
    assert read_orbital_file(tmp_path / "ion.molden").record.structure.charge == 1
    with pytest.raises(UserError, match="or is an ion whose --charge must be given"):
        open_source([tmp_path], UserStatement())
    assert open_source([tmp_path], UserStatement(charge=1)).count == 1


def test_missing_file_and_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_orbital_file(tmp_path / "x.chk")
    (tmp_path / "x.molden").write_bytes(b"[Molden Format]\n")
    monkeypatch.setitem(sys.modules, "iodata", None)
    with pytest.raises(UserError, match=r"pip install 'orbdens\[import\]'"):
        read_orbital_file(tmp_path / "x.molden")
