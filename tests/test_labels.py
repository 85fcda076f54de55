"""Records as densities: values, electrons and dipoles are PySCF's, those on grids are sums over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import GOLDEN
from pyscf import dft, gto

from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.labels import LabelDensity, label_density, label_shells, spin_density, stored_density
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Store
from orbdens.structure import Structure
from orbdens.units import BOHR

Calculation = tuple[OrbitalRecord, Manifest, Any]

MOLECULES = {
    "closed shell": (dft.RKS, 0, 1),
    "anion": (dft.RKS, -1, 1),
    "radical": (dft.UKS, 0, 2),
    "radical cation": (dft.UKS, 1, 3),
}
"""Of water or OH: the method, charge and multiplicity."""


@pytest.fixture(scope="module", params=list(MOLECULES))
def calculation(request: pytest.FixtureRequest) -> Calculation:
    """A record, the manifest of a store it could be in, and the calculation it is of; not centred on the origin."""
    method, charge, multiplicity = MOLECULES[request.param]
    numbers = [8, 1, 1] if request.param == "closed shell" else [8, 1]
    positions = np.array([[1.0, -2.0, 3.1], [1.76, -1.9, 2.5], [0.24, -2.0, 2.5]])[: len(numbers)]
    structure = Structure(np.array(numbers), positions, charge=charge, multiplicity=multiplicity)
    mol = gto.M(
        atom=list(zip(structure.symbols, positions, strict=True)),
        basis="gth-dzvp",
        pseudo="gth-pbe",
        charge=charge,
        spin=multiplicity - 1,
        verbose=0,
    )
    mf = without_checkpoint(method(mol, xc="PBE"))
    mf.grids.level = 0
    mf.kernel()
    manifest = Manifest({}, "valence", {"H": 1, "O": 6}, label_basis(mol))
    return orbital_record(mf, structure), manifest, mf


def spin_matrices(mf: Any) -> np.ndarray[Any, Any]:
    """Density matrices of spin up and down [2, n_ao, n_ao]."""
    matrix = mf.make_rdm1()
    return np.stack([matrix / 2, matrix / 2]) if matrix.ndim == 2 else np.asarray(matrix)


def density_at(mf: Any, matrix: np.ndarray[Any, Any], points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """PySCF's density in e/Å³ [n_points] at points in Å [n_points, 3]."""
    orbitals = mf.mol.eval_gto("GTOval_sph", points / BOHR)
    return np.einsum("pm,mn,pn->p", orbitals, matrix, orbitals) / BOHR**3


def first_moment(mf: Any, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """−∫ρ r dr in e·Å [3]."""
    with mf.mol.with_common_origin((0, 0, 0)):
        return -np.einsum("xmn,nm->x", mf.mol.intor("int1e_r"), matrix) * BOHR


def around(structure: Structure) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    return structure.positions[rng.integers(structure.n_atoms, size=200)] + rng.normal(size=(200, 3))


def test_values_are_those_of_pyscf(calculation: Calculation) -> None:
    record, manifest, mf = calculation
    points = around(record.structure)
    up, down = spin_matrices(mf)
    label, spin = label_density(record, manifest), spin_density(record, manifest)
    np.testing.assert_allclose(label.at(points), density_at(mf, up + down, points), rtol=1e-4, atol=1e-6)
    if spin is None:
        assert record.structure.multiplicity == 1
    else:
        np.testing.assert_allclose(spin.at(points), density_at(mf, up - down, points), rtol=1e-4, atol=1e-6)


def test_integrals_are_those_of_pyscf(calculation: Calculation) -> None:
    record, manifest, mf = calculation
    structure = record.structure
    up, down = spin_matrices(mf)
    label, spin = label_density(record, manifest), spin_density(record, manifest)
    assert label.n_electrons == pytest.approx(manifest.n_electrons(structure), abs=1e-5)
    assert label.n_electrons == pytest.approx(mf.mol.nelectron, abs=1e-5)
    np.testing.assert_allclose(label.dipole, first_moment(mf, up + down), atol=1e-5)
    if spin is not None:
        assert spin.n_electrons == pytest.approx(structure.multiplicity - 1, abs=1e-5)
        # about the atoms, and not what the stored dipole of the whole density gives
        np.testing.assert_allclose(spin.dipole, first_moment(mf, up - down), atol=1e-5)


def test_the_stored_dipole_is_the_one_of_the_orbitals(calculation: Calculation) -> None:
    record, manifest, _ = calculation
    assert record.dipole is not None
    unknown = label_density(replace(record, dipole=None), manifest)
    np.testing.assert_allclose(unknown.dipole, label_density(record, manifest).dipole, atol=1e-5)


def test_golden_records() -> None:
    store = Store(GOLDEN / "ethanol_v2")
    for key in store.keys():  # noqa: SIM118
        label = stored_density(store, key)
        assert label.n_electrons == pytest.approx(20, abs=1e-4)
        record = store[key]
        unknown = label_density(replace(record, dipole=None), store.manifest)
        np.testing.assert_allclose(label.dipole, unknown.dipole, atol=1e-4)
        assert spin_density(record, store.manifest) is None


def test_place_in_space_does_not_matter() -> None:
    store = Store(GOLDEN / "ethanol_v2")
    record = store[store.keys()[0]]
    points, shift = around(record.structure), np.array([1e4, -3e4, 2e4])
    moved = replace(record, structure=replace(record.structure, positions=record.structure.positions + shift))
    here, there = label_density(record, store.manifest), label_density(moved, store.manifest)
    np.testing.assert_allclose(there.at(points + shift), here.at(points), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_grid_record_is_what_is_on_its_grid(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    values, spin_values = rng.random((2, 5, 6, 7)).astype(dtype)
    record = GridRecord(
        Structure(np.array([1, 1]), np.array([[1.0, 1, 1], [1, 1, 1.7]]), multiplicity=3),
        np.array([0.5, -1.0, 2.0]),
        np.array([[0.3, 0, 0], [0.1, 0.4, 0], [0, 0, 0.5]]),
        values,
        spin_values,
    )
    manifest = Manifest({}, "valence", {"H": 1})
    for label, expected in (
        (label_density(record, manifest), values),
        (spin_density(record, manifest), spin_values),
    ):
        assert label is not None
        assert label.native_grid is not None
        on_grid = label.on(label.native_grid)
        assert on_grid.dtype == np.float32
        np.testing.assert_array_equal(on_grid, expected)
        total, moment = 0.0, np.zeros(3)
        for index in np.ndindex(5, 6, 7):
            weight = 0.3 * 0.4 * 0.5 * float(expected[index])
            total += weight
            moment -= weight * (record.origin + np.array(index) @ record.steps)
        assert label.n_electrons == pytest.approx(total, rel=1e-6)
        np.testing.assert_allclose(label.dipole, moment, rtol=1e-6)
    assert spin_density(replace(record, spin_values=None), manifest) is None


def test_orbitals_on_a_grid_have_their_integrals() -> None:
    """A record of orbitals, and one of its values on a fine grid, are the same density."""
    store = Store(GOLDEN / "ethanol_v2")
    record = store[store.keys()[0]]
    label = label_density(record, store.manifest)
    assert label.native_grid is None
    grid = Grid.around(record.structure, 0.15, 5.0)
    on_grid = GridRecord(record.structure, grid.origin, grid.steps, label.on(grid))
    sums = label_density(on_grid, store.manifest)
    assert sums.n_electrons == pytest.approx(label.n_electrons, abs=2e-3)
    np.testing.assert_allclose(sums.dipole, label.dipole, atol=5e-3)


def test_shells_are_those_of_the_basis() -> None:
    basis = Store(GOLDEN / "ethanol").manifest.orbital_basis
    shells = label_shells(basis)
    assert shells.n_types == len(basis.symbols)
    assert shells.exponents.dtype == shells.weights.dtype == label_shells(basis).weights.dtype
    first = basis.elements[basis.symbols[0]][0]
    assert tuple(shells.exponents[: len(first.exponents)].tolist()) == first.exponents


def test_mistakes(tmp_path: Path) -> None:
    store = Store(GOLDEN / "ethanol_v2")
    with pytest.raises(UserError, match="has no record 'nobody'"):
        stored_density(store, "nobody")
    record = store[store.keys()[0]]
    poor = replace(store.manifest, valence_electrons={"H": 1, "O": 6})
    with pytest.raises(UserError, match="how many electrons C brings"):
        _ = label_density(record, poor).dipole
    grids = replace(store.manifest, label_basis=None)
    assert isinstance(record, OrbitalRecord)
    with pytest.raises(UserError, match="no label basis"):
        LabelDensity(record.structure, record, grids).at(np.zeros((1, 3)))
