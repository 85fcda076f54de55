"""Between PySCF (Bohr, p orbitals as x, y, z) and orbdens (Å, m = −l..l): bases, orbitals, analytic observables."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from pyscf import gto
from pyscf.gto import moleintor

from orbdens.electrons import core_charges
from orbdens.errors import UserError
from orbdens.store.manifest import Manifest
from orbdens.store.records import LabelBasis, LabelShell, OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

P_ORDER = (1, 2, 0)
"""Rows of PySCF's x, y, z that are m = −1, 0, 1; for every other l the orders agree."""


def label_basis(mol: Any) -> LabelBasis:
    """The basis of a PySCF molecule (spherical), in Å.

    Raises:
        UserError: atoms of one element have different bases.
    """
    elements: dict[str, tuple[LabelShell, ...]] = {}
    for atom in range(mol.natm):
        shells = []
        for shell in mol.atom_shell_ids(atom):
            l = mol.bas_angular(shell)
            exponents = tuple((mol.bas_exp(shell) / BOHR**2).tolist())
            # [primitive, contraction]; r^l and the AO itself change their unit, the integral of AO² stays 1
            weights = mol._libcint_ctr_coeff(shell) * BOHR ** (-l - 1.5)
            shells += [LabelShell(int(l), exponents, tuple(column.tolist())) for column in weights.T]
        symbol = mol.atom_pure_symbol(atom)
        if elements.setdefault(symbol, tuple(shells)) != tuple(shells):
            raise UserError(
                f"the {symbol} atoms of the PySCF molecule have different bases; a store needs one per element"
            )
    return LabelBasis(elements)


def named_basis(symbols: Iterable[str], basis: str, pseudo: str | None) -> tuple[LabelBasis, dict[str, int]]:
    """A basis that PySCF knows by name, and how many electrons of each element its pseudopotential leaves.

    Raises:
        UserError: PySCF has no such basis or pseudopotential for one of the elements.
    """
    elements: dict[str, tuple[LabelShell, ...]] = {}
    valence: dict[str, int] = {}
    for symbol in sorted(set(symbols), key=lambda s: int(atomic_numbers[s])):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PySCF's advice to install more basis sets
                mol = gto.M(atom=[(symbol, (0, 0, 0))], basis=basis, pseudo=pseudo, spin=None, verbose=0)
        except (KeyError, RuntimeError, OSError) as error:
            raise UserError(f"PySCF has no basis '{basis}' with pseudopotential '{pseudo}' for {symbol}") from error
        elements |= label_basis(mol).elements
        valence[symbol] = int(mol.atom_charge(0))
    return LabelBasis(elements), valence


def ao_order(l_of_shells: Iterable[int]) -> NDArray[np.int64]:
    """Index [n_ao] that brings PySCF's rows into our order, ``ours = theirs[ao_order(...)]``.

    Args:
        l_of_shells: angular momentum of every contracted shell of the molecule in order.
    """
    order: list[int] = []
    for l in l_of_shells:
        order += [len(order) + i for i in (P_ORDER if l == 1 else range(2 * l + 1))]
    return np.array(order, dtype=np.int64)


def shell_l(basis: LabelBasis, numbers: NDArray[np.int64]) -> list[int]:
    """Angular momentum of every contracted shell of a structure with atomic numbers [n_atoms]."""
    return [shell.l for z in numbers for shell in basis.elements[chemical_symbols[z]]]


def without_checkpoint(mf: Any) -> Any:
    """The same calculation, its temporary checkpoint file closed and not written to."""
    mf.chkfile = None
    mf._chkfile.close()
    return mf


def orbital_record(mf: Any, structure: Structure) -> OrbitalRecord:
    """The occupied orbitals of a converged RKS, RHF, UKS or UHF calculation (of the latter spin up, then spin down).

    Signs are fixed by the largest coefficient of each orbital, so that a repeated calculation gives the same record.

    Args:
        mf: the calculation.
        structure: what it was made of, stored as it is: PySCF's coordinates went through Bohr and back.
    """
    coefficients, occupations, spins = side_by_side(np.asarray(mf.mo_coeff), np.asarray(mf.mo_occ))
    return OrbitalRecord(
        structure=structure,
        orbitals=with_fixed_signs(coefficients[ao_order(shell_l(label_basis(mf.mol), structure.numbers))]),
        occupations=occupations.astype(np.float32),
        energy=float(mf.e_tot),
        dipole=mf.dip_moment(unit="AU", verbose=0) * BOHR,
        spins=spins,
    )


def side_by_side(
    coefficients: NDArray[np.float64], occupations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8] | None]:
    """The occupied orbitals of both spins beside each other, spin up first, as a record holds them.

    Args:
        coefficients: [n_ao, n_mo], or [2, n_ao, n_mo] of spin up and down.
        occupations: [n_mo] or [2, n_mo]; of a restricted open shell 2, 1 and 0.

    Returns:
        Coefficients [n_ao, n_occupied], occupations [n_occupied], and spins [n_occupied] or None for a closed shell.
    """
    if coefficients.ndim == 2:
        if not ((occupations == 1).any() and np.isin(occupations, (0, 1, 2)).all()):
            return coefficients[:, occupations > 0], occupations[occupations > 0], None
        coefficients = np.stack([coefficients, coefficients])
        occupations = np.stack([occupations > 0, occupations > 1]).astype(np.float64)
    return both_spins(list(coefficients), list(occupations))


def both_spins(
    coefficients: Sequence[NDArray[np.float64]], occupations: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8]]:
    """``side_by_side`` for orbitals [n_ao, n_mo] and occupations [n_mo] of spin up, and others of spin down."""
    occupied = [c[:, n > 0] for c, n in zip(coefficients, occupations, strict=True)]
    spins = np.repeat(np.array([1, -1], dtype=np.int8), [c.shape[1] for c in occupied])
    return np.concatenate(occupied, axis=1), np.concatenate([n[n > 0] for n in occupations]), spins


def with_fixed_signs(orbitals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Orbitals [n_ao, n_occupied] in float32, the largest coefficient of each positive."""
    largest = orbitals[np.argmax(np.abs(orbitals), axis=0), np.arange(orbitals.shape[1])]
    return (orbitals * np.sign(largest)).astype(np.float32)


def electron_count(record: OrbitalRecord, basis: LabelBasis) -> float:
    """The analytic integral of an orbital record's density, Σ_i n_i C_iᵀ S C_i."""
    return float(record.occupations @ _norms(record, basis))


def unpaired_electrons(record: OrbitalRecord, basis: LabelBasis) -> float:
    """The analytic integral of an orbital record's spin density: electrons of spin up minus those of spin down."""
    return 0.0 if record.spins is None else float((record.spins * record.occupations) @ _norms(record, basis))


def _norms(record: OrbitalRecord, basis: LabelBasis) -> NDArray[np.float64]:
    """The integral of each occupied orbital's square [n_occupied]."""
    orbitals = record.orbitals.astype(np.float64)
    overlap = _integrals("int1e_ovlp_sph", record.structure, basis)
    norms: NDArray[np.float64] = (orbitals * (overlap @ orbitals)).sum(axis=0)
    return norms


def dipole(record: OrbitalRecord, manifest: Manifest) -> NDArray[np.float64]:
    """The analytic dipole of an orbital record, cores included, in e·Å [3], about the origin of the coordinates."""
    structure, orbitals = record.structure, record.orbitals.astype(np.float64)
    moments = _integrals("int1e_r_sph", structure, manifest.orbital_basis) * BOHR
    electronic = np.einsum("mi,i,xmn,ni->x", orbitals, record.occupations, moments, orbitals, optimize=True)
    cores = core_charges(structure, manifest.valence_electrons)
    result: NDArray[np.float64] = cores @ structure.positions - electronic
    return result


def _integrals(name: str, structure: Structure, basis: LabelBasis) -> NDArray[np.float64]:
    """One-electron integrals [..., n_ao, n_ao] in atomic units, rows and columns in our order.

    The tables of libcint are filled by hand, as ``gto.M`` would sort and normalise the shells again.
    """
    atoms, shells = [], []
    env = [0.0] * gto.PTR_ENV_START
    for z, position in zip(structure.numbers, structure.positions / BOHR, strict=True):
        atoms.append([int(z), len(env), gto.NUC_POINT, 0, 0, 0])
        env += position.tolist()
    for atom, z in enumerate(structure.numbers):
        for shell in basis.elements[chemical_symbols[z]]:
            n = len(shell.exponents)
            shells.append([atom, shell.l, n, 1, 0, len(env), len(env) + n, 0])
            env += (np.array(shell.exponents) * BOHR**2).tolist()
            env += (np.array(shell.weights) * BOHR ** (shell.l + 1.5)).tolist()
    order = ao_order(shell_l(basis, structure.numbers))
    integrals: NDArray[np.float64] = moleintor.getints(
        name, np.array(atoms, dtype=np.int32), np.array(shells, dtype=np.int32), np.array(env)
    )
    return integrals[..., order[:, None], order]
