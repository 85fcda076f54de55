"""One density from PySCF: a structure goes in; a record comes out, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyscf
from ase.data import chemical_symbols
from pyscf import dft, gto

from orbdens.errors import UserError
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.integrals import electron_count
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store.records import OrbitalRecord, Record
from orbdens.structure import Structure

LEVEL_SHIFT = 0.5
"""Hartree between occupied and empty orbitals in the second attempt; PySCF takes it off again at the end."""

LOST_ELECTRONS = 1e-3
"""A density whose integral is further off than this is not stored."""


@dataclass(frozen=True)
class Settings:
    """How densities are calculated.

    Attributes:
        xc: functional as PySCF names it; ``hf`` is Hartree-Fock.
        basis: as PySCF names it, spherical functions.
        pseudo: pseudopotential or effective core potential as PySCF names it; None for all electrons.
        density_fit: fit the products of orbitals by an auxiliary basis.
        auxbasis: that basis; PySCF's choice for None.
        grid_level: of the integration grid of the functional, 0 to 9.
        conv_tol: of the energy, Hartree.
        max_cycle: SCF cycles of one attempt.
        ke_cutoff: of the mesh of plane waves of a crystal, Hartree; PySCF's choice for None.
        code: which program calculates. A process with another version refuses.
    """

    xc: str = "pbe"
    basis: str = "gth-dzvp"
    pseudo: str | None = "gth-pbe"
    density_fit: bool = False
    auxbasis: str | None = None
    grid_level: int = 3
    conv_tol: float = 1e-9
    max_cycle: int = 50
    ke_cutoff: float | None = None
    code: str = f"PySCF {pyscf.__version__}"

    def check(self) -> None:
        """Raise UserError if PySCF does not know the functional."""
        try:
            dft.libxc.parse_xc(self.xc)
        except (KeyError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise UserError(f"PySCF has no functional '{self.xc}'") from error

    def level(self, structures: Sequence[Structure]) -> dict[str, Any]:
        """The level of theory in the manifest of a store of these structures, all molecules or all crystals."""
        unrestricted = {structure.multiplicity > 1 for structure in structures}
        method = {frozenset({False}): "RKS", frozenset({True}): "UKS"}.get(
            frozenset(unrestricted), "RKS, open shells UKS"
        )
        periodic = structures[0].periodic
        return {
            "method": method + (" at the gamma point" if periodic else ""),
            "xc": self.xc,
            "basis": self.basis,
            "pseudo": self.pseudo,
            "auxbasis": self.auxbasis or ("PySCF's choice" if self.density_fit else None),
            **({"ke_cutoff": self.ke_cutoff} if periodic else {"grid_level": self.grid_level}),
            "scf_tolerance": self.conv_tol,
            "max_cycle": self.max_cycle,
            "code": self.code,
        }


def pseudo_for(basis: str, name: str | None) -> str | None:
    """A pseudopotential as users name it: ``none`` is None, and without a name a GTH basis has that of PBE."""
    if name is None:
        return "gth-pbe" if basis.lower().startswith("gth") else None
    return None if name.lower() == "none" else name


@dataclass(frozen=True)
class Failure:
    """Why a structure has no record, in a few words."""

    reason: str


class CalculationError(Exception):
    """A calculation that gave no density; the message says why."""


def outcome(structure: Structure, settings: Settings) -> Record | Failure:
    """The record of a structure, or why there is none. Whatever PySCF raises is such a reason.

    One thread: a worker process is meant to have a core, and sums of several threads differ from run to run.
    """
    pyscf.lib.num_threads(1)
    here = f"PySCF {pyscf.__version__}"
    if here != settings.code:
        return Failure(f"the worker has {here}, the store needs {settings.code}")
    try:
        if structure.periodic:
            from data_tools.generation.scf_periodic import calculate_cell

            return calculate_cell(structure, settings)
        return calculate(structure, settings)
    except CalculationError as error:
        return Failure(str(error))
    except Exception as error:  # one structure must not end the run of all the others
        return Failure(f"PySCF raised {type(error).__name__}: {' '.join(str(error).split())[:200]}")


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
    return with_limits(mf, settings)


def with_limits(mf: Any, settings: Settings) -> Any:
    """The same calculation with its tolerance and number of cycles set."""
    mf.conv_tol = settings.conv_tol
    mf.max_cycle = settings.max_cycle
    return mf


def converge(mf: Any) -> Any:
    """Run a calculation; if it does not converge, again with a level shift, then by the second-order solver.

    Returns:
        The calculation that converged.

    Raises:
        CalculationError: none did.
    """
    trouble = ""
    for prepare in ATTEMPTS:
        attempt = prepare(mf)
        try:
            attempt.kernel()
        except (np.linalg.LinAlgError, ArithmeticError, ValueError) as error:
            # orbitals that are not finite; the next attempt begins without them
            trouble = f" ({' '.join(str(error).split())[:100]})"
            mf.mo_coeff = mf.mo_occ = None
            continue
        if attempt.converged:
            return attempt
    raise CalculationError(
        f"not converged in {mf.max_cycle} cycles, nor with a level shift, nor by the second-order solver{trouble}"
    )


def _with_level_shift(mf: Any) -> Any:
    mf.mo_coeff = mf.mo_occ = None
    mf.level_shift = LEVEL_SHIFT
    return mf


def _second_order(mf: Any) -> Any:
    mf.level_shift = 0.0
    return mf.newton()


ATTEMPTS: tuple[Callable[[Any], Any], ...] = (lambda mf: mf, _with_level_shift, _second_order)
"""What is tried one after the other; the last goes on from the orbitals of the one before."""


def check_count(count: float, expected: int) -> None:
    """Raise CalculationError if a density does not hold its electrons."""
    if not abs(count - expected) < LOST_ELECTRONS:
        raise CalculationError(f"the density integrates to {count:.4f} electrons, expected {expected}")
