"""Moments and repulsion: of point-like charges, against PySCF's, and what moving the origin does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from records import exact_pair, water_label

from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.kernels import Shells
from orbdens.observables.multipoles import distributed_multipoles, hartree_energy, moments
from orbdens.structure import Structure

BOHR = 0.529177210903
PLACES = np.array([[0.0, 0.1, 0.3], [0.8, -0.2, 0.1], [-0.3, 0.5, -0.7]])
CORES, ELECTRONS = np.array([6.0, 1.0, 1.0]), np.array([6.7, 0.8, 0.6])


def point_like() -> OrbitalDensity:
    """Electrons on three atoms, spherical and so like points to everything outside."""
    structure = Structure(np.array([8, 1, 1]), PLACES)
    shells = Shells.from_lists([[(0, [2.0], [1.0]), (2, [1.0], [1.0])]])
    norm = shells.weights.numpy()[0] * (np.pi / 2) ** 1.5 / np.sqrt(4 * np.pi)
    coefficients = np.zeros((3, 6))
    coefficients[:, 0] = ELECTRONS / norm
    return OrbitalDensity(
        structure,
        PLACES,
        np.zeros(3, dtype=np.int64),
        shells,
        coefficients.reshape(-1),
        None,
        valence_electrons={"O": 6, "H": 1},
    )


def test_moments_of_point_charges() -> None:
    found = moments(point_like(), np.array([0.1, 0.2, 0.3]))
    q, r = CORES - ELECTRONS, PLACES - [0.1, 0.2, 0.3]
    r2 = (r * r).sum(axis=1)
    assert found.charge == pytest.approx(q.sum())
    np.testing.assert_allclose(found.dipole, q @ r, atol=1e-12)
    for a, b in np.ndindex(3, 3):
        theta = (q * (3 * r[:, a] * r[:, b] - r2 * (a == b))).sum() / 2
        assert found.quadrupole[a, b] == pytest.approx(theta, abs=1e-12)
    for a, b, c in np.ndindex(3, 3, 3):
        traces = r2 * (r[:, a] * (b == c) + r[:, b] * (a == c) + r[:, c] * (a == b))
        omega = (q * (5 * r[:, a] * r[:, b] * r[:, c] - traces)).sum() / 2
        assert found.octupole[a, b, c] == pytest.approx(omega, abs=1e-12)


def test_moments_of_a_record_are_those_of_pyscf(water: tuple[Structure, Any]) -> None:
    label, mol, matrix = water_label(water), water[1].mol, water[1].make_rdm1()
    found = moments(label)
    charges, places = mol.atom_charges(), mol.atom_coords()
    centre = charges @ places / charges.sum()
    np.testing.assert_allclose(found.origin, centre * BOHR)
    with mol.with_common_origin(centre):
        raw = np.einsum("xij,ij->x", mol.intor("int1e_rr"), matrix).reshape(3, 3)
    second = np.einsum("n,na,nb->ab", charges, places - centre, places - centre) - raw
    theta = (3 * second - np.trace(second) * np.eye(3)) / 2
    np.testing.assert_allclose(found.quadrupole, theta * BOHR**2, atol=2e-6)
    np.testing.assert_allclose(found.dipole, water[1].dip_moment(unit="AU", verbose=0) * BOHR, atol=1e-6)
    assert np.abs(found.octupole).max() > 0.1
    np.testing.assert_allclose(np.einsum("aab->b", found.octupole), 0, atol=1e-10)


def test_orbitals_records_and_grids_agree() -> None:
    label, fitted = exact_pair()
    origin = np.array([0.3, 0.2, -0.1])
    np.testing.assert_allclose(fitted.multipoles(origin, 4), label.multipoles(origin, 4), rtol=1e-9, atol=1e-9)
    assert hartree_energy(fitted) == pytest.approx(hartree_energy(label), rel=1e-9)
    grid = Grid.around(fitted.structure, 0.15, 6.0)
    on_grid = GridDensity(fitted.structure, grid, fitted.on(grid), valence_electrons=fitted.valence_electrons)
    np.testing.assert_allclose(on_grid.multipoles(origin, 3), fitted.multipoles(origin, 3), rtol=1e-5, atol=1e-4)
    with pytest.raises(UserError, match="not values on a grid"):
        hartree_energy(on_grid)
    with pytest.raises(UserError, match="sum of orbitals"):
        distributed_multipoles(label)


def test_the_repulsion_of_a_record_is_that_of_pyscf(water: tuple[Structure, Any]) -> None:
    mf = water[1]
    expected = 0.5 * np.einsum("ij,ij", mf.get_j(), mf.make_rdm1())
    assert hartree_energy(water_label(water)) == pytest.approx(expected, abs=2e-5)


def test_multipoles_of_atoms_have_the_moments_of_the_molecule() -> None:
    _, fitted = exact_pair()
    atoms: NDArray[np.float64] = distributed_multipoles(fitted, 2)
    whole = moments(fitted, np.zeros(3))
    assert atoms[:, 0].sum() == pytest.approx(whole.charge)
    x, y, z = atoms[:, 3], atoms[:, 1], atoms[:, 2]
    positions = fitted.structure.positions
    np.testing.assert_allclose(atoms[:, 0] @ positions + [x.sum(), y.sum(), z.sum()], whole.dipole, atol=1e-10)
    # Q_20 of the whole: those of the atoms, and their charges and dipoles moved
    moved = atoms[:, 6] + 2 * z * positions[:, 2] - x * positions[:, 0] - y * positions[:, 1]
    moved += atoms[:, 0] * (3 * positions[:, 2] ** 2 - (positions**2).sum(axis=1)) / 2
    assert moved.sum() == pytest.approx(whole.quadrupole[2, 2])


def test_a_midpoint_is_shared_by_its_ends() -> None:
    """Two electrons between two nuclei: each atom gets one, and a dipole towards the bond."""
    structure = Structure(np.array([1, 1]), np.array([[0.0, 0, -0.4], [0.0, 0, 0.4]]))
    shells = Shells.from_lists([[(0, [2.0], [1.0])]])
    norm = shells.weights.numpy()[0] * (np.pi / 2) ** 1.5 / np.sqrt(4 * np.pi)
    density = OrbitalDensity(
        structure, np.zeros((1, 3)), np.zeros(1, dtype=np.int64), shells, np.array([2 / norm]), None
    )
    with pytest.raises(UserError, match="not known which electrons"):
        distributed_multipoles(density)
    known = OrbitalDensity(**{**vars(density), "valence_electrons": {"H": 1}})
    atoms = distributed_multipoles(known, 1)
    np.testing.assert_allclose(atoms, [[0, 0, -0.4, 0], [0, 0, 0.4, 0]], atol=1e-12)
