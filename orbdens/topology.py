"""The verb topology: critical points of densities, and the cube files of their non-covalent interactions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbdens.evaluation.tables import Table
from orbdens.files import check_output
from orbdens.grid import Grid
from orbdens.metrics import SPACING
from orbdens.observables.critical_points import CriticalPoint, Topology, critical_points
from orbdens.observables.interactions import write_interactions
from orbdens.progress import Progress, silent
from orbdens.properties import Source
from orbdens.structure import Structure

MARGIN = 2.0
"""Å around the atoms on the cubes of interactions, as NCIPLOT has it."""


@dataclass(frozen=True)
class Interactions:
    """Where the cubes of interactions go, NAME-dens.cube and NAME-grad.cube.

    Attributes:
        folder: theirs.
        spacing: Å.
        force: replace files that exist.
    """

    folder: Path = Path()
    spacing: float = SPACING / 2
    force: bool = False

    def paths(self, name: str) -> tuple[Path, Path]:
        """The two files of a structure."""
        return self.folder / f"{name}-dens.cube", self.folder / f"{name}-grad.cube"


@dataclass(frozen=True)
class Found:
    """What was found of one structure.

    Attributes:
        name: of the file or record.
        topology: its critical points.
        expected_error: NMAE in % of a predicted density, where the model can tell.
        cubes: files that were written.
    """

    name: str
    topology: Topology
    expected_error: float | None
    cubes: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers: Å, e/Å³, e/Å⁵; atoms are counted from 0."""
        topology = self.topology
        return {
            "name": self.name,
            "formula": topology.structure.formula,
            "elements": topology.structure.symbols,
            "charge": topology.structure.charge,
            "expected_error": self.expected_error,
            "counts": topology.counts,
            "poincare_hopf": topology.poincare_hopf,
            "missing_nuclei": topology.missing_nuclei,
            "critical_points": [point.to_json() for point in topology.points],
        }


def topologies(source: Source, cubes: Interactions | None = None, progress: Progress = silent) -> Iterator[Found]:
    """Critical points of every structure, and the cubes of its interactions where they are asked for.

    Raises:
        UserError: as ``predicted`` and ``critical_points``, or a cube cannot be written.
    """
    named = source.densities()
    if cubes is not None:
        for name, _ in named:
            for path in cubes.paths(name):
                check_output(path, cubes.force)
    for done, (name, density) in enumerate(named, start=1):
        found = critical_points(density)
        written: tuple[Path, ...] = ()
        if cubes is not None:
            written = cubes.paths(name)
            write_interactions(*written, density, Grid.around(density.structure, cubes.spacing, MARGIN))
        progress("critical points", done, len(named))
        yield Found(name, found, density.expected_error, written)


def topology_table(found: Found) -> Table:
    """A row for each critical point."""
    columns = ["kind", "atoms", "x, y, z [Å]", "density [e/Å³]", "Laplacian [e/Å⁵]", "λ1, λ2, λ3 [e/Å⁵]", "ellipticity"]
    topology = found.topology
    counts = ", ".join(f"{count} {kind}" for kind, count in topology.counts.items())
    rule = "as it must be" if topology.poincare_hopf == 1 else "not 1: some are missing, or too many"
    notes = [f"{counts}; maxima − bonds + rings − cages = {topology.poincare_hopf}, {rule}."]
    if topology.missing_nuclei:
        names = ", ".join(_name(topology.structure, atom) for atom in topology.missing_nuclei)
        notes.append(f"No maximum is near {names}.")
    rows = [_row(topology.structure, point) for point in topology.points]
    return Table(f"{found.name}: {topology.structure.formula}", columns, rows, " ".join(notes))


def _row(structure: Structure, point: CriticalPoint) -> list[str]:
    atoms = "-".join(_name(structure, atom) for atom in point.atoms)
    numbers = [f"{point.density:.4f}" if point.density < 100 else f"{point.density:.0f}"]
    if point.kind == "nuclear":  # a Gaussian function has no cusp, so its curvature there means nothing
        numbers += ["", ""]
    else:
        numbers += [f"{point.laplacian:.3f}", ", ".join(f"{value:.3f}" for value in point.eigenvalues)]
    ellipticity = "" if point.ellipticity is None else f"{point.ellipticity:.3f}"
    return [point.kind, atoms, ", ".join(f"{x:.4f}" for x in point.position), *numbers, ellipticity]


def _name(structure: Structure, atom: int) -> str:
    return f"{structure.symbols[atom]}{atom + 1}"
