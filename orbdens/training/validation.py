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
from orbdens.progress import Progress
from orbdens.store import Store
from orbdens.structure import Structure


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


def errors_of_atoms(model: DensityModel, labels: Sequence[Reference], progress: Progress) -> list[NDArray[np.float64]]:
    """∫|ρ̂ − ρ| dr over the space nearest to each atom of each structure, e [n_atoms]."""
    densities = model.predict_many([label.structure for label in labels])
    found = []
    for done, (density, label) in enumerate(zip(densities, labels, strict=True), start=1):
        difference = np.abs(label.points.values(density).astype(np.float64) - label.values) * label.points.volumes
        atoms = label.points.nearest()[1]
        sums = np.bincount(atoms.ravel(), difference.ravel(), minlength=label.structure.n_atoms)
        found.append(np.asarray(sums, dtype=np.float64))
        progress("errors to expect", done, len(labels))
    return found
