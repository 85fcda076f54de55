"""CHGCAR files of VASP: density times cell volume, x fastest, points (i/nx, j/ny, k/nz) without end points."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TextIO

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.grid import Grid
from orbdens.structure import Structure

PER_LINE = 5


def write_chgcar(
    path: Path,
    structure: Structure,
    grid: Grid,
    values: NDArray[np.floating],
    spin_values: NDArray[np.floating] | None = None,
) -> None:
    """Write a density, and its spin density as the second grid, whole or not at all.

    The cell is the box that the grid fills, and its corner the first point, so that atoms are moved with the grid's
    origin. Atoms keep their order; neighbours of one element share a column of the header. There are no augmentation
    occupancies, so VASP itself cannot start from the file.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        grid: where the values are; without end points (``Grid.without_end_points``), for the box repeats.
        values: e/Å³, of the grid's shape.
        spin_values: density of up minus density of down electrons, e/Å³; None leaves it out.

    Raises:
        UserError: the file cannot be written, or the grid does not fill the structure's cell.
    """
    cell = grid.steps * np.array(grid.shape)[:, None]
    repeats = np.array(structure.pbc)
    if structure.cell is not None and not np.allclose(cell[repeats], structure.cell[repeats], atol=1e-4):
        raise UserError("its grid does not fill its cell, as that of a CHGCAR does")
    runs = [(chemical_symbols[z], len(list(atoms))) for z, atoms in groupby(structure.numbers)]
    volume = abs(float(np.linalg.det(cell)))
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"{structure.formula}, electron density times volume, written by orbdens\n   1.00000000000000\n")
        for vector in cell:
            file.write("".join(f" {x:16.10f}" for x in vector) + "\n")
        file.write("".join(f" {symbol:>4}" for symbol, _ in runs) + "\n")
        file.write("".join(f" {count:4d}" for _, count in runs) + "\nDirect\n")
        for fractions in (structure.positions - grid.origin) @ np.linalg.inv(cell):
            file.write("".join(f" {x:13.10f}" for x in fractions) + "\n")
        file.write("\n")
        for part in (values, spin_values):
            if part is not None:
                _write_grid(file, part, volume)


def _write_grid(file: TextIO, values: NDArray[np.floating], volume: float) -> None:
    """Write one grid plane by plane, which bounds the memory; lines go on across planes."""
    file.write("".join(f" {n:4d}" for n in values.shape) + "\n")
    row = PER_LINE * " %17.10E" + "\n"
    left = np.empty(0)
    for k in range(values.shape[2]):
        numbers = np.concatenate([left, values[:, :, k].T.reshape(-1).astype(np.float64) * volume])
        whole = len(numbers) - len(numbers) % PER_LINE
        for line in numbers[:whole].reshape(-1, PER_LINE).tolist():
            file.write(row % tuple(line))
        left = numbers[whole:]
    if len(left):
        file.write("".join(f" {x:17.10E}" for x in left) + "\n")
