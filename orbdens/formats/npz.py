"""Arrays in numpy's own files, in the units of orbdens; never with pickles."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_input, written_whole
from orbdens.grid import Grid, Values
from orbdens.structure import Structure

LARGEST_RATIO = 100
"""An .npz file may unpack to so many times its size; real numbers do to about twice."""

ALWAYS_UNPACKED = 1 << 26
"""Bytes that any .npz file may unpack to."""


def write_density(
    path: Path,
    structure: Structure,
    grid: Grid,
    values: Values,
    spin_values: Values | None = None,
) -> None:
    """Write a density on a grid: ``numbers``, ``positions``, ``origin``, ``steps``, ``density``, ``spin_density``.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        grid: where the values are, in Å.
        values: e/Å³, of the grid's shape, or its slabs along the first axis, written as they come.
        spin_values: density of up minus density of down electrons, likewise; None leaves it out.

    Raises:
        UserError: the file cannot be written.
    """
    small = {"numbers": structure.numbers, "positions": structure.positions, "origin": grid.origin, "steps": grid.steps}
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        for name, given in (("density", values), ("spin_density", spin_values)):
            if given is not None:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    _write_parts(file, grid, given)


def _write_parts(file: IO[bytes], grid: Grid, values: Values) -> None:
    """Write values on a grid as they come, as numpy writes arrays."""
    parts = grid.parts(values)
    first = next(parts)
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": grid.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in chain([first], parts):
        file.write(np.ascontiguousarray(part).data)


def write_npz(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write arrays (orbdens units) to a compressed npz file without pickles, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_npz(path: Path, kinds: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file.

    Args:
        path: path of the file.
        kinds: names of the arrays wanted, and the kinds of numpy dtype that each may have, e.g. ``iu``.

    Raises:
        UserError: no such file, not a whole one, an array is missing, of another kind or not finite, or the file
            unpacks to far more than its size.
    """
    check_input(path)
    # opened here, as numpy leaves a file open that it cannot read
    with path.open("rb") as handle:
        return parse_npz(handle, str(path), path.stat().st_size, kinds)


def parse_npz(
    handle: BinaryIO, place: str, size: int, kinds: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> dict[str, NDArray[Any]]:
    """As ``read_npz``, of an open file of ``size`` bytes, which messages call ``place``.

    Args:
        handle: the file.
        place: names it.
        size: bytes.
        kinds: as in ``read_npz``.
        optional: likewise, of arrays that need not be there.

    Raises:
        UserError: as ``read_npz``.
    """
    try:
        file = np.load(handle, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{place} is a single array, not an .npz of several")
        missing = [name for name in kinds if name not in file]
        if missing:
            raise UserError(f"{place} lacks the array '{missing[0]}' (it needs {', '.join(kinds)})")
        assert file.zip is not None  # until the file is closed
        unpacked = sum(int(entry.file_size) for entry in file.zip.infolist())
        if unpacked > max(ALWAYS_UNPACKED, LARGEST_RATIO * size):
            raise UserError(f"{place} would unpack to {unpacked >> 20} MiB, which no real numbers do")
        kinds = {**kinds, **{name: kind for name, kind in (optional or {}).items() if name in file}}
        arrays = {name: file[name] for name in kinds}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, MemoryError) as error:
        raise UserError(f"{place} is not a whole .npz file: {_reason(error, 'a zip archive')}") from None
    for name, allowed in kinds.items():
        if arrays[name].dtype.kind not in allowed:
            raise UserError(f"array '{name}' of {place} is of type {arrays[name].dtype}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise UserError(f"array '{name}' of {place} holds numbers that are not finite")
    return arrays


def read_npy(path: Path) -> NDArray[Any]:
    """An array of real numbers of an .npy file, not read before it is used.

    Raises:
        UserError: no such file, or not a whole one.
    """
    check_input(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is not a whole .npy file of numbers: {_reason(error, 'one at all')}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UserError(f"{path} is not an .npy file of real numbers")
    return array


def read_points(path: Path) -> NDArray[np.float64]:
    """Points in Å [n_points, 3] from an npy file.

    Raises:
        UserError: no such file, or not an array of finite numbers of that shape.
    """
    points = np.asarray(read_npy(path), dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UserError(f"expected finite points [n_points, 3] in {path}, but got an array of shape {points.shape}")
    return points


def _reason(error: Exception, wanted: str) -> str:
    reason = " ".join(str(error).split())
    if "Object arrays" in reason:
        return "it holds Python objects, and pickles are never opened"
    if "pickle" in reason:  # what numpy takes every unknown file for
        return f"it is not {wanted}, and pickles are never opened"
    return reason
