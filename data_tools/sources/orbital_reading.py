"""One file of orbitals of any program, read and checked."""

from __future__ import annotations

from pathlib import Path

from data_tools.sources.orbital_content import OrbitalContent, checked
from data_tools.sources.orbital_kinds import BEGINNING, kind_of_orbitals
from data_tools.sources.pyscf_checkpoint import read_checkpoint
from data_tools.sources.wave_functions import read_wave_function
from orbdens.errors import UserError


def read_orbital_file(path: Path, charge: int | None = None) -> OrbitalContent:
    """Read a PySCF checkpoint, Molden, fchk, wfn or wfx file; which of them is told by its content.

    Args:
        path: path of the file.
        charge: that a Molden, wfn or wfx file must have, which need not tell it; without it one that lacks some of its
            orbitals may pass for an ion.

    Raises:
        UserError: no such file, none of these, damaged, periodic orbitals, orbitals that do not hold
            their electrons, or a package is missing.
    """
    try:
        return read_orbitals(path.read_bytes(), str(path), charge)
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def read_orbitals(data: bytes, place: str, charge: int | None = None) -> OrbitalContent:
    """As ``read_orbital_file``, of the bytes of a file that messages call ``place``."""
    kind = kind_of_orbitals(data[:BEGINNING])
    if kind == "checkpoint":
        return checked(read_checkpoint(data, place), place)
    if kind is not None:
        # a formatted checkpoint tells its charge
        return checked(read_wave_function(data, place, kind, None if kind == "fchk" else charge), place)
    if not data:
        raise UserError(f"{place} is empty")
    hint = "; formchk makes a formatted one of a Gaussian checkpoint" if place.endswith(".chk") else ""
    raise UserError(f"{place} is no PySCF checkpoint, Molden, fchk, wfn or wfx file{hint}")
