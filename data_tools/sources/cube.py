"""Gaussian cube files of densities: plain, compressed, in tar archives; streamed from header to last value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_tools.sources.importing import Source
from data_tools.sources.reading import Reading, file_source
from data_tools.sources.text import Text, shown
from orbdens.store.records import GridRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

ENDINGS = (".cube", ".cub")

MOST_ATOMS = 1_000_000


def open_source(paths: Sequence[Path], reading: Reading) -> Source:
    """All cube files in files, folders and tar archives, each a record."""
    return file_source(
        paths, reading, "cube file", ENDINGS, {}, lambda member: read_cube_record(member.text(), reading.charge)
    )


def read_cube_record(text: Text, charge: int = 0) -> GridRecord:
    """The density of a cube file in float32; units and order as ``orbdens.formats.read_cube`` has them.

    Args:
        text: the file from its first line on.
        charge: of the molecule, which the file does not tell.

    Raises:
        UserError: with the line at which the file is not what it should be.
    """
    text.needed("first comment")
    text.needed("second comment")
    n_atoms, origin = _row(text, "the number of atoms and the origin", 5)
    if len(origin) == 4 and origin[3] != 1:
        raise text.wrong(f"expected one value per point, but found {origin[3]:g}")
    axes = [_row(text, f"the points along {axis} and a step of three numbers") for axis in "xyz"]
    counts = [count for count, _ in axes]
    if 0 in counts or len({count > 0 for count in counts}) > 1:
        raise text.wrong(f"expected three numbers of points of one sign, but found {counts}")
    if not 0 < abs(n_atoms) <= MOST_ATOMS:
        raise text.wrong(f"expected 1 to {MOST_ATOMS} atoms, but found {abs(n_atoms)}")
    unit = BOHR if counts[0] > 0 else 1.0
    atoms = [_row(text, f"element, charge and x, y, z of atom {i + 1} of {n_atoms}", 5) for i in range(abs(n_atoms))]
    numbers = np.array([z for z, _ in atoms])
    if not ((numbers > 0) & (numbers < 119)).all():
        raise text.wrong(f"expected atomic numbers from 1 to 118, but found {numbers.min()} to {numbers.max()}")
    positions = np.array([row[1:4] for _, row in atoms]) * unit
    if n_atoms < 0:
        line = text.needed("number of orbitals")
        if line.split()[:1] != ["1"]:
            raise text.wrong(f"expected the number of one orbital, but found {shown(line)}")
    shape = (abs(counts[0]), abs(counts[1]), abs(counts[2]))
    values = text.grid(shape, BOHR**3)
    rest: str | None = text.rest_of_line()
    while rest is not None:
        if rest.strip():
            raise text.wrong(f"expected the end of the grid of {shape}, but found {shown(rest)}")
        rest = text.line()
    structure = Structure(numbers, positions, charge=charge).check(text.place)
    steps = np.array([row[:3] for _, row in axes]) * unit
    return GridRecord(structure, np.array(origin[:3]) * unit, steps, values)


def _row(text: Text, what: str, fields: int = 4) -> tuple[int, list[float]]:
    """A whole number and the floats after it: ``fields`` numbers at most, and one less if the last may be missing."""
    least = 4 if what.startswith("the number") else fields
    first, *rest = text.floats(what, least, fields)
    if first % 1 or abs(first) > 2**31:
        raise text.wrong(f"expected {what}, but found {first:g}")
    return int(first), rest
