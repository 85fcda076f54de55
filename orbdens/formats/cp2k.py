"""CP2K: its finest grid, and inputs that start from a density on it; cells in Å, cut-offs in Rydberg."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.grid import Grid
from orbdens.structure import Structure
from orbdens.units import BOHR

LENGTHS = """
    2 4 6 8 9 12 15 16 18 20 24 25 27 30 32 36 40 45 48 54 60 64 72 75 80 81 90 96 100 108 120 125 128 135 144 150 160
    162 180 192 200 216 225 240 243 256 270 288 300 320 324 360 375 384 400 405 432 450 480 486 500 512 540 576 600 625
    640 648 675 720 729 750 768 800 810 864 900 960 972 1000 1024
"""
"""Lengths of Fourier transforms that CP2K takes, unless EXTENDED_FFT_LENGTHS is set (its ``fftsg_get_lengths``)."""

Use = Literal["guess", "harris"]
USES: tuple[Use, ...] = ("guess", "harris")
"""What CP2K can do with a density: start an SCF from it, or take the energy of Harris' functional."""


def finest_grid(cell: NDArray[np.float64], cutoff: float) -> Grid:
    """The grid of CP2K's finest level: of a cell, for a plane-wave cut-off, with the default of all other keywords.

    Along a vector of length a it has the least number of points that CP2K can transform and that is at least
    2 ⌊a √E / 2π⌋ + 1, a in Bohr and E in Rydberg (its ``pw_grid_n_from_cutoff``).

    Args:
        cell: lattice vectors as rows, Å [3, 3].
        cutoff: MGRID's CUTOFF, Rydberg.

    Raises:
        UserError: the cell has no volume, the cut-off is not above 0, or CP2K has no grid so large.
    """
    if not abs(np.linalg.det(cell)) > 1e-6:
        raise UserError(f"expected a cell that has a volume, but got {np.asarray(cell).tolist()} Å")
    if not 0 < cutoff < np.inf:
        raise UserError(f"expected a cut-off above 0 Ry, but got {cutoff:g}")
    least = 2 * np.floor(np.linalg.norm(cell, axis=1) / BOHR * np.sqrt(cutoff) / (2 * np.pi)).astype(int) + 1
    allowed = np.array(LENGTHS.split(), dtype=int)
    if least.max() > allowed[-1]:
        raise UserError(
            f"a cut-off of {cutoff:g} Ry needs {least.max()} points along one vector of the cell, more than CP2K's "
            f"{allowed[-1]}"
        )
    counts = allowed[np.searchsorted(allowed, least)]
    return Grid(np.zeros(3), cell / counts[:, None], (int(counts[0]), int(counts[1]), int(counts[2])))


def write_input(
    path: Path,
    structure: Structure,
    cell: NDArray[np.float64],
    cutoff: float,
    cube: Path,
    use: Use,
) -> None:
    """Write an input of CP2K that reads the electron density of a cube file, whole or not at all.

    Args:
        path: replaced if it exists.
        structure: atoms, in Å, and charge; with closed shells.
        cell: lattice vectors as rows, Å [3, 3].
        cutoff: Rydberg; the cube is on the ``finest_grid`` of both.
        cube: the file; the input names it relative to itself.
        use: what CP2K does with it.

    Raises:
        UserError: the file cannot be written.
    """
    density = {
        "guess": ("    &SCF", "      SCF_GUESS EXTERNAL_DENSITY", f"      EXTERNAL_DENSITY_FILE_NAME {cube.name}"),
        "harris": (
            "    &HARRIS_METHOD ON",
            "      DENSITY_SOURCE CUBE",
            f"      FILE_DENSITY {cube.name}",
            "    &END HARRIS_METHOD",
            "    &SCF",
            "      SCF_GUESS NONE",
        ),
    }[use]
    lines = [
        "! Needs a CP2K of September 2026 or later (pull requests 5920 and 5959): spin-restricted, semilocal GPW.",
        f"! {cube.name} is on the finest grid of this CELL and CUTOFF; with others it is refused.",
        "&GLOBAL",
        f"  PROJECT {path.stem}",
        "  RUN_TYPE ENERGY",
        "&END GLOBAL",
        "&FORCE_EVAL",
        "  METHOD QUICKSTEP",
        "  &DFT",
        "    BASIS_SET_FILE_NAME BASIS_MOLOPT",
        "    POTENTIAL_FILE_NAME POTENTIAL",
        f"    CHARGE {structure.charge}",
        "    &MGRID",
        f"      CUTOFF {cutoff:g}",
        "      NGRIDS 1",
        "    &END MGRID",
        *density,
        "    &END SCF",
        "    &XC",
        "      &XC_FUNCTIONAL PBE",
        "      &END XC_FUNCTIONAL",
        "    &END XC",
        "  &END DFT",
        "  &SUBSYS",
        "    &CELL",
        *(f"      {name} {_numbers(vector)}" for name, vector in zip("ABC", cell, strict=True)),
        "      PERIODIC XYZ",
        "    &END CELL",
        "    &COORD",
        *(f"      {s} {_numbers(x)}" for s, x in zip(structure.symbols, structure.positions, strict=True)),
        "    &END COORD",
    ]
    for symbol in sorted(set(structure.symbols)):
        lines += [
            f"    &KIND {symbol}",
            "      BASIS_SET DZVP-MOLOPT-SR-GTH",
            "      POTENTIAL GTH-PBE",
            "    &END KIND",
        ]
    lines += ["  &END SUBSYS", "&END FORCE_EVAL"]
    with written_whole(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _numbers(vector: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.10f}" for x in vector)
