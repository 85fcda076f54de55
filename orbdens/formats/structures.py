"""Structures from any file that ASE reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orbdens.errors import UserError
from orbdens.files import check_input, written_whole
from orbdens.formats import DENSITY_ENDINGS, read_head
from orbdens.formats.molfile import read_molfile
from orbdens.structure import Structure

if TYPE_CHECKING:
    import ase


TRUTH_VALUES = ("T", "F", "true", "false", "True", "False", "TRUE", "FALSE")
"""Texts that ASE reads in the comment of an extended xyz file as True or False."""


def read_structures(path: Path) -> list[Structure]:
    """As ``iter_structures``, all at once."""
    return list(iter_structures(path))


def iter_structures(path: Path) -> Iterator[Structure]:
    """All structures of any file ASE reads (xyz, POSCAR, cif, traj, cube, ...), of SD files and of densities in HDF5.

    They come one after the other; of formats that ASE reads frame by frame, xyz among them, no more than two frames
    are in memory at a time.

    Total charge and multiplicity come from ``charge`` and ``multiplicity`` in the frame's info (extended xyz), or from
    the formal charges (and radicals) of the atoms in SDF, MOL and PDB files.

    Raises:
        UserError: no such file, a format nobody knows, a frame that cannot be read or computed, or no frame at all.
    """
    check_input(path)
    if path.name.lower().endswith(DENSITY_ENDINGS):
        yield read_head(path)[0].check(str(path))
        return
    frames = _frames(path)
    first = list(islice(frames, 2))
    if not first:
        raise UserError(f"{path} holds no structure")
    for number, atoms in enumerate(chain(first, frames), start=1):
        where = str(path) if len(first) == 1 else f"{path}, structure {number}"
        try:
            structure = Structure.from_ase(atoms)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        yield structure.check(where)


def _frames(path: Path) -> Iterator[ase.Atoms]:
    """What ``path`` holds, with the formal charges of formats that have any as ``charge`` in ``info``."""
    import ase.io
    from ase.io.formats import filetype

    try:
        kind = filetype(str(path))
        if kind in ("sdf", "mol"):
            yield from read_molfile(path)
            return
        frames = ase.io.iread(path, index=":", do_not_split_by_at_sign=True)
        if kind != "proteindatabank":
            yield from frames
            return
        atoms = [frame for frame in frames if len(frame)]  # ASE sees an empty one between ENDMDL and END
        for frame, charge in zip(atoms, _charges_of_pdb(path), strict=True):
            frame.info["charge"] = charge
            yield frame
    except UserError:
        raise
    except Exception as error:  # every format has its own parser, and these raise whatever comes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"ASE cannot read structures from {path}: {reason}") from error


def _charges_of_pdb(path: Path) -> list[int]:
    """The sum of the formal charges in columns 79 and 80 of every model of a PDB file; blank ones are zero.

    Models end where ASE takes them to end.
    """
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as file:
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    charges: list[int] = []
    total: int | None = None
    for line in [*lines, "END"]:
        if line.startswith(("ATOM", "HETATM")):
            match = re.fullmatch(r"(\d)([+-])|([+-])(\d)", line[78:80])
            total = (total or 0) + (int((match[2] or match[3]) + (match[1] or match[4])) if match else 0)
        elif line.startswith("END") and total is not None:
            charges.append(total)
            total = None
    return charges


def write_structure(path: Path, structure: Structure, **info: str) -> None:
    """Write an extended xyz file of one molecule (Å; charge, multiplicity and ``info`` in its comment).

    Raises:
        UserError: the file cannot be written.
    """
    from ase import Atoms

    atoms = Atoms(structure.numbers, structure.positions)
    atoms.info = {"charge": structure.charge, "multiplicity": structure.multiplicity, **info}
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        write_frame(file, atoms)


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
