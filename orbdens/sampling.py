"""Points drawn by importance, with the volume each stands for: Σ w f(r) estimates ∫ f dr without bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from orbdens.grid import Grid
from orbdens.structure import Structure

T = TypeVar("T")

WIDTHS = (0.3, 0.7, 1.5)
"""Å; points are drawn from Gaussians of these widths around atoms: near atoms, in bonds and in tails."""

CORE = 0.53
"""Å; over the atomic number Z: width of one Gaussian more where there are cores, √⟨x²⟩ of a 1s orbital's density."""

PAIRS = 500_000
"""Pairs of points and atoms looked at together, which bounds the memory."""

REACH = 6 * max(WIDTHS)
"""Å; images of an atom farther away than this do not matter to the probability of a point."""


def draw_points(
    structure: Structure, n: int, rng: np.random.Generator, cores: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points from a mixture of Gaussians around the atoms; the integral is over all space, or over one cell.

    Args:
        structure: has the atoms.
        n: number of points.
        rng: source of randomness.
        cores: draw a quarter of the points from within the cores.

    Returns:
        Points in Å [n, 3], not wrapped into a cell, and the volume that each stands for in Å³ [n], 1 / (n p).
    """
    widths = np.tile(WIDTHS, (structure.n_atoms, 1))
    if cores:
        widths = np.column_stack([widths, CORE / structure.numbers])
    atom = rng.integers(structure.n_atoms, size=n)
    width = widths[atom, rng.integers(widths.shape[1], size=n)]
    points = structure.positions[atom] + rng.normal(size=(n, 3)) * width[:, None]
    wrapped, centres, atoms = _with_images(structure, points)
    total = np.empty(n)
    step = max(1, PAIRS // len(centres))
    for start in range(0, n, step):
        part = slice(start, start + step)
        square = ((wrapped[part, None] - centres) ** 2).sum(axis=2)
        gaussians = (np.exp(-square / (2 * width**2)) @ (2 * np.pi * width**2) ** -1.5 for width in widths[atoms].T)
        total[part] = sum(gaussians)
    return points, widths.size / (n * total)


def _with_images(
    structure: Structure, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Points wrapped into the cell [n, 3], the atoms and images of atoms in ``REACH`` of it [n_centres, 3], and the
    atom of each [n_centres]."""
    own = np.arange(structure.n_atoms)
    if structure.cell is None or not structure.periodic:
        return points, structure.positions, own
    inverse = np.linalg.inv(structure.cell)
    # rows of the inverse's transpose are as long as lattice planes are dense
    n_cells = np.ceil(REACH * np.linalg.norm(inverse, axis=0)).astype(int) * structure.pbc
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in n_cells), indexing="ij"), axis=-1).reshape(-1, 3)
    wrapped, atoms = (
        (fractions - np.floor(fractions) * structure.pbc) @ structure.cell
        for fractions in (points @ inverse, structure.positions @ inverse)
    )
    images = (atoms + (shifts @ structure.cell)[:, None]).reshape(-1, 3)
    low, high = wrapped.min(axis=0) - REACH, wrapped.max(axis=0) + REACH
    near = ((low < images) & (images < high)).all(axis=1)
    return wrapped, images[near], np.tile(own, len(shifts))[near]


def draw_voxels(
    grid: Grid, values: NDArray[np.floating], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Grid points with a probability proportional to |value| plus its mean.

    Args:
        grid: to draw from.
        values: e/Å³, of the grid's shape.
        n: number of points.
        rng: source of randomness.

    Returns:
        Points in Å [n, 3], the volume that each stands for in Å³ [n], and the values there [n].
    """
    flat = values.reshape(-1)
    sizes = np.abs(flat).astype(np.float64)
    sizes += sizes.mean() or 1.0
    chosen, shares = _drawn(sizes, n, rng)
    index = np.stack(np.unravel_index(chosen, grid.shape), axis=1)
    return grid.origin + index @ grid.steps, grid.volume_element * shares, flat[chosen].astype(np.float32)


def draw_weighted(
    weights: NDArray[np.float64], values: NDArray[np.floating], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Some of given points: three of four by the electrons that each stands for, the fourth whichever it may be.

    Args:
        weights: volume of each point, Å³ [n_points]; quadratures have negative ones, too.
        values: e/Å³ [n_points].
        n: number of points to draw.
        rng: source of randomness.

    Returns:
        Which points [n], and the volume that each stands for in Å³ [n].
    """
    # Not by volumes, as of a grid: those of a quadrature are largest far away, where nothing is.
    sizes = np.abs(weights * values.astype(np.float64))
    chosen, shares = _drawn(sizes + ((sizes.mean() / 3) or 1.0), n, rng)
    return chosen, weights[chosen] * shares


def _drawn(
    sizes: NDArray[np.float64], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places drawn with probabilities proportional to sizes, and how many places each stands for [n]."""
    cumulative = np.cumsum(sizes)
    chosen = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return chosen, cumulative[-1] / (n * sizes[chosen])


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items in their order, first and last among them: a sample that is the same every time."""
    return [items[int(i)] for i in np.unique(np.linspace(0, len(items) - 1, min(len(items), count)).round())]
