"""Coulomb response within the cycles: how many are left, where they end, and which calculations keep their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyscf import dft, gto, scf
from water import WATER

import orbdens
import orbdens.pyscf
from orbdens.errors import UserError
from orbdens.pyscf.first_fock import CoulombFit
from orbdens.pyscf.records import without_checkpoint
from orbdens.pyscf.response import at_rest, diagonalised
from orbdens.structure import Structure


def calculation(xc: str = "pbe", **state: int) -> Any:
    """A calculation of water by density fitting, not yet run."""
    atoms = list(zip(WATER.symbols, WATER.positions, strict=True))
    mol = gto.M(atom=atoms, basis="gth-dzvp", pseudo="gth-pbe", verbose=0, **state)
    mf = without_checkpoint((dft.UKS if mol.spin else dft.RKS)(mol, xc=xc)).density_fit()
    mf.grids.level = 0
    return mf


@pytest.mark.parametrize("xc", ["pbe", "pbe0"])
def test_fewer_cycles_to_the_same_energy(xc: str) -> None:
    usual, mf = calculation(xc), calculation(xc)
    usual.kernel()
    assert orbdens.pyscf.accelerate(mf) is mf
    mf.kernel()
    assert mf.converged
    assert mf.cycles < usual.cycles
    assert mf.e_tot == pytest.approx(usual.e_tot, abs=1e-8)
    mf.kernel(dm0=orbdens.pyscf.initial_guess(mf, orbdens.load().predict(WATER)))
    assert mf.cycles <= 4
    assert mf.e_tot == pytest.approx(usual.e_tot, abs=1e-8)


def test_orbitals_at_rest_make_the_coulomb_potential_that_they_are_in() -> None:
    mf = calculation()
    fit, matrix = CoulombFit(mf), mf.get_init_guess()
    fitted, fock = fit.of_matrix(matrix), mf.get_fock(dm=matrix)

    def mismatch(potential: Any) -> float:
        """Of the density of the orbitals, against that whose Coulomb potential is in the matrix."""
        made = mf.make_rdm1(*diagonalised(mf, potential)[1:])
        return float(np.abs(mf.get_j(dm=made) - mf.get_j(dm=matrix) - (potential - fock)).max())

    assert mismatch(at_rest(mf, fit, fock, fitted)) < mismatch(fock) / 4


def test_unpaired_electrons_keep_their_cycles_and_their_guess() -> None:
    mf = calculation(charge=1, spin=1)
    own = mf.diis_start_cycle, mf.DIIS
    assert (orbdens.pyscf.accelerate(mf).diis_start_cycle, mf.DIIS) == own
    ion = orbdens.load().predict(Structure(WATER.numbers, WATER.positions, charge=1, multiplicity=2))
    np.testing.assert_array_equal(orbdens.pyscf.initial_guess(mf, ion), mf.get_init_guess())


def test_other_calculations_are_refused() -> None:
    with pytest.raises(UserError, match="expected an RHF, UHF, RKS or UKS calculation of a molecule, but got ROHF"):
        orbdens.pyscf.accelerate(scf.ROHF(calculation().mol))
