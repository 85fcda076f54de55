"""Errors of predictions on the records that a run validates on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from orbdens.density import GridDensity
from orbdens.metrics import nearest_atoms
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
            nearest = nearest_atoms(label.structure, label.grid)[1]
            values = np.where(nearest == 1, np.float32(1.1), np.float32(1)) * label.values
            yield GridDensity(label.structure, label.grid, values)


def test_errors_belong_to_the_nearest_atoms() -> None:
    store = open_store("lithium-oxide")
    keys = store.keys()[: AT_ONCE + 2]
    labels = references(store, keys, 0.5, silent)
    model: Any = TooMuchAtLithium(labels)
    found = errors_of_atoms(model, store, keys, 0.5, silent)
    for label, (structure, of_atoms), nmae in zip(labels, found, errors(model, labels), strict=True):
        assert structure is label.structure or (structure.positions == label.structure.positions).all()
        near = nearest_atoms(label.structure, label.grid)[1] == 1
        electrons = label.values[near].sum(dtype=np.float64) * label.grid.volume_element
        assert electrons > 0.5
        assert of_atoms.tolist() == pytest.approx([0.0, 0.1 * electrons, 0.0], rel=1e-4)
        total = label.values.sum(dtype=np.float64) * label.grid.volume_element
        assert 100 * of_atoms.sum() / total == pytest.approx(nmae, rel=1e-5)
