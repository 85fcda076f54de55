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
from orbdens.training.validation import Reference, errors, errors_of_atoms, references


class TooMuchAtLithium:
    """A tenth too much density nearest to the second atom, and else the truth."""

    def __init__(self, labels: Sequence[Reference]) -> None:
        self.labels = labels

    def predict_many(self, structures: Sequence[Structure]) -> Iterator[GridDensity]:
        for label in self.labels:
            nearest = nearest_atoms(label.structure, label.grid)[1]
            values = np.where(nearest == 1, np.float32(1.1), np.float32(1)) * label.values
            yield GridDensity(label.structure, label.grid, values)


def test_errors_belong_to_the_nearest_atoms() -> None:
    store = open_store("lithium-oxide")
    labels = references(store, store.keys()[:2], 0.5, silent)
    model: Any = TooMuchAtLithium(labels)
    for label, of_atoms, nmae in zip(
        labels, errors_of_atoms(model, labels, silent), errors(model, labels), strict=True
    ):
        near = nearest_atoms(label.structure, label.grid)[1] == 1
        electrons = label.values[near].sum(dtype=np.float64) * label.grid.volume_element
        assert electrons > 0.5
        assert of_atoms.tolist() == pytest.approx([0.0, 0.1 * electrons, 0.0], rel=1e-4)
        total = label.values.sum(dtype=np.float64) * label.grid.volume_element
        assert 100 * of_atoms.sum() / total == pytest.approx(nmae, rel=1e-5)
