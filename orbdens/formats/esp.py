"""Electrostatic potentials at points as the programs that fit charges exchange them: Bohr and Hartree/e."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_input, written_whole
from orbdens.structure import Structure
from orbdens.units import BOHR


def write_esp(path: Path, structure: Structure, points: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Write a potential as AmberTools' resp reads it, whole or not at all.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        points: Å [n_points, 3].
        values: Hartree/e [n_points].

    Raises:
        UserError: the file cannot be written.
    """
    lines = [f"{structure.n_atoms:5d}{len(points):5d}{structure.charge:5d}"]
    lines += [" " * 16 + "".join(f"{x:16.7E}" for x in position) for position in structure.positions / BOHR]
    lines += [
        f"{value:16.7E}" + "".join(f"{x:16.7E}" for x in point)
        for value, point in zip(values, points / BOHR, strict=True)
    ]
    with written_whole(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_esp(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a potential as AmberTools has it, or the lines ``V x y z`` alone, as R.E.D. has them.

    Comments start with ``!`` or ``#``.

    Returns:
        Points in Å [n_points, 3] and values in Hartree/e [n_points].

    Raises:
        UserError: no such file, or with the line that is no potential at a point.
    """
    check_input(path)
    rows: list[list[float]] = []
    n_atoms, n_points = 0, None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no file of a potential: it is no text") from None
    for number, line in enumerate(lines, start=1):
        words = line.split("!")[0].split("#")[0].split()
        if not words:
            continue
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if n_points is None and not rows and len(numbers) in (2, 3) and all(x % 1 == 0 for x in numbers):
            n_atoms, n_points = int(numbers[0]), int(numbers[1])
        elif n_atoms > 0 and len(numbers) == 3:
            n_atoms -= 1
        elif len(numbers) == 4 and np.isfinite(numbers).all():
            rows.append(numbers)
        else:
            raise UserError(f"{path}, line {number}: expected a potential and x, y, z, but found '{line.strip()[:60]}'")
    if not rows or n_points not in (None, len(rows)):
        raise UserError(f"{path} holds the potential at {len(rows)} points, expected {n_points or 'some'}")
    table = np.array(rows)
    return table[:, 1:] * BOHR, table[:, 0]
