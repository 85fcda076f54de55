"""``density.npz``, a density at the points of a quadrature in atomic units, as denspart and horton-part take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.formats.npz import read_npz, write_npz
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
    arrays = read_npz(path, {"points": "f", "weights": "f", "density": "f", "atnums": "iuf", "atcoords": "f"})
    points, n = arrays["points"], len(arrays["points"])
    if points.shape != (n, 3) or arrays["weights"].shape != (n,) or arrays["density"].shape != (n,):
        raise UserError(f"points [n, 3], weights [n] and density [n] of {path} do not go together")
    structure = Structure(arrays["atnums"], arrays["atcoords"] * BOHR)
    return structure, points * BOHR, arrays["weights"] * BOHR**3, arrays["density"] / BOHR**3
