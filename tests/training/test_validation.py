"""Errors of predictions on the records that a run validates on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from all_electron import all_electron_store

from orbdens.comparison import AtPoints, OnGrid
from orbdens.density import OrbitalDensity
from orbdens.grid_density import GridDensity
from orbdens.observables.free_atoms import promolecule
from orbdens.progress import silent
from orbdens.store import open_store
from orbdens.structure import Structure
from orbdens.training.validation import AT_ONCE, Reference, errors, errors_of_atoms, references


class TooMuchAtLithium:
    """A tenth too much density nearest to the second atom, and else the truth."""

    def __init__(self, labels: Sequence[Reference]) -> None:
        self.labels = labels

    def predict_many(self, structures: Sequence[Structure]) -> Iterator[GridDensity]:
        for structure in structures:
            (label,) = (one for one in self.labels if (one.structure.positions == structure.positions).all())
            assert isinstance(label.points, OnGrid)
            nearest = label.points.nearest()[1]
            values = np.where(nearest == 1, np.float32(1.1), np.float32(1)) * label.values
            yield GridDensity(label.structure, label.points.grid, values)


def test_errors_belong_to_the_nearest_atoms() -> None:
    store = open_store("lithium-oxide")
    keys = store.keys()[: AT_ONCE + 2]
    labels = references(store, keys, 0.5, silent)
    model: Any = TooMuchAtLithium(labels)
    found = errors_of_atoms(model, store, keys, 0.5, silent)
    for label, (structure, of_atoms), nmae in zip(labels, found, errors(model, labels), strict=True):
        assert structure is label.structure or (structure.positions == label.structure.positions).all()
        near = label.points.nearest()[1] == 1
        electrons = label.values[near].sum(dtype=np.float64) * label.points.volumes
        assert electrons > 0.5
        assert of_atoms.tolist() == pytest.approx([0.0, 0.1 * electrons, 0.0], rel=1e-4)
        total = label.values.sum(dtype=np.float64) * label.points.volumes
        assert 100 * of_atoms.sum() / total == pytest.approx(nmae, rel=1e-5)


class WithoutBonds:
    """Free atoms in place of the molecule."""

    def predict_many(self, structures: Sequence[Structure]) -> Iterator[OrbitalDensity]:
        return map(promolecule, structures)


def test_records_with_cores_are_validated_on_a_quadrature(tmp_path: Path) -> None:
    """The errors of all atoms are the NMAE again, and no core that a grid misses is among them."""
    store = open_store(all_electron_store(tmp_path))
    (label,) = references(store, store.keys("test"), 0.3, silent)
    assert isinstance(label.points, AtPoints)
    model: Any = WithoutBonds()
    ((_, of_atoms),) = errors_of_atoms(model, store, store.keys("test"), 0.3, silent)
    (nmae,) = errors(model, [label])
    assert 100 * of_atoms.sum() / 10 == pytest.approx(nmae, rel=1e-4)
    assert 5 < nmae < 15
