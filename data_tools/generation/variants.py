"""New molecules that differ from known ones by small changes, to widen a training set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.generation.rdkit_bridge import import_rdkit
from orbdens.errors import UserError

ELEMENTS = (6, 7, 8, 9)
"""Atomic numbers that a variant may hold beside that of hydrogen."""

UNLIKELY = (
    "[r3,r4,r5,r6,r7]#*",  # alkynes and allenes in small rings
    "[r3,r4,r5,r6,r7]=*=[r3,r4,r5,r6,r7]",
    "[x3,x4;!a]=*",  # double bonds at bridgeheads
    "[O,F]-[O,F]",
    "F-N",
    "[N,O;!a]~[N,O;!a]~[N,O;!a]",
    "[R3]~[R3]~[R3]",  # cages
)
"""Patterns too unstable for a training set, after the rules of GDB-17 (J. Chem. Inf. Model. 52, 2864, 2012)."""

MAX_FAILURES = 1000
"""Changes that fail one after the other before variants are taken to be exhausted."""


def read_smiles(path: Path) -> list[str]:
    """The first word of every line of a file that holds any.

    Raises:
        UserError: the file cannot be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"cannot read SMILES from {path}: {reason.lower()}") from None
    found = [line.split()[0] for line in lines if line.strip()]
    if not found:
        raise UserError(f"{path} holds no SMILES")
    return found


def canonical(smiles: str) -> str:
    """The canonical SMILES without stereochemistry, by which molecules are told apart.

    Raises:
        UserError: it is no SMILES, or RDKit is not installed.
    """
    chem = _rdkit()
    molecule = chem.MolFromSmiles(smiles)
    if molecule is None:
        raise UserError(f"'{smiles}' is no SMILES")
    return str(chem.MolToSmiles(molecule, isomericSmiles=False))


def variants(known: Iterable[str], largest: int, seed: int = 0) -> Iterator[str]:
    """Neutral closed-shell molecules that differ from known ones, or from earlier variants, by one change.

    A change puts another element in an atom's place, changes the order of a bond, adds or takes away an atom, or closes
    a ring. Half of them begin at a known molecule, so that variants stay near them.

    Args:
        known: SMILES; none of them comes back.
        largest: number of heavy atoms of a variant.
        seed: seed of the random changes.

    Yields:
        Canonical SMILES without stereochemistry, each once; ends when no new one is found.
    """
    begin = sorted({canonical(smiles) for smiles in known})
    seen, made = set(begin), list(begin)
    rng = np.random.default_rng(seed)
    failures = 0
    while failures < MAX_FAILURES:
        pool = begin if rng.random() < 0.5 else made
        smiles = _changed(pool[rng.integers(len(pool))], largest, rng)
        if smiles is None or smiles in seen:
            failures += 1
            continue
        failures = 0
        seen.add(smiles)
        made.append(smiles)
        yield smiles


def _changed(smiles: str, largest: int, rng: np.random.Generator) -> str | None:
    """A molecule after one random change, or None where chemistry forbids it."""
    chem = _rdkit()
    molecule = chem.RWMol(chem.MolFromSmiles(smiles))
    chem.Kekulize(molecule, clearAromaticFlags=True)
    n, bonds = molecule.GetNumAtoms(), molecule.GetNumBonds()
    one, two = (int(i) for i in rng.integers(n, size=2))
    element = int(rng.choice(ELEMENTS))
    change = rng.integers(5)
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
    else:
        return None
    for atom in molecule.GetAtoms():  # hydrogens fill up what is left
        atom.SetNumExplicitHs(0)
        atom.SetNoImplicit(False)
    if chem.SanitizeMol(molecule, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE:
        return None
    if any(atom.GetNumRadicalElectrons() or atom.GetFormalCharge() for atom in molecule.GetAtoms()):
        return None
    if any(molecule.HasSubstructMatch(chem.MolFromSmarts(pattern)) for pattern in UNLIKELY):
        return None
    return str(chem.MolToSmiles(molecule, isomericSmiles=False))


def _orders() -> Any:
    bond = _rdkit().BondType
    return bond.SINGLE, bond.DOUBLE, bond.TRIPLE


def _rdkit() -> Any:
    return import_rdkit("to read a SMILES")
