"""Gaussian cube files: Bohr and e/Bohr³, z fastest."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from orbdens.files import written_whole
from orbdens.formats.text import Text, opened_text, quoted
from orbdens.grid import Grid, Values
from orbdens.structure import Structure
from orbdens.units import BOHR

CUBE_SUFFIXES = (".cube", ".cub")

CHUNK = 100_000
"""Values that are turned into text at once, which bounds the memory."""

MOST_ATOMS = 1_000_000


def write_cube(path: Path, structure: Structure, grid: Grid, values: Values) -> None:
    """Write a Gaussian cube file (lengths in Bohr, values in e/Bohr³, z fastest), whole or not at all.

    Args:
        path: replaced if it exists.
        structure: its atoms go into the header.
        grid: where the values are.
        values: density in e/Å³, of the grid's shape, or its slabs along the first axis, written as they come.

    Raises:
        UserError: the file cannot be written.
    """
    titles = (
        f"Electron density of {structure.formula} written by orbdens",
        "Lengths in Bohr, density in e/Bohr^3, z fastest",
    )
    _write(path, structure, grid, values, titles, BOHR**3)


def write_potential_cube(path: Path, structure: Structure, grid: Grid, values: Values) -> None:
    """Write an electrostatic potential in Hartree/e as a cube file; else as ``write_cube``."""
    titles = (
        f"Electrostatic potential of {structure.formula} written by orbdens",
        "Lengths in Bohr, potential in Hartree/e, z fastest",
    )
    _write(path, structure, grid, values, titles, 1.0)


def write_nci_cubes(
    dens: Path,
    grad: Path,
    structure: Structure,
    grid: Grid,
    signed_density: NDArray[np.floating],
    reduced_gradient: NDArray[np.floating],
) -> None:
    """Write the two cube files of non-covalent interactions that NCIPLOT writes and its scripts for VMD expect.

    Args:
        dens: gets 100 times the density with the sign of λ2, in e/Bohr³.
        grad: gets the reduced density gradient.
        structure: its atoms go into the headers.
        grid: where the values are.
        signed_density: sign(λ2)ρ in e/Å³, of the grid's shape.
        reduced_gradient: of the grid's shape.

    Raises:
        UserError: a file cannot be written.
    """
    lengths = "Lengths in Bohr, z fastest"
    for path, values, what, unit in (
        (dens, signed_density, "100 sign(lambda2) density in e/Bohr^3", 100 * BOHR**3),
        (grad, reduced_gradient, "Reduced density gradient", 1.0),
    ):
        _write(path, structure, grid, values, (f"{what} of {structure.formula} written by orbdens", lengths), unit)


def _write(
    path: Path,
    structure: Structure,
    grid: Grid,
    values: Values,
    titles: tuple[str, str],
    unit: float,
) -> None:
    """A cube file of values times a unit."""
    row = "".join("%13.5E" + ("\n" if k % 6 == 5 else "") for k in range(grid.shape[2])).rstrip("\n") + "\n"
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("".join(f"{title}\n" for title in titles))
        _write_row(file, structure.n_atoms, grid.origin / BOHR)
        for n, step in zip(grid.shape, grid.steps / BOHR, strict=True):
            _write_row(file, n, step)
        for z, position in zip(structure.numbers, structure.positions / BOHR, strict=True):
            _write_row(file, int(z), np.array([z, *position]))
        step = max(1, CHUNK // grid.shape[2])
        for part in grid.parts(values):
            lines = part.reshape(-1, grid.shape[2])
            for start in range(0, len(lines), step):
                for line in (lines[start : start + step] * unit).tolist():
                    file.write(row % tuple(line))


def _write_row(file: TextIO, count: int, lengths: NDArray[np.float64]) -> None:
    file.write(f"{count:5d}" + "".join(f" {x:13.8f}" for x in lengths) + "\n")


def read_cube(path: Path) -> tuple[Structure, Grid, NDArray[np.floating]]:
    """Read a Gaussian cube file of one density, compressed or not.

    Returns:
        As ``parse_cube``, in float64.

    Raises:
        UserError: no such file, or with the line at which the file is not what it should be.
    """
    with opened_text(path) as text:
        return parse_cube(text, np.float64)


def read_cube_head(path: Path) -> tuple[Structure, Grid]:
    """As ``read_cube``, without reading the values."""
    with opened_text(path) as text:
        return _head(text)


def parse_cube(text: Text, dtype: type[np.floating]) -> tuple[Structure, Grid, NDArray[np.floating]]:
    """The density of a cube file.

    A negative number of points along an axis says that lengths are in Å, a positive one in Bohr; values are per Bohr³.
    The origin is honoured, and an orbital line after the atoms (number of atoms negative) is skipped.

    Args:
        text: the file from its first line on.
        dtype: type of the values, float32 or float64.

    Returns:
        The atoms as a molecule (a cube file knows no periodicity), the grid, and e/Å³ of the grid's shape.

    Raises:
        UserError: with the line at which the file is not what it should be.
    """
    structure, grid = _head(text)
    values = text.grid(grid.shape, BOHR**3, dtype=dtype)
    rest: str | None = text.rest_of_line()
    while rest is not None:
        if rest.strip():
            raise text.wrong(f"expected the end of the grid of {grid.shape}, but found {quoted(rest)}")
        rest = text.line()
    return structure, grid, values


def _head(text: Text) -> tuple[Structure, Grid]:
    text.needed("first comment")
    text.needed("second comment")
    n_atoms, origin = _read_row(text, "the number of atoms and the origin", 4, 5)
    if len(origin) == 4 and origin[3] != 1:
        raise text.wrong(f"expected one value per point, but found {origin[3]:g}")
    axes = [_read_row(text, f"the points along {axis} and a step of three numbers", 4) for axis in "xyz"]
    counts = [count for count, _ in axes]
    if 0 in counts or len({count > 0 for count in counts}) > 1:
        raise text.wrong(f"expected three numbers of points of one sign, but found {counts}")
    if not 0 < abs(n_atoms) <= MOST_ATOMS:
        raise text.wrong(f"expected 1 to {MOST_ATOMS} atoms, but found {abs(n_atoms)}")
    unit = BOHR if counts[0] > 0 else 1.0
    atoms = [
        _read_row(text, f"element, charge and x, y, z of atom {i + 1} of {abs(n_atoms)}", 5)
        for i in range(abs(n_atoms))
    ]
    if n_atoms < 0:
        line = text.needed("number of orbitals")
        if line.split()[:1] != ["1"]:
            raise text.wrong(f"expected the number of one orbital, but found {quoted(line)}")
    numbers = np.array([z for z, _ in atoms])
    if not ((numbers >= 0) & (numbers < 119)).all():  # 0 is a ghost atom
        raise text.wrong(f"expected atomic numbers from 1 to 118, but found {numbers.min()} to {numbers.max()}")
    structure = Structure(numbers, np.array([row[1:4] for _, row in atoms]) * unit)
    shape = (abs(counts[0]), abs(counts[1]), abs(counts[2]))
    return structure, Grid(np.array(origin[:3]) * unit, np.array([step for _, step in axes]) * unit, shape)


def _read_row(text: Text, what: str, least: int, most: int | None = None) -> tuple[int, list[float]]:
    """A whole number and the floats after it: so many numbers in all."""
    first, *rest = text.floats(what, least, most)
    if first % 1 or abs(first) > 2**31:
        raise text.wrong(f"expected {what}, but found {first:g}")
    return int(first), rest
