"""Structures from any file that ASE reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orbdens.errors import UserError
from orbdens.files import check_input
from orbdens.formats.cube import CUBE_SUFFIXES, read_cube
from orbdens.structure import Structure

if TYPE_CHECKING:
    import ase


TRUTH_VALUES = ("T", "F", "true", "false", "True", "False", "TRUE", "FALSE")
"""Texts that ASE reads in the comment of an extended xyz file as True or False."""


def read_structures(path: Path) -> list[Structure]:
    """All structures of any file ASE reads (xyz, POSCAR, cif, traj, cube, ...).

    Total charge and multiplicity come from ``charge`` and ``multiplicity`` in the frame's info (extended xyz).

    Raises:
        UserError: no such file, a format nobody knows, a frame that cannot be read or computed, or no frame at all.
    """
    check_input(path)
    if path.suffix.lower() in CUBE_SUFFIXES:
        return [read_cube(path)[0].check(str(path))]
    import ase.io

    try:
        frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True)
    except Exception as error:  # every format has its own parser, and these raise whatever comes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"ASE cannot read structures from {path}: {reason}") from error
    if not frames:
        raise UserError(f"{path} holds no structure")
    structures = []
    for number, atoms in enumerate(frames, start=1):
        where = str(path) if len(frames) == 1 else f"{path}, structure {number}"
        try:
            structure = Structure.from_ase(atoms)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        structures.append(structure.check(where))
    return structures


def write_frame(file: TextIO, atoms: ase.Atoms) -> None:
    """Add a frame to an extended xyz file: elements, positions in Å, momenta if there are any, and ``info``.

    ASE reads a text such as F, the SMILES of hydrogen fluoride, as a truth value; such texts are written as JSON, from
    which ASE makes texts again.
    """
    from ase.io.extxyz import write_xyz

    frame = atoms.copy()
    frame.info = {
        name: f'_JSON "{value}"' if isinstance(value, str) and value in TRUTH_VALUES else value
        for name, value in atoms.info.items()
    }
    write_xyz(file, [frame], columns=["symbols", "positions", *(["momenta"] if frame.has("momenta") else [])])
