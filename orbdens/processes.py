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
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # one process per core beats threads inside small tasks
    try:
        with ProcessPoolExecutor(
            max_workers=available_cores(),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
        ) as pool:
            yield pool.map
    finally:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads


def _begin_worker() -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on computing for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
