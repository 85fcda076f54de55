"""Work that is worth sharing out over processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from orbdens.machine import available_cores

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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


def _begin_worker() -> None:
    end_with_parent()
    import torch  # takes a second, in which the parent may end

    torch.set_num_threads(1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started in the block compute with one thread: libraries read these variables when they load."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_with_parent() -> None:
    """To be called in a worker process: it ends when its parent does, and computes no further for nobody."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
