"""The CPU backend: compiled loops (Numba) shared out over a pool of plain Python threads.

The loops release the GIL, so the pool is as parallel as OpenMP, obeys ``torch.get_num_threads()`` call by call, may be
used from several Python threads at once, and survives a fork: a child simply makes its own pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from . import cpu_gradients, cpu_loops
from .cpu_prepare import Blocks, Scene, Tables, blocks, scene, tables
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

    tables: Tables
    scene: Scene
    blocks: Blocks

    def __init__(self, problem: Problem, at_least: float) -> None:
        problem.check()
        self.tables = tables(problem)
        self.scene, cells = scene(problem, at_least)
        points, point_ptr = problem.points.detach().numpy(), problem.point_ptr.numpy()
        if cells is not None and problem.pbc is not None:
            structure = np.repeat(np.arange(problem.n_structures), np.diff(point_ptr))
            points = wrap(points.astype(np.float64), structure, cells, problem.pbc.numpy())
        self.blocks = blocks(np.ascontiguousarray(points), point_ptr)
        self.l_max = int(problem.shells.shell_l.max()) if problem.shells.shell_l.numel() else 0
        self.n_threads = max(1, min(torch.get_num_threads(), self.blocks.unit_structure.size))


def forward(problem: Problem) -> Tensor:
    """Fields [n_points, K]."""
    coefficients = np.ascontiguousarray(problem.coefficients.detach().numpy())
    ready = _Prepared(problem, at_least=0.0)
    out = np.empty((problem.points.shape[0], coefficients.shape[1]), coefficients.dtype)
    n_tasks = max(1, min(8 * ready.n_threads, ready.blocks.unit_structure.size))
    arguments = (ready.tables, ready.scene, ready.blocks, ready.l_max)
    if coefficients.shape[1] == 1:
        column, c = out[:, 0], coefficients[:, 0]
        _share(n_tasks, ready.n_threads, lambda i: cpu_loops.forward(*arguments, c, i, n_tasks, column))
    else:
        _share(
            n_tasks, ready.n_threads, lambda i: cpu_loops.forward_channels(*arguments, coefficients, i, n_tasks, out)
        )
    return torch.from_numpy(out)


def vjp(problem: Problem, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""
    coefficients = problem.coefficients.detach().numpy()
    ready = _Prepared(problem, at_least=1.0)
    dtype, lanes = coefficients.dtype, VECTOR_BYTES // coefficients.dtype.itemsize
    n_points, n_sites = problem.points.shape[0], problem.site_type.numel()
    n_primitives, n = problem.shells.exponents.numel(), ready.n_threads
    kinds = np.array([wants[0] or wants[1], wants[2] or wants[3] or wants[5], wants[4]])
    point_grad = np.zeros((n_points, 3), dtype)
    position_grad = np.zeros((n, n_sites, 3))
    exponent_grad, weight_grad = np.zeros((n, n_primitives)), np.zeros((n, n_primitives))
    scaling_grad = np.zeros((n, n_sites))
    coefficient_grad = np.zeros(coefficients.shape)
    for k in range(coefficients.shape[1]):
        c, g = np.ascontiguousarray(coefficients[:, k]), np.ascontiguousarray(grad[:, k].numpy())
        lanes_grad = np.zeros((n, coefficients.shape[0] if wants[4] else 0, lanes), dtype)

        def work(i: int, c: np.ndarray = c, g: np.ndarray = g, lanes_grad: np.ndarray = lanes_grad) -> None:
            cpu_gradients.vjp(
                ready.tables,
                ready.scene,
                ready.blocks,
                ready.l_max,
                c,
                g,
                kinds,
                i,
                n,
                point_grad,
                position_grad[i],
                exponent_grad[i],
                weight_grad[i],
                lanes_grad[i],
                scaling_grad[i],
            )

        _share(n, n, work)
        if wants[4]:
            coefficient_grad[:, k] = lanes_grad.sum((0, 2), dtype=np.float64)
    results = (
        point_grad,
        position_grad.sum(0),
        exponent_grad.sum(0),
        weight_grad.sum(0),
        coefficient_grad,
        scaling_grad.sum(0),
    )
    tensors = [torch.from_numpy(result).to(problem.points.dtype) for result in results]
    return tuple(tensor if want else None for tensor, want in zip(tensors, wants, strict=True))
