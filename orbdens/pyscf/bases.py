"""Bases of PySCF in Å: those of its molecules, those that it knows by name, and even-tempered ones for densities."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pyscf import gto
from pyscf.df.addons import aug_etb

from orbdens.errors import UserError
from orbdens.store.records import LabelBasis, LabelShell
from orbdens.units import BOHR


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
        mol = _atom(symbol, basis, pseudo)
        if mol is None:
            raise UserError(f"PySCF has no basis '{basis}' with pseudopotential '{pseudo}' for {symbol}")
        elements |= label_basis(mol).elements
        valence[symbol] = int(mol.atom_charge(0))
    return LabelBasis(elements), valence


def pseudo_for(basis: str, name: str | None) -> str | None:
    """A pseudopotential as users name it: ``none`` is None, and without a name a GTH basis has that of PBE."""
    if name is None:
        return "gth-pbe" if basis.lower().startswith("gth") else None
    return None if name.lower() == "none" else name


def even_tempered(symbol: str, source: str, beta: float) -> list[NDArray[np.float64]]:
    """Exponents in Å⁻² of even-tempered functions for the density of an atom, by PySCF's rule ``aug_etb``.

    For the products of two orbitals of the source basis that add up to l, the exponents run from the smallest sum to
    the largest.

    Args:
        symbol: symbol of the element.
        source: name of an orbital basis.
        beta: ratio of neighbouring exponents.

    Returns:
        For l = 0, 1, ... the exponents, ascending.

    Raises:
        UserError: PySCF has no such basis for the element.
    """
    mol = _atom(symbol, source)
    if mol is None:
        raise UserError(f"PySCF has no basis '{source}' for {symbol}")
    exponents: dict[int, list[float]] = {}
    for l, (exponent, _) in aug_etb(mol, beta)[symbol]:
        exponents.setdefault(l, []).append(exponent / BOHR**2)
    return [np.array(sorted(exponents[l])) for l in sorted(exponents)]


def _atom(symbol: str, basis: str, pseudo: str | None = None) -> Any:
    """A PySCF molecule of one atom; None if PySCF lacks the basis or the pseudopotential for it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PySCF's advice to install more basis sets
            return gto.M(atom=[(symbol, (0, 0, 0))], basis=basis, pseudo=pseudo, spin=None, verbose=0)
    except (KeyError, RuntimeError, OSError):
        return None
