"""``density.npz``, a density at the points of a quadrature in atomic units, as denspart and horton-part take it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_input
from orbdens.formats.npz import parse_npz, write_npz
from orbdens.structure import Structure
from orbdens.units import BOHR


def write_quadrature(
    path: Path,
    structure: Structure,
    points: NDArray[np.float64],
    volumes: NDArray[np.float64],
    density: NDArray[np.float64],
) -> None:
    """Write ``points``, ``weights``, ``density``, ``atnums`` and ``atcoords``, in Bohr and e/Bohr³.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        points: Å [n_points, 3].
        volumes: Å³ [n_points].
        density: of all electrons, e/Å³ [n_points].

    Raises:
        UserError: the file cannot be written.
    """
    write_npz(
        path,
        points=points / BOHR,
        weights=volumes / BOHR**3,
        density=density * BOHR**3,
        atnums=structure.numbers,
        atcoords=structure.positions / BOHR,
    )


def read_quadrature(
    path: Path,
) -> tuple[Structure, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The atoms, points in Å [n_points, 3], volumes in Å³ [n_points] and density in e/Å³ [n_points] of such a file.

    Raises:
        UserError: no such file, or it lacks an array, or one has a wrong shape.
    """
    check_input(path)
    with path.open("rb") as handle:
        return parse_quadrature(handle, str(path), path.stat().st_size)


def parse_quadrature(
    handle: BinaryIO, place: str, size: int
) -> tuple[Structure, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """As ``read_quadrature``, of an open file of ``size`` bytes, which messages call ``place``.

    Its ``cellvecs`` [3, 3], if there, are the vectors of a cell that the structure repeats along all of them.

    Raises:
        UserError: as ``read_quadrature``.
    """
    needed = {"points": "f", "weights": "f", "density": "f", "atnums": "iuf", "atcoords": "f"}
    arrays = parse_npz(handle, place, size, needed, optional={"cellvecs": "f"})
    points, numbers, cell = arrays["points"], arrays["atnums"], arrays.get("cellvecs")
    n, n_atoms = len(np.atleast_1d(arrays["weights"])), len(np.atleast_1d(numbers))
    if points.shape != (n, 3) or arrays["weights"].shape != (n,) or arrays["density"].shape != (n,):
        raise UserError(f"points [n, 3], weights [n] and density [n] of {place} do not go together")
    if numbers.shape != (n_atoms,) or arrays["atcoords"].shape != (n_atoms, 3):
        raise UserError(f"atnums [n] and atcoords [n, 3] of {place} do not go together")
    if cell is not None and cell.shape not in ((0, 3), (3, 3)):
        raise UserError(f"cellvecs of {place} has shape {cell.shape}, expected (3, 3)")
    periodic = cell is not None and len(cell) == 3
    structure = Structure(
        numbers.astype(np.int64),
        arrays["atcoords"] * BOHR,
        cell=cell * BOHR if cell is not None and periodic else None,
        pbc=(periodic, periodic, periodic),
    )
    return structure, points * BOHR, arrays["weights"] * BOHR**3, arrays["density"] / BOHR**3
