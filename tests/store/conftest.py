"""Small records to put into stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orbdens.store import GridRecord, LabelBasis, LabelShell, Manifest, OrbitalRecord, StoreWriter
from orbdens.structure import Structure

BASIS = LabelBasis(
    {
        "O": (LabelShell(0, (1.0, 2.0), (0.3, 0.4)), LabelShell(1, (1.5,), (0.3,))),
        "H": (LabelShell(0, (0.7,), (0.5,)),),
    }
)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest({"method": "none", "xc": "PBE"}, "valence", {"H": 1, "O": 6}, BASIS)


@pytest.fixture
def orbital_record() -> Callable[[int], OrbitalRecord]:
    """Record of a water molecule by its seed."""

    def make(seed: int) -> OrbitalRecord:
        rng = np.random.default_rng(seed)
        return OrbitalRecord(
            structure=Structure(np.array([8, 1, 1]), rng.normal(size=(3, 3)), charge=-1, multiplicity=2),
            orbitals=rng.normal(size=(6, 5)).astype(np.float32),
            occupations=np.array([2, 2, 2, 2, 1], dtype=np.float32),
            energy=float(rng.normal()),
            dipole=rng.normal(size=3),
        )

    return make


@pytest.fixture
def grid_record() -> GridRecord:
    rng = np.random.default_rng(0)
    structure = Structure(np.array([8, 1, 1]), rng.normal(size=(3, 3)), np.diag([4.0, 5.0, 6.0]), (True, True, False))
    values = rng.random((2, 3, 4)).astype(np.float16)
    return GridRecord(structure, np.ones(3), 0.5 * np.eye(3), values, spin_values=values / 2)


@pytest.fixture
def store(tmp_path: Path, manifest: Manifest, orbital_record: Callable[[int], OrbitalRecord]) -> Path:
    """A finished store of ten records."""
    path = tmp_path / "store"
    with StoreWriter(path, manifest) as writer:
        for i in range(10):
            writer.put(f"w{i}", orbital_record(i))
        writer.finish({"train": ["w3", "w1"], "test": ["w2"]})
    return path
