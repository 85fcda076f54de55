"""Reference densities that a run validates on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.comparison import Comparison, comparison
from orbdens.labels import stored_density
from orbdens.metrics import nmae
from orbdens.models.interface import DensityModel
from orbdens.progress import Progress, silent
from orbdens.store import Store
from orbdens.structure import Structure

AT_ONCE = 32
"""Records whose labels are held at the same time where each is needed once."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A structure, and its label density in e/Å³ on the points where predictions are compared with it."""

    structure: Structure
    points: Comparison
    values: NDArray[np.float32]


def references(store: Store, keys: Sequence[str], spacing: float, progress: Progress) -> list[Reference]:
    """Labels of some records on their own grids or, where they are known everywhere, on grids of a spacing in Å.

    Those with cores are on a quadrature instead, as ``comparison`` says.

    Raises:
        UserError: as ``comparison``.
    """
    made = []
    for done, key in enumerate(keys, start=1):
        label = stored_density(store, key)
        points = comparison(label, spacing)
        made.append(Reference(label.structure, points, points.values(label)))
        progress("labels to validate on", done, len(keys))
    return made


def errors(model: DensityModel, labels: Sequence[Reference]) -> list[float]:
    """NMAE in % of a model's density of each structure."""
    densities = model.predict_many([label.structure for label in labels])
    return [
        nmae(label.points.values(density), label.values, label.points.volumes)
        for density, label in zip(densities, labels, strict=True)
    ]


def errors_of_atoms(
    model: DensityModel, store: Store, keys: Sequence[str], spacing: float, progress: Progress
) -> list[tuple[Structure, NDArray[np.float64]]]:
    """Some records' structures, and ∫|ρ̂ − ρ| dr over the space nearest to each of their atoms, e [n_atoms].

    Args:
        model: predicts them.
        store: holds the records.
        keys: of the records.
        spacing: as in ``references``, Å.
        progress: told how many are done.
    """
    found = []
    for start in range(0, len(keys), AT_ONCE):
        labels = references(store, keys[start : start + AT_ONCE], spacing, silent)
        densities = model.predict_many([label.structure for label in labels])
        for density, label in zip(densities, labels, strict=True):
            difference = np.abs(label.points.values(density).astype(np.float64) - label.values)
            difference *= label.points.volumes
            atoms = label.points.nearest()[1]
            sums = np.bincount(atoms.ravel(), difference.ravel(), minlength=label.structure.n_atoms)
            found.append((label.structure, np.asarray(sums, dtype=np.float64)))
            progress("errors to expect", len(found), len(keys))
    return found
