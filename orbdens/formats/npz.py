"""Arrays in numpy's own files, in the units of orbdens; never with pickles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_input, written_whole
from orbdens.grid import Grid
from orbdens.structure import Structure


def write_density(
    path: Path,
    structure: Structure,
    grid: Grid,
    values: NDArray[np.floating],
    spin_values: NDArray[np.floating] | None = None,
) -> None:
    """Write a density on a grid: ``numbers``, ``positions``, ``origin``, ``steps``, ``density``, ``spin_density``.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        grid: where the values are, in Å.
        values: e/Å³, of the grid's shape.
        spin_values: density of up minus density of down electrons, e/Å³; None leaves it out.

    Raises:
        UserError: the file cannot be written.
    """
    arrays = {"origin": grid.origin, "steps": grid.steps, "density": values}
    if spin_values is not None:
        arrays["spin_density"] = spin_values
    write_npz(path, numbers=structure.numbers, positions=structure.positions, **arrays)


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
    check_input(path)
    try:
        points = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise UserError(f"cannot read an array of numbers from {path}: {error}") from None
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UserError(f"expected finite points [n_points, 3] in {path}, but got an array of shape {points.shape}")
    return points
