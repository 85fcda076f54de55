"""New molecules that differ from known ones by small changes, to widen a training set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from orbdens.errors import UserError
from orbdens.formats.smiles import import_rdkit

ELEMENTS = ("C", "N", "O", "F")
"""Elements that a variant may hold beside hydrogen, unless others are asked for."""

UNLIKELY = (
    "[r3,r4,r5,r6,r7]#*",  # alkynes and allenes in small rings
    "[r3,r4,r5,r6,r7]=*=[r3,r4,r5,r6,r7]",
    "[x3,x4;!a]=*",  # double bonds at bridgeheads
    "[O,F,Cl]-[O,F,Cl]",
    "[F,Cl]-N",
    "[N,O;!a]~[N,O;!a]~[N,O;!a]",
    "[R3]~[R3]~[R3]",  # cages
    "[Sv4,Sv6,Pv5;!$(*=[N,O,S])]",  # more than the usual bonds only where oxidised
    "[Sv4,Sv6;!H0]",
    "[Pv5;H2,H3]",
    "[Sv4;D2]",  # sulfines
    "[Pv3;!a]=[*;!$([C,N])]",
    "S#*",
    "P#[*;!#6]",
    "[Sv2]=[!#6]",
    "[#6,F,Cl;+,-]",  # charge sits on N, O, S or P
    "[O+,P-,$([S-;D2,D3])]",
    "[S+,P+]=*",
    "[+]~[N,O,S,P;!a]",  # and not beside a lone pair
    "[-][CX4][F,Cl]",
)
"""Patterns too unstable for a training set, after the rules of GDB-17 (J. Chem. Inf. Model. 52, 2864, 2012); those of
S, P, Cl and ions are this project's."""

MAX_FAILURES = 1000
"""Changes that fail one after the other before variants are taken to be exhausted."""


def read_smiles(path: Path) -> list[str]:
    """The first word of every line of a file that holds any; lines that begin with # are comments.

    Raises:
        UserError: the file cannot be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"cannot read SMILES from {path}: {reason.lower()}") from None
    found = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise UserError(f"{path} holds no SMILES")
    return found


def canonical(smiles: str) -> str:
    """The canonical SMILES without stereochemistry, by which molecules are told apart.

    Raises:
        UserError: it is no SMILES, or RDKit is not installed.
    """
    return str(_rdkit().MolToSmiles(_molecule(smiles), isomericSmiles=False))


def skeleton(smiles: str) -> str:
    """The first block of the InChIKey without charges: ions, stereoisomers and most tautomers of a molecule share it.

    Raises:
        UserError: it is no SMILES, or RDKit is not installed.
    """
    chem, molecule = _rdkit(), _molecule(smiles)
    from rdkit.Chem.MolStandardize.rdMolStandardize import Uncharger

    return str(chem.MolToInchiKey(Uncharger(force=True).uncharge(molecule))).partition("-")[0]


def charge_of(smiles: str) -> int:
    """The total charge of a SMILES, e."""
    return int(_rdkit().GetFormalCharge(_molecule(smiles)))


def variants(
    known: Iterable[str],
    largest: int,
    seed: int = 0,
    *,
    elements: Sequence[str] = ELEMENTS,
    charges: Collection[int] = (0,),
) -> Iterator[str]:
    """Closed-shell molecules and ions that differ from known ones, or from earlier variants, by one change.

    A change puts another element in an atom's place, changes the order of a bond, adds or takes away an atom, closes a
    ring, or, where ions are asked for, adds or takes away a proton. Half of them begin at a known molecule, so that
    variants stay near them. No variant holds charges of both signs.

    Args:
        known: SMILES; none of them comes back.
        largest: number of heavy atoms of a variant.
        seed: seed of the random changes.
        elements: symbols of those that changes put in; what a known molecule holds of others stays.
        charges: total charges of variants, e.

    Yields:
        Canonical SMILES without stereochemistry, each once; ends when no new one is found.
    """
    begin = sorted({canonical(smiles) for smiles in known})
    seen, made = set(begin), list(begin)
    passed = range(min(0, *charges), max(0, *charges) + 1)  # charges on the way to those asked for
    numbers = [atomic_numbers[symbol] for symbol in elements]
    rng = np.random.default_rng(seed)
    failures = 0
    while failures < MAX_FAILURES:
        pool = begin if rng.random() < 0.5 else made
        smiles = _changed(pool[rng.integers(len(pool))], largest, numbers, passed, rng)
        if smiles is None or smiles in seen:
            failures += 1
            continue
        seen.add(smiles)
        made.append(smiles)
        if charge_of(smiles) not in charges:
            failures += 1
            continue
        failures = 0
        yield smiles


def _changed(
    smiles: str, largest: int, elements: Sequence[int], charges: range, rng: np.random.Generator
) -> str | None:
    """A molecule after one random change, or None where chemistry forbids it."""
    chem = _rdkit()
    molecule = chem.RWMol(chem.MolFromSmiles(smiles))
    chem.Kekulize(molecule, clearAromaticFlags=True)
    n, bonds = molecule.GetNumAtoms(), molecule.GetNumBonds()
    one, two = (int(i) for i in rng.integers(n, size=2))
    element = int(rng.choice(elements))
    change = rng.integers(6 if len(charges) > 1 else 5)
    if change == 0:
        molecule.GetAtomWithIdx(one).SetAtomicNum(element)
    elif change == 1 and bonds:
        molecule.GetBondWithIdx(int(rng.integers(bonds))).SetBondType(_orders()[rng.integers(3)])
    elif change == 2 and n < largest:
        molecule.AddBond(one, molecule.AddAtom(chem.Atom(element)), _orders()[rng.integers(3)])
    elif change == 3 and molecule.GetAtomWithIdx(one).GetDegree() == 1:
        molecule.RemoveAtom(one)
    elif change == 4 and one != two and molecule.GetBondBetweenAtoms(one, two) is None:
        molecule.AddBond(one, two, _orders()[0])
    elif change == 5:
        atom = molecule.GetAtomWithIdx(one)
        atom.SetFormalCharge(atom.GetFormalCharge() + (1 if rng.random() < 0.5 else -1))
    else:
        return None
    for atom in molecule.GetAtoms():  # hydrogens fill up what is left
        atom.SetNumExplicitHs(0)
        atom.SetNoImplicit(False)
    if chem.SanitizeMol(molecule, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE:
        return None
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return None
    formal = [atom.GetFormalCharge() for atom in molecule.GetAtoms()]
    if sum(formal) not in charges or sum(map(abs, formal)) != abs(sum(formal)):
        return None
    if any(molecule.HasSubstructMatch(chem.MolFromSmarts(pattern)) for pattern in UNLIKELY):
        return None
    return str(chem.MolToSmiles(molecule, isomericSmiles=False))


def _molecule(smiles: str) -> Any:
    molecule = _rdkit().MolFromSmiles(smiles)
    if molecule is None:
        raise UserError(f"'{smiles}' is no SMILES")
    return molecule


def _orders() -> Any:
    bond = _rdkit().BondType
    return bond.SINGLE, bond.DOUBLE, bond.TRIPLE


def _rdkit() -> Any:
    return import_rdkit("to read a SMILES")
