"""Work that is worth sharing out over processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

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

ASK_EVERY, TO_END = 0.3, 60.0
"""Seconds between two questions whether a process of ``Workers`` has done enough, and what it has to end in then."""

ENVIRONMENT = {
    **dict.fromkeys(THREADS, "1"),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(KEPT)),  # of the GNU C library
}
"""Variables of worker processes."""


def parallel_map(work: Callable[..., R], items: Sequence[Any], chunk: int, *shared: Any) -> Iterator[R]:
    """``work(*shared, item)`` of each item, by one single-threaded process per core: as ``stream_map``.

    Here and one after the other where starting processes would take longer.

    Args:
        work: a function of a module.
        items: what to work on.
        chunk: how many of them take about as long as starting a process takes.
        shared: first arguments of ``work``, given to every process once.

    Raises:
        UserError: a process ended on its own.
    """
    if len(items) < 4 * chunk:
        return (work(*shared, item) for item in items)
    return stream_map(_call, items, _share, (work, *shared))


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


class Ahead(Generic[T, R]):
    """Work that is begun before its results are needed, in single-threaded processes that the first item starts.

    Args:
        work: a function of a module; items are its last argument.
        shared: its first arguments, given to every process once.
        processes: how many.
    """

    def __init__(self, work: Callable[..., R], shared: tuple[Any, ...], processes: int) -> None:
        self._work, self._shared, self._processes = work, shared, processes
        self._pool: ProcessPoolExecutor | None = None
        self._begun: dict[T, Future[R]] = {}

    def __contains__(self, item: T) -> bool:
        return item in self._begun

    def begin(self, item: T) -> None:
        """Have an item worked on; items are hashable, and one that is begun already stays so."""
        if item in self._begun:
            return
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            given = (_share, self._work, *self._shared)
            self._pool = ProcessPoolExecutor(self._processes, spawn, _begin_worker, given)
        try:
            with one_thread_each():
                self._begun[item] = self._pool.submit(_call, item)
        except BrokenProcessPool:
            self.close()

    def result(self, item: T) -> R:
        """The result of an item, once: waited for if it was begun; else, or if its process is lost, worked out here."""
        begun = self._begun.pop(item, None)
        try:
            if begun is not None:
                return begun.result()
        except BrokenProcessPool:
            self.close()  # the next item that is begun starts others
        return self._work(*self._shared, item)

    def close(self) -> None:
        """End the processes; what they have begun is forgotten."""
        self._begun.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


_shared_work: Callable[[Any], Any]
"""What a process has been given to do with each item."""


def _share(work: Callable[..., Any], *shared: Any) -> None:
    global _shared_work
    _shared_work = partial(work, *shared)


def _call(item: Any) -> Any:
    return _shared_work(item)


def _begin_worker(begin: Callable[..., None] | None = None, *arguments: Any) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, with which they end
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


class Workers:
    """The processes at work, so that all can be ended.

    Attributes:
        stopped: whether they were, and none begins any more.
    """

    def __init__(self) -> None:
        self._lock, self._running, self.stopped = threading.Lock(), set[BaseProcess](), False

    def run(self, target: Callable[..., None], *arguments: Any, enough: Callable[[], bool] | None = None) -> int:
        """Call a function in a process of its own, and wait for it; its exit status.

        Args:
            target: a function of a module.
            arguments: its arguments.
            enough: asked now and then; once it says so, the process gets a SIGTERM and, if that does not end it, a
                SIGKILL.
        """
        process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
        with self._lock:
            if self.stopped:
                return 1
            process.start()
            self._running.add(process)
        while enough is not None and process.is_alive():
            process.join(ASK_EVERY)
            if process.is_alive() and enough():
                process.terminate()
                process.join(TO_END)
                process.kill()
                break
        process.join()
        with self._lock:
            self._running.discard(process)
        return process.exitcode or 0

    def stop(self) -> None:
        """End all of them."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.terminate()


def begin_logged(log: Path, threads: int) -> None:
    """In a process of its own: what it prints goes to a file, and it ends with the process that started it."""
    end_with_parent()
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)


def last_words(log: Path, what: str, status: int) -> str:
    """The last line of a log, which a mistake ends with; a process that was killed wrote none."""
    if status < 0:
        return f"its {what} was ended by signal {-status}: killed, or out of memory"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"its {what} ended with status {status}"


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
