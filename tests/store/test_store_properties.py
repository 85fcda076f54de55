"""Any records, in any order, with kills of the writer's memory in between: a store gives back what it was given."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from comparing import assert_same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orbdens.store import GridRecord, LabelBasis, LabelShell, Manifest, OrbitalRecord, Record, Store, StoreWriter
from orbdens.store.lmdb_values import BLOCK_SIZE
from orbdens.structure import Structure

BASIS = LabelBasis({"H": (LabelShell(0, (0.7,), (0.5,)),), "C": (LabelShell(1, (1.5,), (0.3,)),)})
SIZES = {1: 1, 6: 3}


def finite(dtype: type[np.floating], shape: Any) -> st.SearchStrategy[Any]:
    width: Any = np.dtype(dtype).itemsize * 8
    return hnp.arrays(dtype, shape, elements=st.floats(allow_nan=False, allow_infinity=False, width=width))


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    n = draw(st.integers(1, 5))
    numbers = np.array(draw(st.lists(st.sampled_from([1, 6]), min_size=n, max_size=n)))
    positions = draw(
        hnp.arrays(draw(st.sampled_from([np.float32, np.float64])), (n, 3), elements=st.floats(-1e4, 1e4, width=32))
    )
    cell = draw(st.none() | finite(np.float64, (3, 3)))
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans())) if cell is not None else (False, False, False)
    return Structure(numbers, positions, cell, pbc, draw(st.integers(-3, 3)), draw(st.integers(1, 4)))


@st.composite
def records(draw: st.DrawFn) -> Record:
    structure = draw(structures())
    energy = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
    dipole = draw(st.none() | finite(np.float64, 3))
    if draw(st.booleans()):
        n_ao, n = sum(SIZES[int(z)] for z in structure.numbers), draw(st.integers(0, 4))
        spins = draw(st.none() | hnp.arrays(np.int8, n, elements=st.sampled_from([1, -1])))
        occupations = draw(finite(np.float32, n))
        return OrbitalRecord(structure, draw(finite(np.float32, (n_ao, n))), occupations, energy, dipole, spins)
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    shape = draw(st.tuples(*3 * [st.integers(1, 6)]))
    values, spin = draw(finite(dtype, shape)), draw(st.none() | finite(dtype, shape))
    return GridRecord(
        structure, draw(finite(np.float64, 3)), draw(finite(np.float64, (3, 3))), values, spin, energy, dipole
    )


KEYS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=40).filter(
    lambda key: not key.startswith("\0")
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.dictionaries(KEYS, st.tuples(records(), st.sampled_from(["", "flush", "reopen"])), max_size=8),
    st.integers(1, 3),
    st.data(),
)
def test_any_records_in_any_order(
    given_records: dict[str, tuple[Record, str]], shards: int, data: st.DataObject
) -> None:
    manifest = Manifest({}, "valence", {"H": 1, "C": 4}, BASIS, shards=shards)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        writer = StoreWriter(path, manifest)
        for key, (record, then) in given_records.items():
            writer.put(key, record)
            if then == "flush":
                writer.flush()
            elif then == "reopen":
                writer.close()
                writer = StoreWriter(path, manifest, resume=True)
        members = data.draw(st.permutations(list(given_records)))[:3]
        writer.finish({"some": members})
        store = Store(path)
        assert store.keys() == sorted(given_records, key=str.encode)
        assert store.keys("some") == members
        assert len(store) == len(given_records)
        for key in data.draw(st.permutations(list(given_records))):
            assert_same(store[key], given_records[key][0])
        store.close()


def test_records_larger_than_a_block_and_many_small_ones() -> None:
    rng = np.random.default_rng(0)
    structure = Structure(np.array([1]), np.zeros((1, 3)))
    sizes = [(3, 4, 5), (40, 50, 60), (2, 2, 2), (30, 33, 35)]
    grids = [GridRecord(structure, np.zeros(3), np.eye(3), rng.normal(size=s).astype(np.float32)) for s in sizes]
    assert grids[1].values.nbytes > 2 * BLOCK_SIZE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        with StoreWriter(path, Manifest({}, "valence", {"H": 1})) as writer:
            for i in range(200):
                writer.put(f"{i * 37 % 200:03d}", replace(grids[i % 4 if i % 40 < 4 else 0], energy=float(i)))
                if i % 7 == 0:
                    writer.flush()
            writer.finish({})
        store = Store(path)
        for i in range(200):
            found = store[f"{i * 37 % 200:03d}"]
            assert_same(found, replace(grids[i % 4 if i % 40 < 4 else 0], energy=float(i)))
        store.close()
