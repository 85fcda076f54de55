"""The tensor cache."""

from __future__ import annotations

import multiprocessing
import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

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
    cache.path.write_bytes(cache.path.read_bytes()[:-4096])
    assert len(TensorCache(cache.path, HEADER)) == 0


def test_a_damaged_value_is_one_sentence(cache: TensorCache) -> None:
    data = cache.path.read_bytes()
    place = data.index(torch.arange(3.0).numpy().tobytes())
    cache.path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    with pytest.raises(UserError, match=r"'x' of the cache .* cannot be read \(its checksum .*\); delete that file"):
        cache.get("x")


def test_missing(cache: TensorCache) -> None:
    assert cache.missing(["z", "x", "a", "y"]) == ["z", "a"]


def test_a_cache_of_an_older_version_is_deleted(tmp_path: Path) -> None:
    old = tmp_path / "cache"
    old.mkdir()
    for name in ("header.json", "data.mdb", "lock.mdb"):
        (old / name).write_text("{}")
    assert len(TensorCache(old, HEADER)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_grows(cache: TensorCache) -> None:
    cache.put_many({f"big{i}": {"b": torch.zeros(5_000_000)} for i in range(4)})
    assert len(cache) == 6


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(cache: TensorCache, method: str) -> None:
    assert "x" in cache
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(cache.__contains__, ["x", "z"]) == [True, False]
    assert torch.equal(pickle.loads(pickle.dumps(cache)).get("x")["b"], torch.arange(3.0))


def fill(folder: Path, start: Any, process: int, rounds: int) -> None:
    """Make, fill and read a new cache in each round, with others that begin at the same moment."""
    for round_ in range(rounds):
        start.wait()
        cache = TensorCache(folder / f"cache{round_}", HEADER)
        for i in range(2):
            cache.put_many({f"k{j}": {"b": torch.full((500,), j)} for j in range(i, i + 4)})
            cache.put_many({f"of {process}": {"b": torch.full((10,), i)}})
        for j in range(5):
            assert torch.equal(cache.get(f"k{j}")["b"], torch.full((500,), j))
        assert torch.equal(cache.get(f"of {process}")["b"], torch.full((10,), 1))


def test_processes_that_fill_one_new_cache(tmp_path: Path) -> None:
    """Two trainings on one new store: nothing is lost, nobody fails."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3, timeout=20)
    workers = [context.Process(target=fill, args=(tmp_path, start, process, 25)) for process in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(TensorCache(tmp_path / "cache24", HEADER)) == 8


FULL = """
import resource, sys
import torch
from orbdens.errors import UserError
from orbdens.store.cache import TensorCache
cache = TensorCache(sys.argv[1], {})
cache.put_many({"first": {"b": torch.ones(10)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for i in range(100):
        cache.put_many({f"k{i}": {"b": torch.full((1000,), i)}})
except UserError as error:
    print(error)
n = len(cache)
assert 10 < n < 100
assert cache.get("first")["b"].sum() == 10
print(n, [int(cache.get(f"k{i}")["b"][0]) for i in range(n - 1)] == list(range(n - 1)))
"""


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "cache")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    message, rest = done.stdout.splitlines()
    assert message.startswith(f"the cache {tmp_path / 'cache'} cannot be written: ")
    assert rest.endswith("True")


def test_errors(cache: TensorCache, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no 'z'"):
        cache.get("z")
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(UserError, match="is in the way of a cache"):
        TensorCache(tmp_path, HEADER)
    with pytest.raises(UserError, match="is in the way of a cache"):
        TensorCache(tmp_path / "thesis.tex", HEADER)
    with closing(sqlite3.connect(tmp_path / "photos")) as other:
        other.execute("CREATE TABLE photos (name TEXT)")
    with pytest.raises(UserError, match="is in the way of a cache"):
        TensorCache(tmp_path / "photos", HEADER)
    assert (tmp_path / "thesis.tex").read_text() == "dear"
    with pytest.raises(UserError, match="cannot be written"):
        TensorCache(tmp_path / "thesis.tex" / "cache", HEADER)
