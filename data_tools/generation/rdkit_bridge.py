"""Molecules of SMILES, through RDKit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from orbdens.errors import UserError
from orbdens.formats.structures import read_structures
from orbdens.structure import Structure

APART = 2.0
"""Å along x between the molecules of a SMILES that holds several; RDKit may leave them on one spot."""


def find_molecule(source: str, seed: int = 0, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """The molecule of a file that ASE reads, or of a SMILES.

    Args:
        source: name of the file, or the SMILES.
        seed: seed of the first guess of coordinates for a SMILES.
        charge: in place of that of the file or SMILES.
        multiplicity: in place of that of the file or SMILES.

    Raises:
        UserError: neither, RDKit is missing, or the file holds several structures or a crystal.
    """
    if Path(source).exists():
        found = read_structures(Path(source))
        if len(found) != 1 or found[0].periodic:
            what = "a crystal" if len(found) == 1 else f"{len(found)} structures"
            raise UserError(f"expected one molecule in {source}, but it holds {what}")
        structure = found[0]
    else:
        structure = from_smiles(source, seed)
    return Structure(
        structure.numbers,
        structure.positions,
        charge=structure.charge if charge is None else charge,
        multiplicity=structure.multiplicity if multiplicity is None else multiplicity,
    )


def from_smiles(smiles: str, seed: int = 0) -> Structure:
    """Coordinates of a SMILES from RDKit and its force field; unpaired electrons have parallel spins.

    Several molecules in one SMILES lie side by side.

    Raises:
        UserError: it is none, RDKit finds no coordinates, or is not installed.
    """
    Chem = import_rdkit(f"there is no file {smiles}, and to read a SMILES")
    from rdkit.Chem import AllChem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise UserError(f"'{smiles}' is neither a file nor a SMILES")
    molecule = Chem.AddHs(molecule)
    if AllChem.EmbedMolecule(molecule, randomSeed=seed) != 0:
        raise UserError(f"RDKit finds no coordinates for '{smiles}'")
    if AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule)
    positions = np.array(molecule.GetConformer().GetPositions())
    for before, part in pairwise(list(atoms) for atoms in Chem.GetMolFrags(molecule)):
        positions[part] += positions[before].mean(axis=0) - positions[part].mean(axis=0)
        positions[part, 0] += positions[before, 0].max() + APART - positions[part, 0].min()
    return Structure(
        np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()]),
        positions,
        charge=Chem.GetFormalCharge(molecule),
        multiplicity=1 + sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()),
    )


def import_rdkit(purpose: str) -> Any:
    """``rdkit.Chem``, which complains by errors and not on the screen.

    Raises:
        UserError: it is not installed; ``purpose`` begins the sentence.
    """
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        raise UserError(f"{purpose} takes RDKit: pip install 'orbdens[geometries]'") from None
    RDLogger.DisableLog("rdApp.*")
    return Chem
