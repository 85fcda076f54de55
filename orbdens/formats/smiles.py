"""Molecules of SMILES, through RDKit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from orbdens.errors import UserError
from orbdens.structure import Structure

APART = 2.0
"""Å along x between the molecules of a SMILES that holds several; RDKit may leave them on one spot."""


def from_smiles(smiles: str, seed: int = 0) -> Structure:
    """Coordinates of a SMILES from RDKit and its force field; unpaired electrons have parallel spins.

    Several molecules in one SMILES lie side by side.

    Raises:
        UserError: it is none, RDKit finds no coordinates, or is not installed.
    """
    Chem = import_rdkit("to read a SMILES")
    from rdkit.Chem import AllChem

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise UserError(f"'{smiles}' is no SMILES")
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
