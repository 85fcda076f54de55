"""Points drawn by importance, with the volume each stands for: Σ w f(r) estimates ∫ f dr without bias."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbdens.data.dataset import native_grid
from orbdens.data.store import GridRecord
from orbdens.structure import Structure

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
    record: GridRecord, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Grid points [n, 3] of a record, the volume each stands for [n] in Å³, and labels [n].

    Points are drawn with a probability proportional to their density plus its mean.
    """
    grid = native_grid(record)
    assert grid is not None
    values = np.abs(record.values.reshape(-1)).astype(np.float64)
    cumulative = np.cumsum(values + values.mean())
    chosen = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    probability = (values[chosen] + values.mean()) / cumulative[-1]
    index = np.stack(np.unravel_index(chosen, grid.shape), axis=1)
    points = grid.origin + index @ grid.steps
    return points, grid.volume_element / (n * probability), record.values.reshape(-1)[chosen].astype(np.float32)
