"""MBIS: values that psi4 publishes with its tests, and atoms that are Slater functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyscf import gto, scf

from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.formats.denspart import read_quadrature, write_quadrature
from orbdens.labels import label_density
from orbdens.observables.mbis import mbis
from orbdens.observables.partition import Quadrature
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store import Manifest
from orbdens.structure import Structure

BOHR = 0.529177210903


def hartree_fock(atoms: str, charge: int = 0) -> Density:
    """The RHF/cc-pVDZ density of a molecule."""
    mol = gto.M(atom=atoms, basis="cc-pvdz", charge=charge, verbose=0)
    mf = without_checkpoint(scf.RHF(mol))
    mf.kernel()
    structure = Structure(mol.atom_charges(), mol.atom_coords() * BOHR, charge=charge)
    return label_density(
        orbital_record(mf, structure), Manifest({}, "all-electron", {"O": 8, "H": 1}, label_basis(mol))
    )


# tests/mbis-1 and mbis-2 of psi4: charges in e, radial moments r³ in Bohr³, widths of the valence in Bohr
WATER = ("O; H 1 1.0; H 1 1.0 2 104.5", 0, [-0.845724, 0.422861, 0.422861], [26.33765, 1.50947, 1.50947], 0.403553)
HYDROXIDE = ("O; H 1 1.0", -1, [-1.191777, 0.191777], [30.84869, 3.33860], 0.419938)


@pytest.mark.parametrize(("atoms", "charge", "charges", "volumes", "width"), [WATER, HYDROXIDE], ids=["H2O", "OH-"])
def test_published_values(atoms: str, charge: int, charges: list[float], volumes: list[float], width: float) -> None:
    density = hartree_fock(atoms, charge)
    found, functions = mbis(Quadrature.of_whole(density))
    np.testing.assert_allclose(found.charges, charges, atol=5e-4)
    np.testing.assert_allclose(found.volumes / BOHR**3, volumes, rtol=1e-3)
    assert functions.widths[1] / BOHR == pytest.approx(width, abs=1e-4)
    assert functions.atoms.tolist() == [0, 0, *range(1, len(charges))]


def slater(structure: Structure, electrons: list[float], widths: list[float]) -> Quadrature:
    """Atoms of one Slater function each, at the points of a quadrature."""
    from orbdens.pyscf.quadrature import quadrature

    points, volumes = quadrature(structure, 5)
    r = np.linalg.norm(points[:, None] - structure.positions, axis=2)
    density = sum(
        n / (8 * np.pi * s**3) * np.exp(-r[:, i] / s) for i, (n, s) in enumerate(zip(electrons, widths, strict=True))
    )
    return Quadrature(structure, points, volumes, np.asarray(density))


def test_slater_functions_are_found_again() -> None:
    """Of a valence density, whose atoms have no functions of the cores."""
    structure = Structure(np.array([6, 1]), np.array([[0.0, 0, 0], [0.0, 0, 1.1]]))
    quadrature = slater(structure, [4.2, 0.8], [0.25, 0.2])
    found, functions = mbis(quadrature, np.array([4.0, 1.0]))
    np.testing.assert_allclose(found.charges, [-0.2, 0.2], atol=1e-4)
    np.testing.assert_allclose(functions.widths, [0.25, 0.2], atol=1e-5)
    np.testing.assert_allclose(found.dipoles, 0, atol=1e-4)
    np.testing.assert_allclose(found.volumes, [4.2 * 60 * 0.25**3, 0.8 * 60 * 0.2**3], rtol=1e-3)


def test_a_density_without_electrons() -> None:
    structure = Structure(np.array([1]), np.zeros((1, 3)))
    with pytest.raises(UserError, match="no electrons"):
        mbis(slater(structure, [0.0], [0.2]), np.array([1.0]))


def test_density_npz_is_in_atomic_units(tmp_path: Path) -> None:
    structure = Structure(np.array([6, 1]), np.array([[0.0, 0, 0], [0.0, 0, 1.1]]))
    ours = slater(structure, [4.2, 0.8], [0.25, 0.2])
    path = tmp_path / "density.npz"
    write_quadrature(path, structure, ours.points, ours.volumes, ours.density)
    with np.load(path) as file:
        assert {"points", "weights", "density", "atnums", "atcoords"} <= set(file)
        assert file["atcoords"][1, 2] == pytest.approx(1.1 / BOHR)
        assert file["weights"] @ file["density"] == pytest.approx(5.0, abs=1e-4)
        assert file["density"].max() == pytest.approx(ours.density.max() * BOHR**3)
    again = Quadrature(*read_quadrature(path))
    np.testing.assert_allclose(again.points, ours.points, atol=1e-12)
    assert again.n_electrons == pytest.approx(ours.n_electrons)
