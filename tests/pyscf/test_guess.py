"""First orbitals from a density: their Fock matrix, how soon a calculation converges, its energy, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyscf import dft, gto, scf
from pyscf.pbc import gto as pbc_gto
from pyscf.pbc import scf as pbc_scf
from pyscf.tools import molden
from water import WATER

import orbdens
import orbdens.pyscf
from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.kernels import Shells
from orbdens.observables.free_atoms import promolecule
from orbdens.pyscf.first_fock import CoulombFit, exchange_correlation, exchange_correlation_energy
from orbdens.pyscf.guess import energy_of, first_orbitals
from orbdens.pyscf.records import without_checkpoint
from orbdens.structure import Structure
from orbdens.units import BOHR, KCAL_PER_MOL

SHARP = 1.3
"""Bohr⁻²; exponent of the orbitals of ``helium``."""


def calculation(
    structure: Structure = WATER, basis: str = "gth-dzvp", pseudo: str | None = "gth-pbe", xc: str = "pbe", **state: int
) -> Any:
    """A calculation by density fitting, not yet run."""
    atoms = list(zip(structure.symbols, structure.positions, strict=True))
    mol = gto.M(atom=atoms, basis=basis, pseudo=pseudo, verbose=0, **state)
    kind = (scf.UHF if mol.spin else scf.RHF)(mol) if xc == "hf" else (dft.UKS if mol.spin else dft.RKS)(mol, xc=xc)
    mf = without_checkpoint(kind)
    if xc != "hf":
        mf.grids.level = 0
    return mf.density_fit(auxbasis="def2-universal-jkfit")


@pytest.fixture(scope="module")
def density() -> Density:
    """Of water, by the weights that ship."""
    return orbdens.load().predict(WATER)


@pytest.fixture(scope="module")
def helium() -> tuple[Any, NDArray[np.float64], OrbitalDensity]:
    """A calculation in one s and one p shell, a density matrix that mixes s with x, y, z, and its exact density."""
    fit = {"He": [[0, [2 * SHARP, 1.0]], [1, [2 * SHARP, 1.0]]]}
    mol = gto.M(atom="He 0.1 0.2 0.3", basis={"He": [[0, [SHARP, 1.0]], [1, [SHARP, 1.0]]]}, verbose=0)
    mf = without_checkpoint(dft.RKS(mol, xc="pbe")).density_fit(auxbasis=fit)
    matrix = np.zeros((4, 4))
    matrix[0] = matrix[:, 0] = [2.0, 0.1, -0.2, 0.3]
    s, p = (2 * SHARP / np.pi) ** 0.75, 2 * np.sqrt(SHARP) * (2 * SHARP / np.pi) ** 0.75
    mixed = 2 * matrix[0, [2, 3, 1]] * s * p  # of y, z, x
    exponents = torch.full((2,), 2 * SHARP / BOHR**2, dtype=torch.float64)
    spherical = 1 / np.sqrt(4 * np.pi), np.sqrt(3 / (4 * np.pi))
    shells = Shells(
        torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([0, 1, 2]), exponents, torch.ones(2).double()
    )
    coefficients = np.concatenate([[2 * s**2 / spherical[0]], mixed / spherical[1] / BOHR]) / BOHR**3
    structure = Structure(np.array([2]), np.array([[0.1, 0.2, 0.3]]))
    places = structure.positions, np.array([0])
    return mf, matrix, OrbitalDensity(structure, *places, shells, coefficients, None, valence_electrons={"He": 2})


def test_potentials_are_those_of_the_density_matrix(helium: tuple[Any, NDArray[np.float64], OrbitalDensity]) -> None:
    mf, matrix, density = helium
    fit = CoulombFit(mf)
    mf.grids.build(with_non0tab=True)
    fitted = fit.of_densities([density])
    np.testing.assert_allclose(fit.potential(fitted), mf.get_j(dm=matrix), atol=1e-9)
    np.testing.assert_allclose(fitted, fit.of_matrix(matrix), atol=1e-9)
    _, energy, potential = mf._numint.nr_rks(mf.mol, mf.grids, "pbe", matrix)
    found, of_potential = exchange_correlation(mf.mol, "pbe", [density], mf.grids)
    np.testing.assert_allclose(found, potential, atol=1e-7)
    assert of_potential == pytest.approx((potential * matrix).sum(), abs=1e-6)
    assert exchange_correlation_energy("pbe", [density], mf.grids) == pytest.approx(energy, abs=1e-8)


def test_auxiliary_basis_holds_a_prediction(density: Density) -> None:
    fitted = CoulombFit(calculation()).of_densities([density])
    assert fitted @ fitted == pytest.approx(density.self_interaction() * BOHR, rel=1e-4)


def test_calculation_converges_sooner_and_its_energy_is_known_before(density: Density) -> None:
    usual, mf = calculation(), calculation()
    usual.kernel()
    first = first_orbitals(mf, density)
    shot = energy_of(mf, first)
    mf.kernel(dm0=first.density_matrix)
    assert mf.cycles <= usual.cycles - 3
    assert mf.e_tot == pytest.approx(usual.e_tot, abs=1e-7)
    errors = [abs(e - mf.e_tot) * KCAL_PER_MOL for e in (shot.energy, shot.variational, shot.harris or 0.0)]
    assert errors[0] < 0.02 and errors[1] < 0.1 and errors[2] < 1
    assert shot.variational > mf.e_tot
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize(("xc", "basis", "pseudo"), [("pbe0", "def2-svp", None), ("hf", "gth-dzvp", "gth-hf-rev")])
def test_other_levels_begin_nearer_too(density: Density, xc: str, basis: str, pseudo: str | None) -> None:
    usual, mf = calculation(basis=basis, pseudo=pseudo, xc=xc), calculation(basis=basis, pseudo=pseudo, xc=xc)
    usual.kernel()
    shot = orbdens.pyscf.energy(mf, density)
    assert shot.harris is None
    mf.kernel(dm0=orbdens.pyscf.initial_guess(mf, density))
    assert mf.cycles < usual.cycles
    assert mf.e_tot == pytest.approx(usual.e_tot, abs=1e-7)
    assert abs(shot.energy - mf.e_tot) * KCAL_PER_MOL < 3


def test_cores_are_added_for_all_electrons(density: Density) -> None:
    matrix = orbdens.pyscf.initial_guess(calculation(basis="def2-svp", pseudo=None), density)
    converged = calculation(basis="def2-svp", pseudo=None)
    converged.kernel()
    np.testing.assert_allclose(matrix, converged.make_rdm1(), atol=0.02)


def test_effective_core_potentials_take_the_place_of_cores() -> None:
    chloride = Structure(np.array([17, 1]), np.array([[0.0, 0, 0], [0, 0, 1.29]]))
    atoms = list(zip(chloride.symbols, chloride.positions, strict=True))
    mol = gto.M(atom=atoms, basis="lanl2dz", ecp={"Cl": "lanl2dz"}, verbose=0)
    mf, usual = (without_checkpoint(dft.RKS(mol, xc="pbe")).density_fit() for _ in range(2))
    usual.kernel()
    first = first_orbitals(mf, orbdens.load().predict(chloride))
    assert sum(part.n_electrons for part in first.densities) == pytest.approx(8, abs=1e-3)
    mf.kernel(dm0=first.density_matrix)
    assert mf.cycles <= usual.cycles
    assert mf.e_tot == pytest.approx(usual.e_tot, abs=1e-7)


def test_open_shells_have_two_matrices(density: Density) -> None:
    ion = orbdens.load().predict(Structure(WATER.numbers, WATER.positions, charge=1, multiplicity=2))
    mf = calculation(charge=1, spin=1)
    first = first_orbitals(mf, ion)
    overlap = mf.get_ovlp()
    np.testing.assert_allclose([(m * overlap).sum() for m in first.density_matrix], [4, 3], atol=1e-8)
    usual = calculation(charge=1, spin=1)
    usual.kernel()
    mf.kernel(dm0=first.density_matrix)
    assert mf.e_tot == pytest.approx(usual.e_tot, abs=1e-6)


def test_molden_holds_the_orbitals(density: Density, tmp_path: Path) -> None:
    mf = calculation()
    first = first_orbitals(mf, density)
    first.write_molden(mf, tmp_path / "water.molden")
    _, energies, coefficients, occupations, *_ = molden.load(str(tmp_path / "water.molden"))
    np.testing.assert_allclose(energies, first.energies, atol=1e-6)
    np.testing.assert_allclose(np.abs(coefficients), np.abs(first.coefficients), atol=1e-6)
    np.testing.assert_allclose(occupations, first.occupations)


OTHER = Structure(np.array([9, 1]), np.array([[0.0, 0, 0], [0, 0, 0.92]]))
MOVED = Structure(WATER.numbers, WATER.positions + np.array([[0, 0, 0], [0, 0, 0.01], [0, 0, 0]]))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: calculation(OTHER), "the density is of H2O .* the calculation of other atoms"),
        (lambda: calculation(MOVED), "another geometry: atom 2 of the calculation is 0.010 Å away"),
        (lambda: calculation(charge=2), "holds 8.0 electrons, the calculation 6"),
        (lambda: calculation(spin=2), "is of multiplicity 1, the calculation of 3"),
        (lambda: scf.GHF(calculation().mol), "expected an RHF, UHF, RKS or UKS calculation of a molecule, but got GHF"),
    ],
    ids=["molecule", "geometry", "charge", "spin", "kind"],
)
def test_mistakes(density: Density, make: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        orbdens.pyscf.initial_guess(make(), density)


def test_periodic_calculations_are_refused(density: Density) -> None:
    cell = pbc_gto.M(atom="H 0 0 0; H 0 0 0.8", a=np.eye(3) * 4, basis="gth-szv", pseudo="gth-pade", verbose=0)
    with pytest.raises(UserError, match="of a molecule"):
        orbdens.pyscf.initial_guess(without_checkpoint(pbc_scf.RHF(cell)), density)


def test_densities_without_orbitals_and_without_cores_are_refused() -> None:
    free = promolecule(WATER, "valence")
    mf = calculation(basis="def2-svp", pseudo=None)
    with pytest.raises(UserError, match=r"holds 8.0 electrons, the calculation 10"):
        orbdens.pyscf.initial_guess(mf, free)  # nobody says that these are valence electrons
    with pytest.raises(UserError, match="needs a model that predicts orbitals"):
        orbdens.pyscf.initial_guess(mf, object())  # type: ignore[arg-type]
