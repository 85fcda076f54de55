"""A cluster is kept busy though its scheduler is slow: dask.distributed is played here, in time that does not pass."""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Self

import numpy as np
import pytest

from data_tools.generation import workers
from data_tools.generation.calculation import Failure
from data_tools.generation.settings import Settings
from data_tools.generation.workers import on_cluster
from orbdens.structure import Structure

HYDROGEN = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 0.74]]))


@dataclass(eq=False)
class Cluster:
    """Workers of one thread, and a scheduler to which every message takes a while, as from it.

    Attributes:
        n: number of workers.
        seconds: a calculation takes.
        delay: seconds of a message from client to worker, or back.
        now: seconds since the beginning, as the client sees them.
        busy: seconds that all workers together have calculated.
        most: structures that were under way at a time.
    """

    n: int
    seconds: float
    delay: float
    now: float = 0.0
    busy: float = 0.0
    most: int = 0
    _events: list[tuple[float, int, str, Any]] = field(default_factory=list)
    _queue: deque[Any] = field(default_factory=deque)
    _idle: int = 0
    _count: int = 0
    _under_way: int = 0

    def __post_init__(self) -> None:
        self._idle = self.n
        self.loop = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        self.now += 2 * self.delay
        return {f"worker {i}": 1 for i in range(self.n)}

    def submit(self, work: object, structure: Structure, settings: Settings, **options: object) -> Any:
        future = _Future()
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        self._at(self.now + self.delay, "arrives", future)
        return future

    def _at(self, when: float, what: str, future: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, future))

    def next(self) -> Any:
        """Time goes on until a result is with the client."""
        while True:
            when, _, what, future = heapq.heappop(self._events)
            if what == "told":
                self.now = max(self.now, when)
                self._under_way -= 1
                return future
            if what == "arrives":
                self._queue.append(future)
            else:
                self._idle += 1
                self._at(when + self.delay, "told", future)
            while self._idle and self._queue:
                self._idle -= 1
                self.busy += self.seconds
                self._at(when + self.seconds, "ends", self._queue.popleft())


class _Future:
    def result(self) -> Failure:
        return Failure("played")


def _played(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = ModuleType("distributed")
    distributed.CancelledError = distributed.KilledWorker = ArithmeticError  # type: ignore[attr-defined]

    class Completed(Iterator[Any]):
        def __init__(self, loop: object) -> None:
            pass

        def add(self, future: Any) -> None:
            pass

        def __next__(self) -> Any:
            return cluster.next()

    distributed.as_completed = Completed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    monkeypatch.setattr(workers, "_client", lambda address: cluster)
    monkeypatch.setattr(workers.time, "monotonic", lambda: cluster.now)


@pytest.mark.parametrize(("n", "seconds", "delay"), [(16, 1.0, 0.1), (16, 0.1, 0.1), (200, 1.0, 0.1)])
def test_workers_wait_for_nothing(n: int, seconds: float, delay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(n, seconds, delay)
    _played(cluster, monkeypatch)
    tasks = [(f"{i}", HYDROGEN) for i in range(100 * n)]
    assert sorted(key for key, _ in on_cluster(tasks, Settings(), "played")) == sorted(key for key, _ in tasks)
    assert cluster.busy / (n * cluster.now) > 0.9
    assert cluster.most <= max(64, 4 * n)


def test_one_structure_a_worker_would_let_them_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would say."""
    cluster = Cluster(16, 1.0, 0.1)
    _played(cluster, monkeypatch)
    monkeypatch.setattr(workers, "IN_FLIGHT", 1)
    monkeypatch.setattr(workers, "AT_LEAST", 1)
    list(on_cluster([(f"{i}", HYDROGEN) for i in range(1600)], Settings(), "played"))
    assert cluster.busy / (16 * cluster.now) < 0.9


def test_very_many_structures_are_never_all_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(16, 1.0, 0.1)
    _played(cluster, monkeypatch)
    n = sum(1 for _ in on_cluster([(f"{i}", HYDROGEN) for i in range(20_000)], Settings(), "played"))
    assert n == 20_000
    assert cluster.most == 64
    assert cluster.busy / (16 * cluster.now) > 0.99
