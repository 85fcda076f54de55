"""CHGCAR files as VASP writes them: density times cell volume, x fastest, points (i/nx, j/ny, k/nz) without end."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from orbdens.files import written_whole
from orbdens.structure import Structure

PER_LINE = 5


def write_chgcar(
    path: Path,
    structure: Structure,
    cell: NDArray[np.float64],
    values: NDArray[Any],
    spin_values: NDArray[Any] | None = None,
) -> None:
    """Write a density in a cell, and its spin density as the second grid, whole or not at all.

    Atoms keep their order; neighbours of one element share a column of the header. There are no augmentation
    occupancies, so VASP itself cannot start from the file.

    Args:
        path: replaced if it exists.
        structure: positions from the corner of the cell at which the first point is.
        cell: lattice vectors as rows, Å [3, 3].
        values: e/Å³ [nx, ny, nz].
        spin_values: density of up minus density of down electrons, e/Å³ [nx, ny, nz].

    Raises:
        UserError: the file cannot be written.
    """
    runs = [(chemical_symbols[z], len(list(atoms))) for z, atoms in groupby(structure.numbers)]
    volume = abs(float(np.linalg.det(cell)))
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"{structure.formula}, electron density times volume, written by orbdens\n   1.00000000000000\n")
        for vector in cell:
            file.write("".join(f" {x:16.10f}" for x in vector) + "\n")
        file.write("".join(f" {symbol:>4}" for symbol, _ in runs) + "\n")
        file.write("".join(f" {count:4d}" for _, count in runs) + "\nDirect\n")
        for fractions in structure.positions @ np.linalg.inv(cell):
            file.write("".join(f" {x:13.10f}" for x in fractions) + "\n")
        file.write("\n")
        for grid in (values, spin_values):
            if grid is not None:
                _write_grid(file, grid.astype(np.float64) * volume)


def _write_grid(file: TextIO, values: NDArray[np.float64]) -> None:
    file.write("".join(f" {n:4d}" for n in values.shape) + "\n")
    row = PER_LINE * " %17.10E" + "\n"
    flat = values.transpose(2, 1, 0).reshape(-1)
    whole = len(flat) - len(flat) % PER_LINE
    for line in flat[:whole].reshape(-1, PER_LINE).tolist():
        file.write(row % tuple(line))
    if whole < len(flat):
        file.write("".join(f" {x:17.10E}" for x in flat[whole:]) + "\n")
