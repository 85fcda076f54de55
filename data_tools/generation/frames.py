"""Frames of geometries: what is written of one, and what an interrupted run has left."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.extxyz import read_xyz
from numpy.typing import NDArray

from orbdens.errors import UserError

DIGITS = 8
"""Decimals of positions and momenta in the file; a run goes on from what is written, so that a resumed one is equal."""


def whole_frames(part: Path, n_atoms: int, name: str) -> tuple[int, int, Atoms | None]:
    """Bytes and number of the whole frames of an unfinished file, and the last; a kill may have cut one off.

    Raises:
        UserError: they are of another run.
    """
    lines = part.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    done = len(lines) // (n_atoms + 2)
    lines = lines[: done * (n_atoms + 2)]
    if done == 0:
        return 0, 0, None
    if f"sampling={name}" not in lines[1]:
        raise UserError(f"{part} cannot be resumed: it is of another molecule or was begun with other options")
    last = next(iter(read_xyz(io.StringIO("".join(lines[-(n_atoms + 2) :])), index=slice(None))))
    return len("".join(lines).encode()), done, last


def without_calculator(atoms: Atoms) -> Atoms:
    """The atoms without calculator and constraints."""
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def as_written(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers as they will be read from the file."""
    return np.char.mod(f"%.{DIGITS}f", values).astype(np.float64)
