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
"""Å; points are drawn from Gaussians of these widths around atoms: cores, bonds and tails."""


def draw_points(
    structure: Structure, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points [n, 3] from a mixture of Gaussians around the atoms, and 1 / (n p) of each [n] in Å³."""
    widths = np.array(WIDTHS)
    atom = rng.integers(structure.n_atoms, size=n)
    points = structure.positions[atom] + rng.normal(size=(n, 3)) * rng.choice(widths, size=n)[:, None]
    square = ((points[:, None] - structure.positions) ** 2).sum(axis=2)[:, :, None]
    gauss = np.exp(-square / (2 * widths**2)) / (2 * np.pi * widths**2) ** 1.5
    return points, 1 / (n * gauss.mean(axis=(1, 2)))


def draw_voxels(
    grid: Grid, values: NDArray[np.floating], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Grid points [n, 3], the volume each stands for [n] in Å³, and the values there [n].

    Points are drawn with a probability proportional to |value| plus its mean; ``values`` is of the grid's shape.
    """
    flat = values.reshape(-1)
    sizes = np.abs(flat).astype(np.float64)
    cumulative = np.cumsum(sizes + sizes.mean())
    chosen = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    probability = (sizes[chosen] + sizes.mean()) / cumulative[-1]
    index = np.stack(np.unravel_index(chosen, grid.shape), axis=1)
    points = grid.origin + index @ grid.steps
    return points, grid.volume_element / (n * probability), flat[chosen].astype(np.float32)


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items in their order, first and last among them: a sample without chance."""
    return [items[int(i)] for i in np.unique(np.linspace(0, len(items) - 1, min(len(items), count)).round())]
