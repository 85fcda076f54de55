"""CHGCAR and CHG files of VASP: plain, compressed, in tar archives; streamed from header to last value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from data_tools.sources.importing import Source
from data_tools.sources.reading import Reading, file_source
from data_tools.sources.text import Text, shown
from orbdens.store.records import GridRecord
from orbdens.structure import Structure

ENDINGS = (".chgcar", "_chgcar", ".chg", ".vasp")
"""Of the names of such files, beside CHGCAR and CHG themselves."""

LEVEL = {"code": "VASP", "potential": "PAW"}

MOST_ATOMS = 1_000_000

TAIL = 1 << 20
"""Bytes that may follow a grid beside those of the atoms, ``TAIL_OF_ATOM`` each: one-centre occupancies and moments."""

TAIL_OF_ATOM = 1 << 16


def open_source(paths: Sequence[Path], reading: Reading) -> Source:
    """All CHGCAR files in files, folders and tar archives, each a record."""
    return file_source(
        paths,
        reading,
        "CHGCAR file",
        ENDINGS,
        LEVEL,
        lambda member: read_chgcar(member.text(), reading.elements, reading.charge),
    )


def read_chgcar(text: Text, elements: Sequence[str] = (), charge: int = 0) -> GridRecord:
    """The density of a CHGCAR, in float32; of a calculation with spin (ISPIN 2) also the spin density.

    The occupancies within the PAW spheres are skipped, and so are the three components of the magnetisation of a
    non-collinear calculation.

    Args:
        text: the file from its first line on.
        elements: of the kinds of atoms in the file, in order, where it does not name them (VASP 4) or names them wrong.
        charge: of the cell, which the file does not tell.

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
    unpaired = 0 if spin is None else round(abs(float(spin.sum(dtype=np.float64)) * volume / spin.size))
    structure = Structure(
        structure.numbers, structure.positions, structure.cell, structure.pbc, charge, multiplicity=1 + unpaired
    )
    steps = np.asarray(structure.cell, dtype=np.float64) / np.array(shape)[:, None]
    return GridRecord(structure.check(text.place), np.zeros(3), steps, values, spin)


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
        raise text.wrong(f"expected Direct or Cartesian, but found {shown(mode)}")
    rows = [text.floats(f"the coordinates of atom {i + 1} of {len(numbers)}", 3) for i in range(len(numbers))]
    positions = np.array(rows) * scale if mode[0] in "CcKk" else np.array(rows) @ cell
    return Structure(numbers, positions, cell, (True, True, True))


def _species(text: Text, elements: Sequence[str]) -> tuple[list[str], list[int]]:
    line = text.needed("element symbols")
    words = line.split()
    if words and all(word.isdecimal() for word in words):
        if not elements:
            raise text.wrong(
                f"expected element symbols, but found {shown(line)}, as VASP 4 wrote; --elements C,O,H names them"
            )
        symbols = list(elements)
    else:
        # a potential may follow: Ti_sv, or Ti_sv/0123abcd
        named = [word.replace("/", "_").split("_")[0] for word in words]
        symbols = list(elements) if elements else named
        unknown = [symbol for symbol in symbols if symbol not in atomic_numbers or symbol == "X"]
        if unknown or not words:
            raise text.wrong(f"expected element symbols, but found {shown(line)}")
        line = text.needed("numbers of atoms")
        words = line.split()
    counts = [int(word) for word in words if word.isdecimal() and len(word) < 9]
    if len(counts) != len(words) or not counts or min(counts) < 1 or sum(counts) > MOST_ATOMS:
        raise text.wrong(f"expected the number of atoms of each element, but found {shown(line)}")
    if len(counts) != len(symbols):
        raise text.wrong(f"expected as many numbers of atoms as elements ({' '.join(symbols)}), found {shown(line)}")
    return symbols, counts


def _shape(text: Text) -> tuple[int, int, int]:
    line = ""
    while not line.strip():
        line = text.needed("numbers of grid points")
    shape = _three(line)
    if shape is None:
        raise text.wrong(f"expected three numbers of grid points after the atoms, but found {shown(line)}")
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
        raise text.wrong(f"expected the end of the grid, but found {shown(rest)}; does it say its size wrong?")
    while True:
        left = TAIL + TAIL_OF_ATOM * n_atoms
        first = True
        while (line := text.line()) is not None and _three(line) is None:
            left -= len(line)
            if first and line.strip() and not _may_follow(line):
                raise text.wrong(f"expected the end of the grid, but found {shown(line)}; does it say its size wrong?")
            first = first and not line.strip()
            if left < 0:
                raise text.wrong(f"expected the end of the file within {TAIL + TAIL_OF_ATOM * n_atoms} bytes of a grid")
        if line is None:
            return grids
        if _three(line) != shape or len(grids) == 3:
            raise text.wrong(f"expected a further grid of {' x '.join(map(str, shape))}, but found {shown(line)}")
        grids.append(text.grid(shape, volume, x_fastest=True))
        rest = text.rest_of_line()
        if rest:
            raise text.wrong(f"expected the end of the grid, but found {shown(rest)}")


def _may_follow(line: str) -> bool:
    return line.split()[0].startswith("augmentation")
