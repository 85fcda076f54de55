"""Which program wrote a file of orbitals."""

from __future__ import annotations

from typing import Literal

HDF5 = b"\x89HDF\r\n\x1a\n"


BEGINNING = 4096
"""Bytes of a file that tell its kind."""

LARGEST = 1 << 28
"""Bytes of one file."""


OfIodata = Literal["molden", "fchk", "wfn", "wfx"]
"""Kinds that iodata reads, by its names."""


def kind_of_orbitals(beginning: bytes) -> OfIodata | Literal["checkpoint"] | None:
    """Which program's file begins so; None for none that is known."""
    if beginning.startswith(HDF5):
        return "checkpoint"
    if beginning.lstrip().lower().startswith(b"[molden format]"):
        return "molden"
    if b"<Title>" in beginning and not beginning.lstrip().startswith(b"<?"):
        return "wfx"
    if b"MOL ORBITALS" in beginning and b"PRIMITIVES" in beginning:
        return "wfn"
    return "fchk" if b"Number of electrons" in beginning else None
