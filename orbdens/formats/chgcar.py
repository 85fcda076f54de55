"""CHGCAR files of VASP: density times cell volume, x fastest, points (i/nx, j/ny, k/nz) without end points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TextIO

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.formats.text import Text, quoted
from orbdens.grid import Grid, Values
from orbdens.structure import Structure

PER_LINE = 5

MOST_ATOMS = 1_000_000

TAIL = 1 << 20
"""Bytes that may follow a grid beside those of the atoms, ``TAIL_OF_ATOM`` each: one-centre occupancies and moments."""

TAIL_OF_ATOM = 1 << 16


def write_chgcar(
    path: Path,
    structure: Structure,
    grid: Grid,
    values: Values,
    spin_values: Values | None = None,
) -> None:
    """Write a density, and its spin density as the second grid, whole or not at all.

    The cell is the box that the grid fills, and its corner the first point, so that atoms are moved with the grid's
    origin. Atoms keep their order; neighbours of one element share a column of the header. There are no augmentation
    occupancies, so VASP itself cannot start from the file.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        grid: where the values are; without end points (``Grid.without_end_points``), for the box repeats.
        values: e/Å³, of the grid's shape, or its slabs along the last axis, written as they come.
        spin_values: density of up minus density of down electrons, likewise; None leaves it out.

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
                _write_grid(file, grid, part, volume)


def _write_grid(file: TextIO, grid: Grid, values: Values, volume: float) -> None:
    """Write one grid plane by plane, which bounds the memory; lines go on across planes."""
    file.write("".join(f" {n:4d}" for n in grid.shape) + "\n")
    row = PER_LINE * " %17.10E" + "\n"
    left = np.empty(0)
    for plane in (part[:, :, k] for part in grid.parts(values, axis=2) for k in range(part.shape[2])):
        numbers = np.concatenate([left, plane.T.reshape(-1).astype(np.float64) * volume])
        whole = len(numbers) - len(numbers) % PER_LINE
        for line in numbers[:whole].reshape(-1, PER_LINE).tolist():
            file.write(row % tuple(line))
        left = numbers[whole:]
    if len(left):
        file.write("".join(f" {x:17.10E}" for x in left) + "\n")


def parse_chgcar(
    text: Text, elements: Sequence[str] = ()
) -> tuple[Structure, Grid, NDArray[np.floating], NDArray[np.floating] | None]:
    """The density of a CHGCAR and, of a calculation with spin (ISPIN 2), the spin density.

    The occupancies within the PAW spheres are skipped, and so are the three components of the magnetisation of a
    non-collinear calculation.

    Args:
        text: the file from its first line on.
        elements: those of the kinds of atoms in the file, in order, where it does not name them (VASP 4) or names
            them wrong.

    Returns:
        The crystal without a charge, which the file does not tell; the grid of its cell; and both densities in e/Å³ of
        the grid's shape, float32.

    Raises:
        UserError: with the line at which the file is not what it should be.
    """
    structure = _structure(text, elements)
    assert structure.cell is not None
    volume = abs(float(np.linalg.det(structure.cell)))
    shape = _shape(text)
    values = text.grid(shape, volume, x_fastest=True)
    grids = [values, *_further_grids(text, shape, volume, structure.n_atoms)]
    spin = grids[1] if len(grids) == 2 else None
    if spin is not None:
        unpaired = round(abs(float(spin.sum(dtype=np.float64)) * volume / spin.size))
        structure = replace(structure, multiplicity=1 + unpaired)
    return structure, Grid(np.zeros(3), structure.cell / np.array(shape)[:, None], shape), values, spin


def _structure(text: Text, elements: Sequence[str]) -> Structure:
    text.needed("comment")
    scale = np.array(text.floats("the scale of the cell, one number or three", 1, 3))
    cell = np.array([text.floats("a lattice vector of three numbers", 3) for _ in range(3)])
    volume = abs(np.linalg.det(cell))
    if not volume > 0:
        raise text.wrong("the three lattice vectors span no volume")
    if len(scale) == 2 or scale[0] == 0 or (len(scale) == 3 and (scale <= 0).any()):
        raise text.wrong("expected one scale that is not zero, or three above zero, in line 2")
    if scale[0] < 0:  # the volume of the cell
        scale = np.cbrt(-scale / volume)
    cell = cell * scale
    symbols, counts = _species(text, elements)
    numbers = np.repeat([atomic_numbers[symbol] for symbol in symbols], counts)
    mode = text.needed("line Direct or Cartesian").strip()
    if mode[:1] in "Ss" and mode:
        mode = text.needed("line Direct or Cartesian").strip()
    if not mode or mode[0] not in "DdCcKk":
        raise text.wrong(f"expected Direct or Cartesian, but found {quoted(mode)}")
    rows = [text.floats(f"the coordinates of atom {i + 1} of {len(numbers)}", 3) for i in range(len(numbers))]
    positions = np.array(rows) * scale if mode[0] in "CcKk" else np.array(rows) @ cell
    return Structure(numbers, positions, cell, (True, True, True))


def _species(text: Text, elements: Sequence[str]) -> tuple[list[str], list[int]]:
    line = text.needed("element symbols")
    words = line.split()
    if words and all(word.isdecimal() for word in words):
        if not elements:
            raise text.wrong(
                f"expected element symbols, but found {quoted(line)}, as VASP 4 wrote; --elements C,O,H names them"
            )
        symbols = list(elements)
    else:
        # a potential may follow: Ti_sv, or Ti_sv/0123abcd
        named = [word.replace("/", "_").split("_")[0] for word in words]
        symbols = list(elements) if elements else named
        unknown = [symbol for symbol in symbols if symbol not in atomic_numbers or symbol == "X"]
        if unknown or not words:
            raise text.wrong(f"expected element symbols, but found {quoted(line)}")
        line = text.needed("numbers of atoms")
        words = line.split()
    counts = [int(word) for word in words if word.isdecimal() and len(word) < 9]
    if len(counts) != len(words) or not counts or min(counts) < 1 or sum(counts) > MOST_ATOMS:
        raise text.wrong(f"expected the number of atoms of each element, but found {quoted(line)}")
    if len(counts) != len(symbols):
        raise text.wrong(f"expected as many numbers of atoms as elements ({' '.join(symbols)}), found {quoted(line)}")
    return symbols, counts


def _shape(text: Text) -> tuple[int, int, int]:
    line = ""
    while not line.strip():
        line = text.needed("numbers of grid points")
    shape = _three(line)
    if shape is None:
        raise text.wrong(f"expected three numbers of grid points after the atoms, but found {quoted(line)}")
    return shape


def _three(line: str) -> tuple[int, int, int] | None:
    words = line.split()
    if len(words) != 3 or not all(word.isdecimal() and len(word) < 9 for word in words):
        return None
    return int(words[0]), int(words[1]), int(words[2])


def _further_grids(text: Text, shape: tuple[int, int, int], volume: float, n_atoms: int) -> list[NDArray[np.floating]]:
    """The grids after the first, of the same shape: one of spin, three of a non-collinear magnetisation, or none."""
    grids: list[NDArray[np.floating]] = []
    rest: str | None = text.rest_of_line()
    if rest:
        raise text.wrong(f"expected the end of the grid, but found {quoted(rest)}; does it say its size wrong?")
    while True:
        left = TAIL + TAIL_OF_ATOM * n_atoms
        first = True
        while (line := text.line()) is not None and _three(line) is None:
            left -= len(line)
            if first and line.strip() and not _may_follow(line):
                raise text.wrong(f"expected the end of the grid, but found {quoted(line)}; does it say its size wrong?")
            first = first and not line.strip()
            if left < 0:
                raise text.wrong(f"expected the end of the file within {TAIL + TAIL_OF_ATOM * n_atoms} bytes of a grid")
        if line is None:
            return grids
        if _three(line) != shape or len(grids) == 3:
            raise text.wrong(f"expected a further grid of {' x '.join(map(str, shape))}, but found {quoted(line)}")
        grids.append(text.grid(shape, volume, x_fastest=True))
        rest = text.rest_of_line()
        if rest:
            raise text.wrong(f"expected the end of the grid, but found {quoted(rest)}")


def _may_follow(line: str) -> bool:
    return line.split()[0].startswith("augmentation")
