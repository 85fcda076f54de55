"""Frozen cores: a valence density made whole, exact at points and right in its number of electrons on grids.

What is added around every nucleus is ``free_atoms.core``: the free all-electron atom less its valence pseudo-atom. So
the valence within the core's radius is the free atom's, deformed as the prediction deforms the pseudised one, and
the same difference stands in X-ray form factors. A grid cannot hold a core: its values there are means over voxels,
from points within them, scaled atom by atom to the core's electrons and those that the valence lost between points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orbdens.density import SLAB, Density, OrbitalDensity, slabs_of
from orbdens.devices import Device
from orbdens.electrons import electrons_on_grid
from orbdens.errors import UserError
from orbdens.expectation import Expectation
from orbdens.grid import Grid
from orbdens.metrics import MARGIN, SPACING
from orbdens.observables.free_atoms import FreeAtom, core, free_atom, superposition
from orbdens.observables.potential import cores
from orbdens.structure import Structure

REACH = 2.5
"""Å; what differs between an atom and its pseudo-atom farther from the nucleus is below 0.004 electrons."""

STEEP = 0.4
"""Å; within it a voxel's value is a mean, beyond it the value at its point."""

FINE = 0.04
"""Å between the points of a voxel over which the mean is taken."""

ROOM = 3.0
"""Å around its atoms, within which a molecule has all but some 0.01 electrons."""

AT_ONCE = 200_000
"""Points evaluated together, which bounds the memory."""

MOST = 40
"""Points along each side of a voxel, at most: coarser grids than 1.6 Å are no densities anyway."""


def core_density(structure: Structure) -> OrbitalDensity:
    """The cores of all atoms of a structure.

    Raises:
        UserError: there is no free atom of one of its elements.
    """
    return superposition(structure, _cores(structure))


def cores_on(structure: Structure, grid: Grid, more: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Means of the cores over the voxels of a grid, e/Å³ of its shape; the electrons of each core add up exactly.

    Of a core outside the grid only what reaches into it is there.

    Args:
        structure: whose cores.
        grid: any.
        more: electrons that each atom has besides those of its core, e [n_atoms]; None for none.

    Raises:
        UserError: as ``core_density``.
    """
    cores = _cores(structure)
    values = np.zeros(grid.shape)
    inverse = np.linalg.inv(grid.steps)
    offsets = _sphere(grid)
    centres, atoms = _centres(structure, grid)
    more = np.zeros(structure.n_atoms) if more is None else more
    for centre, atom in zip(centres, atoms, strict=True):
        nearest = np.rint((centre - grid.origin) @ inverse).astype(int)
        places = grid.origin + (nearest + offsets) @ grid.steps - centre
        distances = np.linalg.norm(places, axis=1)
        inner = distances < STEEP + _half_diagonal(grid)
        free = cores[structure.symbols[atom]]
        parts = free.at(distances)
        parts[inner] = _means(free, places[inner], grid)
        missing = (free.n_electrons + more[atom]) / grid.volume_element - parts.sum()
        parts[inner] += missing * np.abs(parts[inner]) / np.abs(parts[inner]).sum()
        index = nearest + offsets
        there = ((index >= 0) & (index < grid.shape)).all(axis=1)
        np.add.at(values, tuple(index[there].T), parts[there])
    return values


def check_valence(structure: Structure, n_electrons: float) -> None:
    """Make sure that cores go with a density of so many electrons.

    Raises:
        UserError: there is no free atom of an element, or these are not the electrons that GTH-PBE pseudopotentials
            leave: the density has cores already, or other ones.
    """
    expected = sum(free_atom(symbol, "valence").n_electrons for symbol in structure.symbols) - structure.charge
    if abs(n_electrons - expected) > 0.5:
        raise UserError(
            f"cores of GTH-PBE go with {expected:.0f} valence electrons of {structure.formula}, but the density "
            f"holds {n_electrons:.1f}"
        )


@dataclass(frozen=True, eq=False)
class WholeDensity(Density):
    """A valence density and the frozen cores of its atoms.

    Attributes:
        structure: what it is the density of.
        valence: the density without cores.
        expectation, warnings: the valence density's.
    """

    structure: Structure
    valence: Density
    expectation: Expectation | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, valence: Density) -> WholeDensity:
        """A valence density made whole.

        Raises:
            UserError: as ``check_valence``.
        """
        structure = valence.structure
        check_valence(structure, valence.n_electrons)
        return cls(structure, valence, valence.expectation, valence.warnings)

    @cached_property
    def _cores(self) -> OrbitalDensity:
        return core_density(self.structure)

    @property
    def valence_electrons(self) -> Mapping[str, int]:  # type: ignore[override]  # the class has a constant
        """All of them, so that potentials and partitions are those of nuclei."""
        return dict(zip(self.structure.symbols, self.structure.numbers.tolist(), strict=True))

    @property
    def native_grid(self) -> Grid | None:
        return self.valence.native_grid

    def suited_grid(self, spacing: float = SPACING, margin: float = MARGIN) -> Grid:
        return self.valence.suited_grid(spacing, margin)

    def to(self, device: Device) -> WholeDensity:
        """The valence density there; cores are computed on the processor."""
        return replace(self, valence=self.valence.to(device))

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        return self.valence.values_at(points) + self._cores.values_at(points)

    def coulomb_at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values, gradients = self.valence.coulomb_at(points)
        of_cores, their_gradients = self._cores.coulomb_at(points)
        return values + of_cores, gradients + their_gradients

    def on(self, grid: Grid) -> NDArray[np.float32]:
        """Cores are means over voxels: see ``cores_on``. A grid with room for all of the density has all electrons.

        On a part of a grid the values are those that the whole grid has there.
        """
        values = self.valence.on(grid)
        on_whole = electrons_on_grid(values, grid.steps) if grid.part_of is None else None
        return self._with_cores(values, grid, self._lost(grid.whole, on_whole))

    def slabs(self, grid: Grid, axis: int = 0) -> Iterator[NDArray[np.float32]]:
        """As of any density; a grid of many slabs is gone through once more before, for what its points miss."""
        if grid.n_points <= SLAB:
            yield self.on(grid)
            return
        lost = self._lost(grid.whole)
        for slab in slabs_of(grid, axis):
            yield self._with_cores(self.valence.on(slab), slab, lost)

    def _lost(self, grid: Grid, on_grid: float | None = None) -> NDArray[np.float64] | None:
        """Electrons of the valence that a grid misses, shared out over the atoms, e [n_atoms]; None if it has no room.

        Args:
            grid: a whole one.
            on_grid: electrons of the valence on it, where they are known.
        """
        if not _has_room(self.structure, grid):
            return None
        if on_grid is None:
            on_grid = sum(electrons_on_grid(slab, grid.steps) for slab in self.valence.slabs(grid))
        shares: NDArray[np.float64] = self.structure.numbers / self.structure.numbers.sum()
        return (self.valence.n_electrons - on_grid) * shares

    def _with_cores(
        self, valence: NDArray[np.float32], grid: Grid, lost: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        return (valence + cores_on(self.structure, grid, lost)).astype(np.float32)

    def second_derivatives_at(
        self, points: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        parts = [part.second_derivatives_at(points) for part in (self.valence, self._cores)]
        values, gradients, hessians = (valence + core for valence, core in zip(*parts, strict=True))
        return values, gradients, hessians

    @property
    def n_electrons(self) -> float:
        return self.valence.n_electrons + self._cores.n_electrons

    @property
    def dipole(self) -> NDArray[np.float64]:
        return self.valence.dipole + self._cores.dipole


@dataclass(frozen=True, eq=False)
class WithoutCores(Density):
    """A density of all electrons less the cores of its atoms: what is left a grid can hold.

    Attributes:
        structure: what it is the density of.
        whole: the density with its cores.
    """

    structure: Structure
    whole: Density

    @cached_property
    def _cores(self) -> OrbitalDensity:
        return core_density(self.structure)

    def to(self, device: Device) -> WithoutCores:
        """The whole density there; cores are computed on the processor."""
        return replace(self, whole=self.whole.to(device))

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        return self.whole.values_at(points) - self._cores.values_at(points)

    def on(self, grid: Grid) -> NDArray[np.float32]:
        return self.whole.on(grid) - self._cores.on(grid)

    @property
    def n_electrons(self) -> float:
        return self.whole.n_electrons - self._cores.n_electrons

    @property
    def dipole(self) -> NDArray[np.float64]:
        return self.whole.dipole - self._cores.dipole


def for_grids(density: Density) -> Density:
    """A density whose values on grids add up to its electrons: with cores of its own, their means over voxels.

    Hydrogen and helium alone have no cores.

    Raises:
        UserError: there is no free atom of an element.
    """
    structure = density.structure
    if isinstance(density, WholeDensity) or density.tabulated or not (structure.numbers > 2).any():
        return density
    if density.valence_electrons is None or not np.array_equal(cores(density), structure.numbers):
        return density
    rest = WithoutCores(density.structure, density)
    return WholeDensity(density.structure, rest, density.expectation, density.warnings)


def whole_density(density: Density) -> Density:
    """A density of all electrons as it is, a valence density with the frozen cores of its atoms.

    Raises:
        UserError: it is not known which electrons the density holds, or as ``WholeDensity.of``.
    """
    if isinstance(density, WholeDensity) or np.array_equal(cores(density), density.structure.numbers):
        return density
    return WholeDensity.of(density)


def _cores(structure: Structure) -> dict[str, FreeAtom]:
    return {symbol: core(symbol) for symbol in sorted(set(structure.symbols))}


def _has_room(structure: Structure, grid: Grid) -> bool:
    """Whether a grid holds a whole molecule, or just one cell of a crystal."""
    if structure.cell is not None and structure.periodic:
        volume = grid.volume_element * np.prod(grid.shape)
        return bool(all(structure.pbc) and np.isclose(volume, abs(np.linalg.det(structure.cell))))
    inverse = np.linalg.inv(grid.steps)
    index = (structure.positions - grid.origin) @ inverse
    steps_of_room = ROOM * np.linalg.norm(inverse, axis=0)
    return bool(((index >= steps_of_room) & (index <= np.array(grid.shape) - 1 - steps_of_room)).all())


def _half_diagonal(grid: Grid) -> float:
    """Å from the middle of a voxel to its farthest corner, at most."""
    return float(np.linalg.norm(grid.steps, axis=1).sum() / 2)


def _sphere(grid: Grid) -> NDArray[np.int64]:
    """Voxels around a nucleus, as offsets of their indices from the nearest one's [n_voxels, 3]."""
    reach = REACH + _half_diagonal(grid)
    spans = np.ceil(reach * np.linalg.norm(np.linalg.inv(grid.steps), axis=0)).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in spans), indexing="ij"), axis=-1).reshape(-1, 3)
    return offsets[np.linalg.norm(offsets @ grid.steps, axis=1) <= reach]


def _means(free: FreeAtom, places: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Means over voxels at places relative to the nucleus, from evenly spaced points within each."""
    counts = np.clip(np.ceil(np.linalg.norm(grid.steps, axis=1) / FINE).astype(int), 1, MOST)
    shares = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    within = np.stack(np.meshgrid(*shares, indexing="ij"), axis=-1).reshape(-1, 3) @ grid.steps
    means = np.empty(len(places))
    step = max(1, AT_ONCE // len(within))
    for start in range(0, len(places), step):
        distances = np.linalg.norm(places[start : start + step, None] + within, axis=2)
        means[start : start + step] = free.at(distances).mean(axis=1)
    return means


def _centres(structure: Structure, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nuclei, periodic images too, whose cores reach into a grid: positions [n, 3], and the atom of each [n]."""
    inverse = np.linalg.inv(grid.steps)
    margin = 1 + (REACH + 1) * np.linalg.norm(inverse, axis=0)
    shifts = np.zeros((1, 3))
    if structure.cell is not None and structure.periodic:
        corners = np.stack(np.meshgrid(*((-m, n + m) for m, n in zip(margin, grid.shape, strict=True))), axis=-1)
        box = (grid.origin + corners.reshape(-1, 3) @ grid.steps) @ np.linalg.inv(structure.cell)
        fractions = structure.positions @ np.linalg.inv(structure.cell)
        low = np.floor(box.min(axis=0) - fractions.max(axis=0)).astype(int) * structure.pbc
        high = np.ceil(box.max(axis=0) - fractions.min(axis=0)).astype(int) * structure.pbc
        ranges = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
        shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3) @ structure.cell
    centres = (structure.positions + shifts[:, None]).reshape(-1, 3)
    index = (centres - grid.origin) @ inverse
    near = ((index > -margin) & (index < grid.shape + margin)).all(axis=1)
    return centres[near], np.tile(np.arange(structure.n_atoms), len(shifts))[near]
