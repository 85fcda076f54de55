"""The tensor cache."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import pytest
import torch

from orbdens.errors import UserError
from orbdens.store.cache import TensorCache

HEADER = {"basis": "a", "beta": 2.0}


@pytest.fixture
def cache(tmp_path: Path) -> TensorCache:
    cache = TensorCache(tmp_path / "cache", HEADER)
    cache.put_many({"x": {"b": torch.arange(3.0), "i": torch.tensor([[7]])}, "y": {"b": torch.zeros(0)}})
    return cache


def test_round_trip(cache: TensorCache) -> None:
    assert len(cache) == 2
    assert "x" in cache
    assert "z" not in cache
    entry = cache.get("x")
    assert torch.equal(entry["b"], torch.arange(3.0))
    assert torch.equal(entry["i"], torch.tensor([[7]]))
    assert cache.get("y")["b"].shape == (0,)


def test_reopened_and_replaced(cache: TensorCache) -> None:
    again = TensorCache(cache.path, HEADER)
    again.put_many({"x": {"b": torch.ones(1)}})
    assert torch.equal(cache.get("x")["b"], torch.ones(1))
    assert len(cache) == 2


def test_another_header_empties_it(cache: TensorCache) -> None:
    assert len(TensorCache(cache.path, {**HEADER, "beta": 1.5})) == 0


def test_damage_empties_it(cache: TensorCache) -> None:
    data = cache.path / "data.mdb"
    path = cache.path
    del cache
    data.write_bytes(data.read_bytes()[:-4096])
    assert len(TensorCache(path, HEADER)) == 0


def test_grows(cache: TensorCache) -> None:
    cache.put_many({f"big{i}": {"b": torch.zeros(5_000_000)} for i in range(4)})
    assert len(cache) == 6


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(cache: TensorCache, method: str) -> None:
    assert "x" in cache
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(cache.__contains__, ["x", "z"]) == [True, False]
    assert torch.equal(pickle.loads(pickle.dumps(cache)).get("x")["b"], torch.arange(3.0))


def test_errors(cache: TensorCache, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no 'z'"):
        cache.get("z")
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(UserError, match="is in the way of a cache"):
        TensorCache(tmp_path, HEADER)
    with pytest.raises(UserError, match="is in the way of a cache"):
        TensorCache(tmp_path / "thesis.tex", HEADER)
    with pytest.raises(UserError, match="cannot be written"):
        TensorCache(tmp_path / "thesis.tex" / "cache", HEADER)
