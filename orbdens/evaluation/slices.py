"""Cuts through structures: the plane that shows most of the atoms, and a raster of points in it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from orbdens.grid import Grid
from orbdens.structure import Structure

Marks = list[tuple[str, float, float, float]]
"""Symbol, two in-plane coordinates and height of every atom, Å."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Points in a plane, at equal steps along both of its axes.

    Attributes:
        centre: a point of the plane, Å [3].
        axes: the two axes of the plane and its normal, orthonormal [3, 3].
        corner: in-plane coordinates of the first point from ``centre``, Å [2].
        step: Å.
        shape: number of points along both axes.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    corner: NDArray[np.float64]
    step: float
    shape: tuple[int, int]

    @classmethod
    def around(cls, structure: Structure, step: float, margin: float) -> Raster:
        """All of a structure with a margin in Å, on its ``cutting_plane``."""
        centre, axes = cutting_plane(structure)
        local = (structure.positions - centre) @ axes[:2].T
        corner = local.min(axis=0) - margin
        n_x, n_y = (int(n) + 1 for n in np.ceil((local.max(axis=0) + margin - corner) / step))
        return cls(centre, axes, corner, step, (n_x, n_y))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge in Å, half a step beyond the outermost points."""
        return edges(self.corner.tolist(), self.step, self.shape)

    def points(self) -> NDArray[np.float64]:
        """All points in Å [n_x * n_y, 3], the second axis fastest."""
        return Grid(self.centre + self.corner @ self.axes[:2], self.step * self.axes, (*self.shape, 1)).points()

    def marks(self, structure: Structure) -> Marks:
        """Where the atoms of a structure are, seen from the plane."""
        local = (structure.positions - self.centre) @ self.axes.T
        return [
            (chemical_symbols[number], float(x), float(y), float(height))
            for number, (x, y, height) in zip(structure.numbers, local, strict=True)
        ]


def edges(corner: Sequence[float], step: float, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top edge of the pixels around the points of a raster; all lengths in Å."""
    (x, y), (n_x, n_y) = corner, shape
    return x - step / 2, x + (n_x - 0.5) * step, y - step / 2, y + (n_y - 0.5) * step


def cutting_plane(structure: Structure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A point of the plane through three atoms that has most (heavy) atoms near it, and a frame of it [3, 3].

    The first axis of the frame is the longest of the molecule in the plane, the third the normal.
    """
    positions = structure.positions
    heaviest = np.argsort(-structure.numbers, kind="stable")[:16]
    best, centre, normal = -1.0, positions.mean(axis=0), None
    for triple in itertools.combinations(heaviest.tolist(), 3):
        a, b, c = positions[list(triple)]
        candidate = np.cross(b - a, c - a)
        length = np.linalg.norm(candidate)
        if length < 0.1:
            continue
        height = (positions - a) @ candidate / length
        score = float((structure.numbers * np.exp(-((height / 0.3) ** 2))).sum())
        if score > best + 1e-6:
            best, centre, normal = (
                score,
                positions.mean(axis=0) - height.mean() * candidate / length,
                candidate / length,
            )
    if normal is None:  # one atom, or all on a line
        _, _, axes = np.linalg.svd(positions - centre)
        return centre, axes
    flat = positions - centre - np.outer((positions - centre) @ normal, normal)
    along = np.linalg.svd(flat)[2][0]
    return centre, np.stack([along, np.cross(normal, along), normal])
