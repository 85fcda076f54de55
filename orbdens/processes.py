"""Work that is worth sharing out over processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from orbdens.errors import UserError
from orbdens.machine import available_cores

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3
"""Items that wait for each process of a ``stream_map``."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that libraries read their number of threads from when they load."""

KEPT = 1 << 28
"""Bytes of freed memory that a process keeps for its next arrays: to get pages from the system again and again takes a
fifth of the time of a network in prediction, and 8 % of a training step."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` of the GNU C library."""

ENVIRONMENT = {
    **dict.fromkeys(THREADS, "1"),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(KEPT)),  # of the GNU C library
}
"""Variables of worker processes."""


@contextmanager
def parallel_map(n_tasks: int, chunk: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` over one single-threaded process per core, or the plain one where starting them would take longer.

    Args:
        n_tasks: how many there are to do.
        chunk: how many of them take about as long as starting a process takes.
    """
    if n_tasks < 4 * chunk:
        yield map
        return
    with (
        one_thread_each(),  # one process per core beats threads inside small tasks
        ProcessPoolExecutor(
            max_workers=available_cores(),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
        ) as pool,
    ):
        yield pool.map


def stream_map(
    work: Callable[[T], R], items: Iterable[T], begin: Callable[..., None], arguments: tuple[Any, ...] = ()
) -> Iterator[R]:
    """As ``map``, by one single-threaded process per core; items are taken as results are, so that few are in memory.

    Args:
        work: a function of a module, as are all that processes are given.
        items: what to work on.
        begin: called once in every process, before its first item.
        arguments: of ``begin``.

    Raises:
        UserError: a process ended on its own.
    """
    n = available_cores()
    with (
        one_thread_each(),
        ProcessPoolExecutor(n, multiprocessing.get_context("spawn"), _begin_worker, (begin, *arguments)) as pool,
    ):
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > AHEAD * n:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError("a worker process ended on its own: killed, or out of memory") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker(begin: Callable[..., None] | None = None, *arguments: Any) -> None:
    end_with_parent()
    import torch  # takes a second, in which the parent may end

    torch.set_num_threads(1)
    if begin is not None:
        begin(*arguments)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started in the block compute with one thread: libraries read these variables when they load."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next arrays, as worker processes do: see ``KEPT``."""
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            library.mallopt(parameter, KEPT)


def end_with_parent() -> None:
    """To be called in a worker process: it ends when its parent does, and computes no further for nobody."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
