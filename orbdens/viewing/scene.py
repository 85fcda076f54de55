"""What there is to see of a density: fields on a grid along the molecule's own axes, charges, what a model expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density, check_molecule
from orbdens.electrons import core_charges
from orbdens.errors import UserError
from orbdens.evaluation.slices import cutting_plane
from orbdens.grid import Grid
from orbdens.observables.free_atoms import Kind, free_atom, hirshfeld_weights, promolecule
from orbdens.observables.hirshfeld import hirshfeld
from orbdens.observables.partition import Quadrature
from orbdens.observables.potential import potential
from orbdens.structure import Structure
from orbdens.units import KCAL_PER_MOL

Show = Literal["density", "potential", "deformation", "difference"]
SHOWS: tuple[Show, ...] = get_args(Show)
"""What is seen first: the density, the same coloured by the potential, less free atoms, less a reference."""

MARGIN = 3.0
"""Å around the atoms."""

FINEST, MOST_POINTS = 0.12, 350_000
"""Å between points of the grid at least, and so many points at most: a page of three fields is then below 4 MB."""

POTENTIAL_BAND = (5e-4, 0.7)
"""e/Å³; the potential is calculated where the density lies between these, which is where surfaces are drawn."""

LEVELS = {"density": 0.02, "deformation": 0.04, "difference": 0.01}
"""e/Å³; of the surfaces that are seen first."""

TOO_NEGATIVE = 0.05
"""A field whose lowest value is below minus this share of its highest is no density."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What a page or picture shows of one structure.

    Attributes:
        name: of the file or record.
        structure: its atoms.
        grid: cubic steps along the axes of the plane that shows most atoms, its normal last.
        fields: e/Å³, of the grid's shape: ``density``, and as far as they are known ``deformation`` (density less free
            atoms) and ``difference`` (density less the reference).
        potential: kcal/mol per e on every second point of each axis; None where it is not known.
        charges: Hirshfeld's, e [n_atoms]; None where they are not known.
        n_electrons: of the density.
        kind: whose electrons they are; None where neither fits.
        expected_error: NMAE in % that a model expects of its prediction.
        expected_errors: near each atom, in % of its electrons [n_atoms].
        notes: what makes the prediction doubtful, and what cannot be shown and why.
    """

    name: str
    structure: Structure
    grid: Grid
    fields: Mapping[str, NDArray[np.float32]]
    potential: NDArray[np.float32] | None
    charges: NDArray[np.float64] | None
    n_electrons: float
    kind: Kind | None
    expected_error: float | None
    expected_errors: NDArray[np.float64] | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, density: Density, name: str, reference: Density | None = None) -> Scene:
        """The scene of a density.

        Args:
            density: predicted, of a record, or read from a file.
            name: what it is called.
            reference: another density of the same atoms, to be taken from it.

        Raises:
            UserError: the values are no density, its atoms lie outside its grid, or the reference is of other atoms.
        """
        structure = density.structure
        _check(density, name)
        grid = _grid(structure)
        points = grid.points()
        values = density.at(points).reshape(grid.shape)
        fields = {"density": values}
        notes = [*density.warnings]
        if density.unfamiliar:
            notes.append(f"the model never saw surroundings like those of {', '.join(density.unfamiliar)}")
        kind = _kind(density)
        if kind is None:
            notes.append(f"{density.n_electrons:.1f} electrons are neither all nor the valence: no free atoms, charges")
        else:
            fields["deformation"] = values - promolecule(structure, kind).at(points).reshape(grid.shape)
        if reference is not None:
            _check_same(structure, reference.structure)
            fields["difference"] = values - reference.at(points).reshape(grid.shape)
        charges = None
        if kind == "valence" and not structure.periodic:
            charges = _charges(structure, grid, fields["deformation"])
        elif kind == "all-electron" and not structure.periodic and density.native_grid is None:
            charges = hirshfeld(Quadrature.of(density)).charges  # no grid holds cores
        found = None
        if density.native_grid is None and density.valence_electrons is not None and not structure.periodic:
            found = _potential(density, grid, values)
        facts = density.n_electrons, kind, density.expected_error, density.expected_errors
        return cls(name, structure, grid, fields, found, charges, *facts, tuple(notes))

    def check(self, show: Show) -> None:
        """UserError if there is no such thing to see."""
        there = {"potential"} if self.potential is not None else set()
        if show not in there | set(self.fields):
            known = ", ".join(one for one in SHOWS if one in there | set(self.fields))
            raise UserError(f"of {self.name} there is no {show} to show, but {known}")

    @property
    def positions(self) -> NDArray[np.float64]:
        """Atoms from the first point of the grid, along its axes, Å [n_atoms, 3]."""
        axes = self.grid.steps / np.linalg.norm(self.grid.steps, axis=1, keepdims=True)
        return (self.structure.positions - self.grid.origin) @ axes.T

    @property
    def spacing(self) -> float:
        """Å between points of the grid."""
        return float(np.linalg.norm(self.grid.steps[0]))


def _check(density: Density, name: str) -> None:
    """UserError unless the density of a file is one, of the atoms beside it."""
    grid = density.native_grid
    if grid is None:
        return
    values = density.on(grid)
    highest, lowest = float(values.max()), float(values.min())
    if not highest > 0:
        raise UserError(f"{name} holds no density: none of its values is above 0")
    if lowest < -TOO_NEGATIVE * highest:
        raise UserError(f"{name} holds no density: its values go down to {lowest:.3g} e/Å³")
    if not density.structure.periodic:
        index = (density.structure.positions - grid.origin) @ np.linalg.inv(grid.steps)
        outside = np.flatnonzero(((index < -1) | (index > grid.shape)).any(axis=1))
        if len(outside):
            raise UserError(
                f"{name} is the grid of another structure: its atom {outside[0] + 1}, "
                f"{density.structure.symbols[outside[0]]}, lies outside it"
            )


def _check_same(structure: Structure, other: Structure) -> None:
    """UserError unless two structures are the same atoms at the same places."""
    if not np.array_equal(structure.numbers, other.numbers):
        raise UserError(f"the reference is of {other.formula} and not of {structure.formula}, or in another order")
    farthest = float(np.linalg.norm(structure.positions - other.positions, axis=1).max())
    if farthest > 0.05:
        raise UserError(f"the reference is of another geometry: an atom lies {farthest:.2f} Å from where it should")


def _grid(structure: Structure) -> Grid:
    """Around a structure along the axes of its cutting plane, with an odd number of points along each."""
    _, axes = cutting_plane(structure)
    if np.linalg.det(axes) < 0:
        axes = axes * np.array([1, 1, -1])[:, None]
    local = structure.positions @ axes.T
    low, high = local.min(axis=0) - MARGIN, local.max(axis=0) + MARGIN
    spacing = max(FINEST, float((np.prod(high - low) / MOST_POINTS) ** (1 / 3)))
    counts = 2 * np.ceil((high - low) / spacing / 2).astype(int) + 1
    origin = ((low + high) / 2 - (counts - 1) * spacing / 2) @ axes
    return Grid(origin, axes * spacing, (int(counts[0]), int(counts[1]), int(counts[2])))


def _kind(density: Density) -> Kind | None:
    """Whose electrons a density holds: by what it says, or by how many there are."""
    structure = density.structure
    kinds: tuple[Kind, Kind] = ("valence", "all-electron")
    try:
        expected = {
            kind: sum(free_atom(symbol, kind).n_electrons for symbol in structure.symbols) - structure.charge
            for kind in kinds
        }
    except UserError:  # an element without a free atom
        return None
    known = density.valence_electrons
    held = density.n_electrons
    if known is not None and set(structure.symbols) <= set(known):
        held = float(core_charges(structure, known).sum() - structure.charge)
    nearest = min(kinds, key=lambda kind: abs(expected[kind] - held))
    # A grid misses much of the cores.
    return nearest if abs(expected[nearest] - held) < max(0.5, 0.1 * expected[nearest]) else None


def _charges(structure: Structure, grid: Grid, deformation: NDArray[np.float32]) -> NDArray[np.float64]:
    """Hirshfeld's charges, e [n_atoms]: each atom's share of what free atoms have more than the molecule."""
    charges = np.zeros(structure.n_atoms)
    for where, slab in grid.slabs(max(1, 4_000_000 // structure.n_atoms)):
        charges -= hirshfeld_weights(structure, slab.points()) @ deformation[where].reshape(-1).astype(np.float64)
    return charges * grid.volume_element


def _potential(density: Density, grid: Grid, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The potential on every second point of a grid, kcal/mol per e; 0 where no surface is drawn."""
    check_molecule(density.structure, "potential")
    coarse = values[::2, ::2, ::2]
    here = (coarse > POTENTIAL_BAND[0]) & (coarse < POTENTIAL_BAND[1])
    nx, ny, nz = coarse.shape
    points = Grid(grid.origin, 2 * grid.steps, (nx, ny, nz)).points()
    found = np.zeros(coarse.shape, dtype=np.float32)
    found[here] = KCAL_PER_MOL * potential(density, points[here.reshape(-1)])
    return found
