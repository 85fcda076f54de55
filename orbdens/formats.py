"""Files in and out: structures through ASE, Gaussian cube files, npz. The only place with foreign units."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.structure import Structure
from orbdens.units import BOHR

if TYPE_CHECKING:
    import ase

CUBE_SUFFIXES = (".cube", ".cub")


def check_output(path: Path, force: bool) -> None:
    """Make sure, before any work, that ``path`` can be written; creates the folder it lies in.

    Raises:
        UserError: it exists and ``force`` is off, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise UserError(f"expected a file to write, but {path} is a folder")
    if path.exists() and not force:
        raise UserError(f"{path} exists; --force replaces it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"cannot write to the folder {path.parent}: {_reason(error)}") from None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; it takes the final name if the block ends well, and vanishes if not.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_reason(error)}") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def read_structures(path: Path) -> list[Structure]:
    """All structures of any file ASE reads (xyz, POSCAR, cif, traj, cube, ...).

    Total charge and multiplicity come from ``charge`` and ``multiplicity`` in the frame's info (extended xyz).

    Raises:
        UserError: no such file, a format nobody knows, a frame that cannot be read or computed, or no frame at all.
    """
    _check_input(path)
    if path.suffix.lower() in CUBE_SUFFIXES:
        return [read_cube(path)[0].check(str(path))]
    import ase.io

    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # every format has its own parser, and these raise whatever comes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"ASE cannot read structures from {path}: {reason}") from error
    if not frames:
        raise UserError(f"{path} holds no structure")
    structures = []
    for number, atoms in enumerate(frames, start=1):
        where = str(path) if len(frames) == 1 else f"{path}, structure {number}"
        structures.append(_from_frame(atoms, where))
    return structures


def _from_frame(atoms: ase.Atoms, where: str) -> Structure:
    for name, lowest in (("charge", -np.inf), ("multiplicity", 1)):
        value = atoms.info.get(name, 1)
        if not isinstance(value, int | float | np.integer | np.floating) or value % 1 != 0 or value < lowest:
            raise UserError(f"{where}: expected a whole number as {name}, but got {value}")
    return Structure.from_ase(atoms).check(where)


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
        for line in (values * BOHR**3).reshape(-1, grid.shape[2]).tolist():
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
    _check_input(path)
    try:
        with path.open(encoding="utf-8") as file:
            return _parse_cube(file)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is not a complete cube file of one density: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {_reason(error)}") from None


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


def write_npz(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write arrays (orbdens units) to a compressed npz file without pickles, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_points(path: Path) -> NDArray[np.float64]:
    """Points in Å [n_points, 3] from an npy file.

    Raises:
        UserError: no such file, or not an array of finite numbers of that shape.
    """
    _check_input(path)
    try:
        points = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise UserError(f"cannot read an array of numbers from {path}: {error}") from None
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UserError(f"expected finite points [n_points, 3] in {path}, but got an array of shape {points.shape}")
    return points


def _check_input(path: Path) -> None:
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if path.is_dir():
        raise UserError(f"expected a file, but {path} is a folder")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
