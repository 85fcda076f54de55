"""The store that ships with the package."""

from __future__ import annotations

import numpy as np
import pytest

from data_tools.recipes.lithium_oxide import ANGLES, calculate, geometries, splits
from orbdens.pyscf.integrals import dipole, electron_count
from orbdens.shipped import store_path
from orbdens.store import OrbitalRecord, Store


def test_geometries() -> None:
    positions = geometries().astype(float)
    first, second = np.linalg.norm(positions[:, 0], axis=1), np.linalg.norm(positions[:, 2], axis=1)
    angles = np.degrees(np.arccos((positions[:, 0] * positions[:, 2]).sum(axis=1) / first / second))
    assert positions.shape == (625, 3, 3)
    assert len(np.unique(np.stack([first, second]).round(4), axis=1).T) == 625
    assert (first.min(), first.max()) == pytest.approx((1.45, 2.05))
    assert angles.min() >= ANGLES[0]
    assert angles.max() <= ANGLES[1]


def test_shipped_store() -> None:
    path = store_path()
    assert sum(file.stat().st_size for file in path.iterdir()) < 2_000_000
    store = Store(path)
    train, test = store.keys("train"), store.keys("test")
    assert (len(train), len(test)) == (500, 125)
    assert sorted(train + test) == store.keys()
    assert splits(store.keys()) == store.manifest.splits
    assert store.manifest.finished
    basis = store.manifest.label_basis
    assert basis is not None
    for key, positions in zip(store.keys(), geometries(), strict=True):
        record = store[key]
        assert isinstance(record, OrbitalRecord)
        assert record.dipole is not None
        np.testing.assert_array_equal(record.structure.positions, positions)
        assert electron_count(record, basis) == pytest.approx(12, abs=2e-6)
        np.testing.assert_allclose(dipole(record, store.manifest), record.dipole, atol=2e-6)


def test_can_be_made_again() -> None:
    shipped = Store(store_path())["li2o-300"]
    made = calculate(geometries()[300])
    assert isinstance(shipped, OrbitalRecord)
    assert made.energy == pytest.approx(shipped.energy, abs=1e-8)
    np.testing.assert_allclose(made.orbitals, shipped.orbitals, atol=1e-4)
