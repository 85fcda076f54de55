"""Records made of PySCF calculations hold their electrons and dipoles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyscf import dft, gto

from orbdens.pyscf.bases import label_basis, named_basis
from orbdens.pyscf.integrals import dipole, electron_count
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store import Manifest
from orbdens.structure import Structure
from orbdens.units import BOHR


def test_closed_shell(water: tuple[Structure, Any]) -> None:
    structure, mf = water
    basis, valence = named_basis(["H", "O"], "gth-dzvp", "gth-pbe")
    record = orbital_record(mf, structure)
    assert valence == {"H": 1, "O": 6}
    assert basis == label_basis(mf.mol)
    assert record.occupations.tolist() == [2, 2, 2, 2]
    assert record.structure is structure
    assert record.energy == mf.e_tot
    assert record.dipole is not None
    assert electron_count(record, basis) == pytest.approx(8, abs=1e-5)
    np.testing.assert_allclose(dipole(record, Manifest({}, "valence", valence, basis)), record.dipole, atol=1e-5)
    np.testing.assert_allclose(record.dipole, mf.dip_moment(unit="AU", verbose=0) * BOHR)


def test_signs_are_fixed(water: tuple[Structure, Any]) -> None:
    structure, mf = water
    record = orbital_record(mf, structure)
    original = mf.mo_coeff
    try:
        mf.mo_coeff = -original
        np.testing.assert_array_equal(orbital_record(mf, structure).orbitals, record.orbitals)
    finally:
        mf.mo_coeff = original


def test_open_shell_all_electron_ion() -> None:
    structure = Structure(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, 1.0]]), charge=1, multiplicity=3)
    mol = gto.M(atom=list(zip("OH", structure.positions, strict=True)), basis="6-31g**", charge=1, spin=2, verbose=0)
    mf = without_checkpoint(dft.UKS(mol, xc="LDA"))
    mf.grids.level = 0
    mf.kernel()
    basis, electrons = named_basis(["H", "O"], "6-31g**", None)
    manifest = Manifest({}, "all-electron", electrons, basis)
    record = orbital_record(mf, structure)
    assert record.occupations.tolist() == [1] * 8
    assert electron_count(record, basis) == pytest.approx(manifest.n_electrons(structure), abs=1e-5)
    assert record.dipole is not None
    np.testing.assert_allclose(dipole(record, manifest), record.dipole, atol=1e-5)
