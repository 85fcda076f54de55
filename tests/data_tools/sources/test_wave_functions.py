"""wfn and wfx files, and Cartesian shells of any file: densities are PySCF's, published files keep their electrons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest
from pyscf import gto, scf
from pyscf.tools import molden, wfn_format

from data_tools.sources.importing import import_source
from data_tools.sources.orbital_content import OrbitalContent, checked
from data_tools.sources.orbital_files import open_source
from data_tools.sources.orbital_reading import read_orbital_file
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.labels import LabelDensity, stored_density
from orbdens.pyscf.integrals import electron_count
from orbdens.pyscf.records import without_checkpoint
from orbdens.store import Manifest, Store
from orbdens.units import BOHR

iodata = pytest.importorskip("iodata")

WATER = "O 0 0 0; H 0.76 0.1 -0.5; H -0.7 0.2 -0.55"
POINTS = np.random.default_rng(0).normal(size=(200, 3))
PUBLISHED = places.TESTS / "published"


def hartree_fock(basis: str, cartesian: bool) -> Any:
    mf = without_checkpoint(scf.RHF(gto.M(atom=WATER, basis=basis, cart=cartesian, verbose=0)))
    mf.kernel()
    return mf


def density_of(mf: Any) -> np.ndarray[Any, Any]:
    values = mf.mol.eval_gto("GTOval_cart" if mf.mol.cart else "GTOval_sph", POINTS / BOHR)
    return np.einsum("pm,mn,pn->p", values, mf.make_rdm1(), values) / BOHR**3


def label(file: OrbitalContent) -> LabelDensity:
    manifest = Manifest({}, "all-electron", file.valence_electrons, file.basis)
    return LabelDensity(file.record.structure, file.record, manifest)


@pytest.mark.parametrize("basis", ["6-31g*", "cc-pvtz", "cc-pvqz"], ids=["d", "f", "g"])
def test_cartesian_shells(basis: str, tmp_path: Path) -> None:
    mf = hartree_fock(basis, cartesian=True)
    molden.from_scf(mf, str(tmp_path / "x.molden"))
    file = read_orbital_file(tmp_path / "x.molden")
    expected = density_of(mf)
    np.testing.assert_allclose(label(file).at(POINTS), expected, atol=1e-6 * expected.max())
    assert electron_count(file.record, file.basis) == pytest.approx(10, abs=1e-5)
    np.testing.assert_allclose(file.record.dipole, mf.dip_moment(unit="AU", verbose=0) * BOHR, atol=1e-5)


def test_wfn(tmp_path: Path) -> None:
    """PySCF writes the primitives of spherical shells as Cartesian ones."""
    mf = hartree_fock("cc-pvtz", cartesian=False)
    occupied = mf.mo_occ > 0
    with (tmp_path / "x.wfn").open("w") as out:
        orbitals = mf.mo_coeff[:, occupied], mf.mo_energy[occupied], mf.mo_occ[occupied]
        wfn_format.write_mo(out, mf.mol, orbitals[0], mo_energy=orbitals[1], mo_occ=orbitals[2])
    file = read_orbital_file(tmp_path / "x.wfn")
    expected = density_of(mf)
    np.testing.assert_allclose(label(file).at(POINTS), expected, atol=2e-6 * expected.max())
    assert electron_count(file.record, file.basis) == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "electrons", "charge", "multiplicity"),
    [
        ("h2o_sto3g.wfn", 10, 0, 1),
        ("he_spdf_orbital.wfn", 2, 0, 1),
        ("lih_cation_uhf.wfx", 3, 1, 2),
        ("h2o_psi4_cartesian.molden", 10, 0, 1),
        ("water_sto3g_hf_g03.fchk", 10, 0, 1),
    ],
)
def test_published_files(name: str, electrons: int, charge: int, multiplicity: int) -> None:
    file = read_orbital_file(PUBLISHED / name)
    assert electron_count(file.record, file.basis) == pytest.approx(electrons, abs=1e-4)
    structure = file.record.structure
    assert (structure.charge, structure.multiplicity) == (charge, multiplicity)


def test_files_with_few_digits_hold_their_electrons() -> None:
    """Molden's own nh3 files of iodata are off by up to 1.1e-4 e."""
    file = read_orbital_file(PUBLISHED / "h2o_sto3g.wfn")
    coarse = replace(file.record, orbitals=file.record.orbitals * np.float32(1 + 2e-5))
    assert abs(electron_count(coarse, file.basis) - 10) > 3e-4
    mended = checked(file._replace(record=coarse), "x")
    assert electron_count(mended.record, file.basis) == pytest.approx(10, abs=2e-6)


def test_a_high_charge_must_be_stated(tmp_path: Path) -> None:
    mf = hartree_fock("cc-pvdz", cartesian=False)
    with (tmp_path / "x.wfn").open("w") as out:
        wfn_format.write_mo(out, mf.mol, mf.mo_coeff[:, :1], mo_energy=mf.mo_energy[:1], mo_occ=mf.mo_occ[:1])
    with pytest.raises(UserError, match="an ion whose --charge must be given"):
        read_orbital_file(tmp_path / "x.wfn")
    assert read_orbital_file(tmp_path / "x.wfn", charge=8).record.structure.charge == 8
    with pytest.raises(UserError, match="hold 2 electrons"):
        read_orbital_file(tmp_path / "x.wfn", charge=7)


def test_wave_function_files_become_a_store(tmp_path: Path) -> None:
    made = import_source(open_source([PUBLISHED / "h2o_sto3g.wfn"], UserStatement()), tmp_path / "store")
    assert made.count == 1
    store = Store(tmp_path / "store")
    assert stored_density(store, "h2o_sto3g").n_electrons == pytest.approx(10, abs=1e-4)


def test_a_broken_wfn_is_one_sentence(tmp_path: Path) -> None:
    text = (PUBLISHED / "h2o_sto3g.wfn").read_text()
    (tmp_path / "x.wfn").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"x\.wfn is no whole wfn file"):
        read_orbital_file(tmp_path / "x.wfn")
