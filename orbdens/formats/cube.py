"""Gaussian cube files: Bohr and e/Bohr³, z fastest."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_input, reason, written_whole
from orbdens.grid import Grid
from orbdens.structure import Structure
from orbdens.units import BOHR

CUBE_SUFFIXES = (".cube", ".cub")

CHUNK = 100_000
"""Values that are turned into text at once, which bounds the memory."""


def write_cube(path: Path, structure: Structure, grid: Grid, values: NDArray[np.floating]) -> None:
    """Write a Gaussian cube file (lengths in Bohr, values in e/Bohr³, z fastest), whole or not at all.

    Args:
        path: replaced if it exists.
        structure: its atoms go into the header.
        grid: where the values are.
        values: density in e/Å³, of the grid's shape.

    Raises:
        UserError: the file cannot be written.
    """
    if values.shape != grid.shape:
        raise ValueError(f"values of shape {values.shape} on a grid of shape {grid.shape}")
    row = "".join("%13.5E" + ("\n" if k % 6 == 5 else "") for k in range(grid.shape[2])).rstrip("\n") + "\n"
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"Electron density of {structure.formula} written by orbdens\n")
        file.write("Lengths in Bohr, density in e/Bohr^3, z fastest\n")
        _write_row(file, structure.n_atoms, grid.origin / BOHR)
        for n, step in zip(grid.shape, grid.steps / BOHR, strict=True):
            _write_row(file, n, step)
        for z, position in zip(structure.numbers, structure.positions / BOHR, strict=True):
            _write_row(file, int(z), np.array([z, *position]))
        lines = values.reshape(-1, grid.shape[2])
        step = max(1, CHUNK // grid.shape[2])
        for start in range(0, len(lines), step):
            for line in (lines[start : start + step] * BOHR**3).tolist():
                file.write(row % tuple(line))


def _write_row(file: TextIO, count: int, lengths: NDArray[np.float64]) -> None:
    file.write(f"{count:5d}" + "".join(f" {x:13.8f}" for x in lengths) + "\n")


def read_cube(path: Path) -> tuple[Structure, Grid, NDArray[np.float64]]:
    """Read a Gaussian cube file of one density.

    A negative number of points along an axis says that lengths are in Å, a positive one in Bohr; values are per Bohr³.
    The origin is honoured, and an orbital line after the atoms (number of atoms negative) is skipped.

    Returns:
        The atoms as a molecule (a cube file knows no periodicity), the grid, and e/Å³ of the grid's shape.

    Raises:
        UserError: no such file, or no complete cube file of one density.
    """
    check_input(path)
    try:
        with path.open(encoding="utf-8") as file:
            return _parse_cube(file)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is not a complete cube file of one density: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from None


def _parse_cube(file: TextIO) -> tuple[Structure, Grid, NDArray[np.float64]]:
    for _ in range(2):
        file.readline()
    n_atoms, origin, extra = _read_row(file, "number of atoms and origin")
    if extra and extra[0] != 1:
        raise ValueError(f"it holds {extra[0]:g} values per point")
    axes = [_read_row(file, f"grid axis {axis}") for axis in "xyz"]
    counts = [count for count, _, _ in axes]
    if 0 in counts or len({count > 0 for count in counts}) > 1:
        raise ValueError(f"the numbers of points {counts} are zero or differ in sign")
    unit = BOHR if counts[0] > 0 else 1.0
    numbers, positions = [], []
    for atom in range(abs(n_atoms)):
        z, (_, x, y), rest = _read_row(file, f"atom {atom + 1}")
        numbers.append(z)
        positions.append([x, y, *rest[:1]])
    text = file.read().split()
    if n_atoms < 0:
        if int(text[0]) != 1:
            raise ValueError(f"it holds {int(text[0])} orbitals")
        text = text[2:]
    shape = (abs(counts[0]), abs(counts[1]), abs(counts[2]))
    if len(text) != np.prod(shape):
        raise ValueError(f"expected {np.prod(shape)} values, but it holds {len(text)}")
    values = np.array(text, dtype=np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise ValueError("some values are not finite")
    structure = Structure(np.array(numbers), np.array(positions).reshape(-1, 3) * unit)
    return structure, Grid(origin * unit, np.stack([step for _, step, _ in axes]) * unit, shape), values / BOHR**3


def _read_row(file: TextIO, what: str) -> tuple[int, NDArray[np.float64], list[float]]:
    fields = file.readline().split()
    if len(fields) < 4:
        raise ValueError(f"expected the line with {what}, but it has {len(fields)} fields")
    return int(fields[0]), np.array(fields[1:4], dtype=np.float64), [float(x) for x in fields[4:]]
