"""The density of a molecule from PySCF."""

from __future__ import annotations

from typing import Any

from ase.data import chemical_symbols
from pyscf import dft, gto
from pyscf.df import make_auxmol

from data_tools.generation.convergence import check_count, converge
from data_tools.generation.settings import Settings
from orbdens.machine import memory_per_core
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.integrals import electron_count
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store.records import OrbitalRecord
from orbdens.structure import Structure

SHARE_OF_MEMORY = 0.3
"""What the integrals of a density fit may take of a core's share of the machine's memory, and of PySCF's limit."""


def calculate(structure: Structure, settings: Settings) -> OrbitalRecord:
    """The occupied orbitals of a molecule from PySCF's own initial guess, so that no result depends on another.

    Raises:
        CalculationError: no attempt converges, or the density has lost electrons.
    """
    mol = molecule(structure, settings)
    mf = converge(mean_field(mol, settings))
    record = orbital_record(mf, structure)
    check_count(electron_count(record, label_basis(mol)), mol.nelectron)
    return record


def molecule(structure: Structure, settings: Settings) -> Any:
    """The PySCF molecule of a structure."""
    return gto.M(
        atom=atoms_of(structure),
        basis=settings.basis,
        pseudo=settings.pseudo,
        charge=structure.charge,
        spin=structure.multiplicity - 1,
        verbose=0,
    )


def atoms_of(structure: Structure) -> list[tuple[str, list[float]]]:
    """Symbols and positions in Å as PySCF takes them."""
    return [(chemical_symbols[z], x.tolist()) for z, x in zip(structure.numbers, structure.positions, strict=True)]


def mean_field(mol: Any, settings: Settings) -> Any:
    """The Kohn-Sham calculation of a PySCF molecule, not yet run: unrestricted if it has unpaired electrons."""
    mf = without_checkpoint((dft.UKS if mol.spin else dft.RKS)(mol, xc=settings.xc))
    mf.grids.level = settings.grid_level
    if settings.density_fit or settings.auxbasis:
        mf = mf.density_fit(auxbasis=settings.auxbasis)
        _hold_integrals(mf.with_df)
    return with_limits(mf, settings)


def _hold_integrals(fit: Any) -> None:
    """Calculate the three-centre integrals of a density fit once and for all, if they fit into the memory.

    PySCF does so by itself where it needs exchange. For a pure functional it calculates them anew in every cycle.
    """
    fit.auxmol = make_auxmol(fit.mol, fit.auxbasis)
    n_ao = fit.mol.nao
    tensor = 8 * n_ao * (n_ao + 1) // 2 * fit.auxmol.nao
    if tensor < SHARE_OF_MEMORY * min(memory_per_core(), 1e6 * fit.max_memory):
        fit.build()


def with_limits(mf: Any, settings: Settings) -> Any:
    """The same calculation with its tolerance and number of cycles set."""
    mf.conv_tol = settings.conv_tol
    mf.max_cycle = settings.max_cycle
    return mf
