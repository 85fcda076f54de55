"""The CPU backend: compiled loops (Numba) shared out over a pool of plain Python threads.

The loops release the GIL, so the pool is as parallel as OpenMP, obeys ``torch.get_num_threads()`` call by call, may be
used from several Python threads at once, and survives a fork: a child simply makes its own pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import cpu_gradients, cpu_loops
from .cpu_prepare import Array, Real, blocks, scene, scratch, tables
from .cpu_vector import VECTOR_BYTES
from .geometry import wrap
from .problem import Problem

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def validate() -> str | None:
    """Why this backend cannot run here, or None."""
    return None


def _share(n_tasks: int, n_threads: int, work: Callable[[int], None]) -> None:
    """Run work(0) ... work(n_tasks - 1) on n_threads threads of this process."""
    if n_threads == 1 or n_tasks == 1:
        for task in range(n_tasks):
            work(task)
        return
    key = (os.getpid(), n_threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(n_threads, thread_name_prefix="orbdens")
    list(_pools[key].map(work, range(n_tasks)))


class _Prepared:
    """Everything the compiled loops take, for one problem."""

    def __init__(self, problem: Problem, at_least: float) -> None:
        problem.check()
        self.tables = tables(problem)
        self.scene, cells = scene(problem, self.tables, at_least)
        points, point_ptr = problem.points.detach().numpy(), problem.point_ptr.numpy()
        if cells is not None and problem.pbc is not None:
            structure = np.repeat(np.arange(problem.n_structures), np.diff(point_ptr))
            points = wrap(points.astype(np.float64), structure, cells, problem.pbc.numpy())
        self.blocks = blocks(np.ascontiguousarray(points), point_ptr)
        self.dtype = problem.coefficients.detach().numpy().dtype
        self.l_max = int(problem.shells.shell_l.max()) if problem.shells.shell_l.numel() else 0
        self.n_threads = max(1, min(torch.get_num_threads(), self.blocks.unit_structure.size))
        self.n_tasks = max(1, min(8 * self.n_threads, self.blocks.unit_structure.size))

    def run(self, loop: Callable[..., None], n_channels: int, coefficients: Real, out: Real) -> None:
        """Run a forward loop over all tasks."""

        def work(task: int) -> None:
            room = scratch(self.scene, self.l_max, n_channels, self.dtype)
            loop(self.tables, self.scene, self.blocks, coefficients, task, self.n_tasks, room, out)

        _share(self.n_tasks, self.n_threads, work)


def forward(problem: Problem) -> Tensor:
    """Fields [n_points, K]."""
    ready = _Prepared(problem, at_least=0.0)
    coefficients = np.ascontiguousarray(problem.coefficients.detach().numpy())
    n_channels = coefficients.shape[1]
    out = np.empty((problem.points.shape[0], n_channels), ready.dtype)
    if n_channels == 1:
        ready.run(cpu_loops.forward, 1, coefficients[:, 0], out[:, 0])
    else:
        ready.run(cpu_loops.forward_channels, n_channels, coefficients.reshape(-1), out)
    return torch.from_numpy(out)


def derivatives(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""
    ready = _Prepared(problem, at_least=1.0)
    coefficients = problem.coefficients.detach().numpy()
    out = np.empty((problem.points.shape[0], 5, coefficients.shape[1]), ready.dtype)
    for k in range(coefficients.shape[1]):
        part = np.empty(out.shape[:2], ready.dtype)
        ready.run(cpu_gradients.derivatives, 1, np.ascontiguousarray(coefficients[:, k]), part)
        out[:, :, k] = part
    everything = torch.from_numpy(out)
    return everything[:, 3], everything[:, :3], everything[:, 4]


class Gradients(NamedTuple):
    """What one task adds to: float64 sums but for the points, shared, and the coefficients, one vector of lanes each."""

    points: Real
    positions: Array
    exponents: Array
    weights: Array
    lanes: Real
    scalings: Array


def vjp(problem: Problem, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""
    ready = _Prepared(problem, at_least=1.0)
    coefficients = problem.coefficients.detach().numpy()
    lanes = VECTOR_BYTES // ready.dtype.itemsize
    n_sites, n_primitives = problem.site_type.numel(), problem.shells.exponents.numel()
    kinds = np.array([wants[0] or wants[1], wants[2] or wants[3] or wants[5], wants[4]])
    point_grad = np.zeros((problem.points.shape[0], 3), ready.dtype)
    parts = [
        Gradients(
            point_grad,
            np.zeros((n_sites, 3)),
            np.zeros(n_primitives),
            np.zeros(n_primitives),
            np.zeros((coefficients.shape[0] if wants[4] else 0, lanes), ready.dtype),
            np.zeros(n_sites),
        )
        for _ in range(ready.n_threads)
    ]
    coefficient_grad = np.zeros(coefficients.shape)
    for k in range(coefficients.shape[1]):
        c, g = np.ascontiguousarray(coefficients[:, k]), np.ascontiguousarray(grad[:, k].numpy())

        def work(task: int, c: Real = c, g: Real = g) -> None:
            room = scratch(ready.scene, ready.l_max, 1, ready.dtype)
            parts[task].lanes[:] = 0
            arguments = (ready.tables, ready.scene, ready.blocks, c, g, kinds)
            cpu_gradients.vjp(*arguments, task, ready.n_threads, room, parts[task])

        _share(ready.n_threads, ready.n_threads, work)
        if wants[4]:
            coefficient_grad[:, k] = sum(part.lanes.sum(1, dtype=np.float64) for part in parts)
    results = (
        point_grad,
        sum(part.positions for part in parts),
        sum(part.exponents for part in parts),
        sum(part.weights for part in parts),
        coefficient_grad,
        sum(part.scalings for part in parts),
    )
    tensors = [torch.as_tensor(result).to(problem.points.dtype) for result in results]
    return tuple(tensor if want else None for tensor, want in zip(tensors, wants, strict=True))
