"""Hirshfeld's atoms: values of other programs, free atoms without charge, a predicted molecule beside its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from places import GOLDEN, TESTS
from records import water_label

from orbdens.labels import label_density, stored_density
from orbdens.observables.free_atoms import free_atom, promolecule
from orbdens.observables.hirshfeld import hirshfeld
from orbdens.observables.mbis import mbis
from orbdens.observables.partition import Quadrature, atoms_in_molecule
from orbdens.prediction import predict
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store import Manifest, Store
from orbdens.structure import Structure
from orbdens.units import BOHR


def minimal_atom(symbol: str, distances: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The free atom of H or O in STO-3G in e/Å³: full s shells, and a third of each p orbital's share of four."""
    from pyscf import gto

    mol = gto.M(atom=symbol, basis="sto-3g", spin=None, verbose=0)
    values = mol.eval_gto("GTOval_sph", distances.reshape(-1, 1) / BOHR * [0.48, 0.6, 0.64])
    n = 2 if symbol == "O" else 1
    inverse = np.linalg.inv(mol.intor("int1e_ovlp")[:n, :n])
    density = n * np.einsum("pi,ij,pj->p", values[:, :n], inverse, values[:, :n]) + 4 / 3 * (values[:, n:] ** 2).sum(1)
    return np.asarray(density / BOHR**3).reshape(distances.shape)


def test_published_values_with_their_free_atoms() -> None:
    """HiPart and HORTON on Gaussian's HF/STO-3G water, with free atoms of the same level (horton/part/test)."""
    pytest.importorskip("iodata")
    from data_tools.sources.orbital_reading import read_orbital_file

    file = read_orbital_file(TESTS / "published" / "water_sto3g_hf_g03.fchk")
    quadrature = Quadrature.of(
        label_density(file.record, Manifest({}, "all-electron", file.valence_electrons, file.basis))
    )

    def weights(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        distances = np.linalg.norm(points[:, None] - file.record.structure.positions, axis=2)
        atoms = [minimal_atom(s, distances[:, i]) for i, s in enumerate(file.record.structure.symbols)]
        return np.stack(atoms, axis=1) / np.maximum(np.sum(atoms, axis=0), 1e-30)[:, None]

    charges = dict(zip(file.record.structure.symbols, atoms_in_molecule(quadrature, weights).charges, strict=True))
    assert charges["O"] == pytest.approx(-0.24617, abs=5e-4)
    assert charges["H"] == pytest.approx(0.12308, abs=5e-4)


def test_gaussians_water() -> None:
    """HF/6-31G: Gaussian 16 prints -0.3386, with free atoms of its own (tests of ASE; energy and level are the same).

    Free atoms matter: restricted PBE ones give -0.352, Hartree-Fock ones -0.363.
    """
    from pyscf import gto, scf

    mol = gto.M(
        atom="O 0 0 0.119262; H 0 0.763239 -0.477047; H 0 -0.763239 -0.477047", basis="6-31g", max_memory=500, verbose=0
    )
    mf = without_checkpoint(scf.RHF(mol))
    assert mf.kernel() == pytest.approx(-75.9834173665, abs=1e-7)
    structure = Structure(mol.atom_charges(), mol.atom_coords() * BOHR)
    manifest = Manifest({}, "all-electron", {"O": 8, "H": 1}, label_basis(mol))
    charges = hirshfeld(Quadrature.of(label_density(orbital_record(mf, structure), manifest))).charges
    np.testing.assert_allclose(charges, [-0.3420, 0.1710, 0.1710], atol=2e-4)
    np.testing.assert_allclose(charges, [-0.3386, 0.1693, 0.1693], atol=4e-3)


def test_free_atoms_side_by_side_have_no_charge() -> None:
    structure = Structure(np.array([8, 6]), np.array([[0.0, 0, 0], [0.0, 0, 1.2]]))
    quadrature = Quadrature.of(promolecule(structure))
    found = hirshfeld(quadrature)
    np.testing.assert_allclose(found.charges, 0, atol=1e-4)
    np.testing.assert_allclose(found.dipoles, 0, atol=1e-3)
    np.testing.assert_allclose(found.volumes, [free_atom("O").volume, free_atom("C").volume], rtol=1e-3)


def test_water_with_cores_is_near_water_with_all_electrons(water: tuple[Structure, Any]) -> None:
    """PBE/def2-TZVP has −0.303 e on oxygen by Hirshfeld and −0.870 by MBIS."""
    quadrature = Quadrature.of_whole(water_label(water))
    assert abs(quadrature.n_electrons - 10) < 1e-4
    assert abs(hirshfeld(quadrature).charges[0] + 0.303) < 0.02
    assert abs(mbis(quadrature)[0].charges[0] + 0.870) < 0.06


def test_ethanol_as_predicted_and_as_calculated() -> None:
    store = Store(GOLDEN / "ethanol")
    label = stored_density(store, store.keys()[0])
    reference, ours = Quadrature.of_whole(label), Quadrature.of_whole(predict(label.structure))
    for partition in (hirshfeld, lambda q: mbis(q)[0]):
        errors = partition(ours).charges - partition(reference).charges
        assert abs(errors).mean() < 0.01  # a frame of 300 K; molecules at rest, organics test: 0.002
        assert 1e-6 < abs(errors).max() < 0.02
