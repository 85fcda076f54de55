"""Least-squares refinement of a crystal's atoms by cctbx (the extra ``xray``), with spherical atoms or with a table.

Positions and displacements of all ordered atoms are refined against F², with weights 1/σ²: anisotropic for heavier
atoms, isotropic for hydrogen, which rides on its neighbour where reflections are few. Atoms of disordered parts stay
where the file has them, and so do all occupancies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
    # A process of its own, because cctbx crashes where torch was loaded before it.
    command = [sys.executable, "-m", "orbdens.crystals.by_cctbx"]
    asked = {"crystal": plain(crystal), "reflections": plain(reflections), "cycles": cycles}
    text = json.dumps(asked | {"table": None if table is None else str(table)})
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"cctbx ended with {done.returncode}: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    if "mistake" in answer:
        raise UserError(answer["mistake"])
    return Refinement(crystal=crystal_of(answer.pop("crystal")), **answer)


def plain(record: Crystal | Reflections | Refinement) -> dict[str, Any]:
    """The fields of a record as JSON knows them."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: plain(value) if isinstance(value, Crystal) else value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def crystal_of(values: dict[str, Any]) -> Crystal:
    """The crystal of ``plain``."""
    names = {"labels", "assemblies"}
    arrays = {name: np.array(value) for name, value in values.items() if isinstance(value, list) and name not in names}
    return Crystal(**values | arrays | {name: tuple(values[name]) for name in names})


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
