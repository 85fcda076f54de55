"""Many calculations at once: in processes of this machine, or on a cluster of dask.distributed."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from data_tools.generation.calculation import Failure, outcome
from data_tools.generation.settings import Settings
from orbdens.errors import UserError
from orbdens.processes import end_with_parent, one_thread_each
from orbdens.store.records import Record
from orbdens.structure import Structure

if TYPE_CHECKING:
    from distributed import Client

Task = tuple[str, Structure]
Result = tuple[str, Record | Failure]

MAX_CRASHES = 2
"""A structure that has crashed so many processes is given up."""

ROUND_TRIP = 5.0
"""Seconds between two looks at how many workers a cluster has."""

IN_FLIGHT, AT_LEAST = 4, 64
"""Structures that a cluster has for each of its workers, and in any case: none waits for a slow scheduler, and a
cluster that grows with its work does so; but a million of them never sit in the scheduler."""


def in_processes(tasks: Sequence[Task], settings: Settings, processes: int) -> Iterator[Result]:
    """Calculate in so many processes of one thread each; results come as they are ready.

    A process that ends on its own (killed, out of memory) is replaced, and its structure tried once more. All
    processes end with this one, however it ends.
    """
    waiting = deque(tasks)
    crashes: Counter[str] = Counter()
    workers = [_Worker(settings) for _ in range(min(processes, len(tasks)))]
    busy: dict[Any, tuple[_Worker, Task]] = {}

    def occupy(worker: _Worker) -> None:
        if waiting:
            task = waiting.popleft()
            worker.give(task[1])
            busy[worker.connection] = worker, task

    try:
        for worker in workers:
            occupy(worker)
        while busy:
            for connection in wait(list(busy)):
                worker, (key, structure) = busy.pop(connection)
                result: Record | Failure
                try:
                    result = worker.connection.recv()
                except (EOFError, OSError):
                    ending = worker.restart()
                    crashes[key] += 1
                    if crashes[key] < MAX_CRASHES:
                        waiting.appendleft((key, structure))
                        occupy(worker)
                        continue
                    result = Failure(f"it ended its process {MAX_CRASHES} times ({ending})")
                # the process gets its next structure before the caller does anything with this one
                occupy(worker)
                yield key, result
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that calculates one structure at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._start()

    def _start(self) -> None:
        # spawned: a fork would inherit the threads and locks of whatever this process has loaded
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, self.settings), daemon=True)
        with one_thread_each():
            self.process.start()
        far_end.close()

    def give(self, structure: Structure) -> None:
        with suppress(OSError):  # the process is gone; reading from it will say so
            self.connection.send(structure)

    def restart(self) -> str:
        """Replace a process that is gone; returns how it ended."""
        self.process.join()
        code = self.process.exitcode or 0
        self.connection.close()
        self._start()
        return f"signal {-code}" if code < 0 else f"status {code}"

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, settings: Settings) -> None:
    """What a worker process does: structures in, outcomes out, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    end_with_parent()
    while True:
        try:
            structure = connection.recv()
        except EOFError:
            return
        connection.send(outcome(structure, settings))


def on_cluster(tasks: Sequence[Task], settings: Settings, address: str) -> Iterator[Result]:
    """Calculate on the workers of a running dask.distributed scheduler; results come as they are ready.

    Dask gives the structures of a worker that is lost to others; one that loses several workers is given up.

    Args:
        tasks: keys and structures.
        settings: the same for all.
        address: address of the scheduler, e.g. ``tcp://node7:8786``.

    Raises:
        UserError: the package distributed is missing, no scheduler answers or its connection is lost, or a worker has
            several threads.
    """
    try:
        from distributed import CancelledError, KilledWorker, as_completed
    except ImportError:
        raise UserError("a cluster needs the package distributed: pip install 'orbdens[cluster]'") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # tracebacks of what is one sentence here
    waiting = deque(tasks)
    keys: dict[Any, str] = {}
    with _client(address) as client:
        completed = as_completed(loop=client.loop)
        looked, most = float("-inf"), 0
        while waiting or keys:
            if time.monotonic() - looked > ROUND_TRIP:
                looked, most = time.monotonic(), max(AT_LEAST, IN_FLIGHT * _count_workers(client))
            while waiting and len(keys) < most:
                key, structure = waiting.popleft()
                future = client.submit(outcome, structure, settings, pure=False, retries=MAX_CRASHES)
                keys[future] = key
                completed.add(future)
            future = next(completed)
            key = keys.pop(future)
            try:
                result = future.result()
            except KilledWorker:
                result = Failure("it ended its dask workers several times")
            except (CancelledError, OSError):
                raise UserError(f"the dask scheduler at {address} is gone; --resume goes on") from None
            except (ImportError, AttributeError) as error:
                raise UserError(f"the dask workers have another orbdens or lack something: {error}") from error
            yield key, result


def _client(address: str) -> Client:
    from distributed import Client
    from distributed.comm import get_address_host

    try:
        get_address_host(address)  # first, as a client of no address at all is slow to go away
        return Client(address, timeout=10, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"no dask scheduler answers at {address}: {reason}") from None


def _count_workers(client: Client) -> int:
    threads = client.nthreads()
    crowded = [name for name, n in threads.items() if n > 1]
    if crowded:
        raise UserError(
            f"the dask worker {crowded[0]} has {threads[crowded[0]]} threads, and PySCF needs one each: start it "
            "with --nthreads 1"
        )
    return len(threads)
