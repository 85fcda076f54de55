"""Work shared out over plain Python threads.

Compiled loops release the GIL, so such a pool is as parallel as OpenMP, obeys ``torch.get_num_threads()`` call by call,
may be used from several Python threads at once, and survives a fork: a child simply makes its own pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def share(n_tasks: int, n_threads: int, work: Callable[[int], None]) -> None:
    """Run work(0) ... work(n_tasks - 1) on n_threads threads of this process."""
    if n_threads == 1 or n_tasks == 1:
        for task in range(n_tasks):
            work(task)
        return
    key = (os.getpid(), n_threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(n_threads, thread_name_prefix="orbdens")
    list(_pools[key].map(work, range(n_tasks)))


def share_range(n: int, work: Callable[[int, int, int], None]) -> None:
    """Run work(task, first, last) on as many threads as torch may use, with parts of equal size of n things."""
    n_tasks = max(1, min(torch.get_num_threads(), n))
    share(n_tasks, n_tasks, lambda task: work(task, n * task // n_tasks, n * (task + 1) // n_tasks))
