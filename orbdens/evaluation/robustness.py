"""What a model's error is where it did not learn: between the points of the usual grid, and for turned molecules."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from orbdens.comparison import Comparison, OnGrid
from orbdens.density import Density
from orbdens.grid import Grid
from orbdens.metrics import nmae
from orbdens.structure import Structure


@dataclass(frozen=True, eq=False)
class Turned:
    """A molecule turned at random about the origin.

    Attributes:
        structure: the turned one.
        turn: by which rotation; a point r of the molecule goes to ``turn @ r``.
    """

    structure: Structure
    turn: NDArray[np.float64]

    @classmethod
    def of(cls, structure: Structure, seed: int) -> Turned:
        """One rotation for each seed, all equally likely."""
        turn: NDArray[np.float64] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
        return cls(replace(structure, positions=structure.positions @ turn.T), turn)

    def error(self, density: Density, points: Comparison, reference: NDArray[np.float32]) -> float:
        """NMAE in % of a density of the turned molecule.

        Args:
            density: predicted.
            points: where the reference is known, about the molecule as it was.
            reference: its values there, e/Å³.
        """
        places = points.grid.points() if isinstance(points, OnGrid) else points.points
        values = density.at(places @ self.turn.T).reshape(reference.shape)
        return nmae(values, reference, points.volumes)


def off_grid_error(density: Density, label: Density, points: Comparison) -> float | None:
    """NMAE in % half a step off the points of a grid, in all directions; None where the label is not known there."""
    if not isinstance(points, OnGrid) or label.tabulated:
        return None
    own = points.grid
    between = Grid(own.origin + own.steps.sum(axis=0) / 2, own.steps, own.shape)
    return nmae(density.on(between), label.on(between), np.array(between.volume_element))
