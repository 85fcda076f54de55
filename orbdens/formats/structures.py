"""Structures from any file that ASE reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbdens.errors import UserError
from orbdens.files import check_input
from orbdens.formats.cube import CUBE_SUFFIXES, read_cube
from orbdens.structure import Structure

if TYPE_CHECKING:
    import ase


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
        frames = ase.io.read(path, index=":")
    except Exception as error:  # every format has its own parser, and these raise whatever comes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"ASE cannot read structures from {path}: {reason}") from error
    if not frames:
        raise UserError(f"{path} holds no structure")
    structures = []
    for number, atoms in enumerate(frames, start=1):
        where = str(path) if len(frames) == 1 else f"{path}, structure {number}"
        structures.append(_from_frame(atoms, where))
    return structures


def _from_frame(atoms: ase.Atoms, where: str) -> Structure:
    for name, lowest in (("charge", -np.inf), ("multiplicity", 1)):
        value = atoms.info.get(name, 1)
        if not isinstance(value, int | float | np.integer | np.floating) or value % 1 != 0 or value < lowest:
            raise UserError(f"{where}: expected a whole number as {name}, but got {value}")
    return Structure.from_ase(atoms).check(where)
