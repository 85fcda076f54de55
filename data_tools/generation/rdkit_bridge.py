"""One molecule, by the name of its file or by its SMILES."""

from __future__ import annotations

from pathlib import Path

from orbdens.errors import UserError
from orbdens.formats.smiles import from_smiles, import_rdkit
from orbdens.formats.structures import read_structures
from orbdens.structure import Structure


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
        Chem = import_rdkit(f"there is no file {source}, and to read a SMILES")
        if Chem.MolFromSmiles(source) is None:
            raise UserError(f"'{source}' is neither a file nor a SMILES")
        structure = from_smiles(source, seed)
    return Structure(
        structure.numbers,
        structure.positions,
        charge=structure.charge if charge is None else charge,
        multiplicity=structure.multiplicity if multiplicity is None else multiplicity,
    )
