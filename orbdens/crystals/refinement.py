"""Least-squares refinement of a crystal's atoms by cctbx (the extra ``xray``), with spherical atoms or with a table.

Positions and displacements of all ordered atoms are refined against F², with weights 1/σ²: anisotropic for heavier
atoms, isotropic for hydrogen. Atoms of disordered parts stay where the file has them, and so do all occupancies.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.crystal import Crystal
from orbdens.crystals.molecules import molecules
from orbdens.errors import UserError
from orbdens.formats.hkl import Reflections

STRONG = 2.0
"""R1 is over reflections with F² above so many times its uncertainty, as crystallographers report it."""

CYCLES = 30


@dataclass(frozen=True, eq=False)
class Refinement:
    """How well a crystal's atoms explain its reflections, and the refined crystal.

    Attributes:
        crystal: with the refined positions and displacements.
        r1: Σ||Fo| − |Fc|| / Σ|Fo| over strong reflections, in %.
        wr2: √(Σw(Fo² − Fc²)² / ΣwFo⁴) over all, in %.
        goodness_of_fit: √(Σw(Fo² − Fc²)² / (reflections − parameters)).
        n_reflections: unique ones.
        n_strong: those in R1.
        n_parameters: refined.
    """

    crystal: Crystal
    r1: float
    wr2: float
    goodness_of_fit: float
    n_reflections: int
    n_strong: int
    n_parameters: int


def check_cctbx() -> None:
    """UserError unless cctbx is there."""
    if find_spec("smtbx") is None:
        raise UserError("refinement needs cctbx, which is not installed: pip install 'orbdens[xray]' or cctbx-base")


def refine(crystal: Crystal, reflections: Reflections, table: Path | None = None, cycles: int = CYCLES) -> Refinement:
    """Refine a crystal, or with 0 cycles only compare it with the reflections.

    Args:
        crystal: where to start.
        reflections: measured; equivalent ones are averaged.
        table: form factors as ``write_tsc`` writes them; None for cctbx's own spherical atoms.
        cycles: at most.

    Raises:
        UserError: cctbx is not there, too few reflections, or the refinement fails.
    """
    check_cctbx()
    # A process of its own, because cctbx crashes where torch is loaded already.
    command = [sys.executable, "-m", "orbdens.crystals.by_cctbx"]
    asked = pickle.dumps((crystal, reflections, table, cycles))
    done = subprocess.run(command, input=asked, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"cctbx ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    found: Refinement | str = pickle.loads(done.stdout)
    if isinstance(found, str):
        raise UserError(found)
    return found


def neighbours(crystal: Crystal) -> dict[int, int]:
    """The nearest heavier atom of each hydrogen atom, rows in the crystal's list."""
    found: dict[int, int] = {}
    for molecule in molecules(crystal):
        heavy = np.flatnonzero(molecule.structure.numbers > 1)
        if not len(heavy):
            continue
        for member in np.flatnonzero((molecule.structure.numbers == 1) & molecule.originals).tolist():
            away = molecule.structure.positions[heavy] - molecule.structure.positions[member]
            nearest = heavy[np.linalg.norm(away, axis=1).argmin()]
            found[int(molecule.atoms[member])] = int(molecule.atoms[nearest])
    return found


def hydrogen_bond_lengths(crystal: Crystal) -> list[tuple[str, str, float]]:
    """Lengths in Å of the bonds of ordered hydrogen atoms: labels of the heavier atom and of the hydrogen, length."""
    found = []
    for hydrogen, heavy in sorted(neighbours(crystal).items()):
        if not crystal.disordered[hydrogen]:
            shift = crystal.fractions[hydrogen] - crystal.fractions[heavy]
            length = float(np.linalg.norm(shift @ crystal.cell))
            found.append((crystal.labels[heavy], crystal.labels[hydrogen], length))
    return found


def mean_length(bonds: list[tuple[str, str, float]], crystal: Crystal, z: int = 6) -> float | None:
    """Mean length in Å of the bonds of one element among them; None if there are none."""
    numbers: dict[str, NDArray[np.int64]] = dict(zip(crystal.labels, crystal.numbers, strict=True))
    lengths = [length for heavy, _, length in bonds if numbers[heavy] == z]
    return float(np.mean(lengths)) if lengths else None
