"""The CPU backend: compiled loops (Numba) shared out over a pool of plain Python threads.

The loops release the GIL, so the pool is as parallel as OpenMP, obeys ``torch.get_num_threads()`` call by call, may be
used from several Python threads at once, and survives a fork: a child simply makes its own pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.cpu import gradients, grid, loops
from orbdens.kernels.cpu.vector import VECTOR_BYTES
from orbdens.kernels.prepare import BLOCK, Array, Index, Real, blocks, scene, scratch, tables
from orbdens.kernels.problem import Problem
from orbdens.kernels.screening import wrap

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


def _slices(problem: Problem) -> Iterator[tuple[int, int, Problem]]:
    """Slices of points whose order, and wrapped copy where periodic, stay inside the memory budget."""
    bytes_per_point = 160 if problem.cells is not None else 24
    return problem.slices(max(BLOCK, problem.memory // 2 // bytes_per_point))


def forward(problem: Problem) -> Tensor:
    """Fields [n_points, K]."""
    problem.check()
    coefficients = np.ascontiguousarray(problem.coefficients.detach().numpy())
    n_channels = coefficients.shape[1]
    out = np.empty((problem.points.shape[0], n_channels), coefficients.dtype)
    for begin, end, part in _slices(problem):
        ready = _Prepared(part, at_least=0.0)
        if n_channels == 1:
            ready.run(loops.forward, 1, coefficients[:, 0], out[begin:end, 0])
        else:
            ready.run(loops.forward_channels, n_channels, coefficients.reshape(-1), out[begin:end])
    return torch.from_numpy(out)


def grid_forward(problem: Problem, origin: Array, step: Array, shape: Index) -> Tensor:
    """Field [nx * ny * nz] of one structure and channel on the points origin + (i, j, k) * step, k fastest.

    The points of ``problem`` are not used (give none); origin and step > 0 are [3] in Å.
    """
    problem.check()
    table = tables(problem)
    corners = origin + np.array(list(product((0, 1), repeat=3))) * (shape - 1) * step
    scene_, _ = scene(problem, table, 0.0, corners)
    coefficients = problem.coefficients.detach().numpy()[:, 0]
    shells = problem.shells
    monomials = grid.cartesian(table, scene_, shells.shell_l.numpy(), shells.shell_ptr.numpy(), coefficients)
    l_max = int(shells.shell_l.max()) if shells.shell_l.numel() else 0
    out = np.empty(int(np.prod(shape)), coefficients.dtype)
    n_threads = torch.get_num_threads()
    n_tasks = 8 * n_threads

    def work(task: int) -> None:
        room = grid.grid_scratch(scene_, l_max, coefficients.dtype)
        arguments = (table, scene_, monomials, grid.Grid(origin, step, shape), l_max)
        grid.forward(*arguments, task, n_tasks, room, out)

    _share(n_tasks, n_threads, work)
    return torch.from_numpy(out)


def derivatives(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""
    problem.check()
    coefficients = problem.coefficients.detach().numpy()
    out = np.empty((problem.points.shape[0], 5, coefficients.shape[1]), coefficients.dtype)
    for begin, end, part in _slices(problem):
        ready = _Prepared(part, at_least=1.0)
        for k in range(coefficients.shape[1]):
            channel = np.empty((end - begin, 5), ready.dtype)
            ready.run(gradients.derivatives, 1, np.ascontiguousarray(coefficients[:, k]), channel)
            out[begin:end, :, k] = channel
    everything = torch.from_numpy(out)
    return everything[:, 3], everything[:, :3], everything[:, 4]


class Gradients(NamedTuple):
    """What one task adds to: float64 sums but for the points, shared, and the coefficients, lanes of sums."""

    points: Real
    positions: Array
    exponents: Array
    weights: Array
    lanes: Real
    scalings: Array


def vjp(problem: Problem, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""
    n_sites, n_primitives = problem.site_type.numel(), problem.shells.exponents.numel()
    n_coefficients, n_channels = problem.coefficients.shape
    point_grad = torch.zeros_like(problem.points, memory_format=torch.contiguous_format)
    sums = [
        np.zeros((n_sites, 3)),
        np.zeros(n_primitives),
        np.zeros(n_primitives),
        np.zeros((n_coefficients, n_channels)),
        np.zeros(n_sites),
    ]
    for begin, end, part in _slices(problem):
        _add_gradients(part, grad[begin:end].numpy(), wants, point_grad[begin:end].numpy(), sums)
    results = [point_grad, *(torch.from_numpy(total).to(problem.points.dtype) for total in sums)]
    return tuple(result if want else None for result, want in zip(results, wants, strict=True))


def _add_gradients(problem: Problem, grad: Real, wants: list[bool], point_grad: Real, sums: list[Array]) -> None:
    """Add the gradients of a slice of points to ``point_grad`` and to ``sums``, in the order of ``DIFFERENTIABLE``."""
    ready = _Prepared(problem, at_least=1.0)
    positions, exponents, weights, coefficient_sum, scalings = sums
    coefficients = problem.coefficients.detach().numpy()
    lanes = VECTOR_BYTES // ready.dtype.itemsize
    # More parts than threads even out the load; each has its own sums, so that the order of additions is fixed.
    affordable = problem.memory // 4 // max(1, coefficients.shape[0] * VECTOR_BYTES)
    n_parts = ready.n_threads if ready.n_threads == 1 else max(1, min(4 * ready.n_threads, ready.n_tasks, affordable))
    kinds = np.array([wants[0] or wants[1], wants[2] or wants[3] or wants[5], wants[4]])
    parts = [
        Gradients(
            point_grad,
            np.zeros_like(positions),
            np.zeros_like(exponents),
            np.zeros_like(weights),
            np.zeros((coefficients.shape[0] if wants[4] else 0, lanes), ready.dtype),
            np.zeros_like(scalings),
        )
        for _ in range(n_parts)
    ]
    for k in range(coefficients.shape[1]):
        c, g = np.ascontiguousarray(coefficients[:, k]), np.ascontiguousarray(grad[:, k])

        def work(task: int, c: Real = c, g: Real = g) -> None:
            room = scratch(ready.scene, ready.l_max, 1, ready.dtype)
            parts[task].lanes[:] = 0
            arguments = (ready.tables, ready.scene, ready.blocks, c, g, kinds)
            gradients.vjp(*arguments, task, n_parts, room, parts[task])

        _share(n_parts, ready.n_threads, work)
        if wants[4]:
            for part in parts:
                coefficient_sum[:, k] += part.lanes.sum(1, dtype=np.float64)
    for part in parts:
        positions += part.positions
        exponents += part.exponents
        weights += part.weights
        scalings += part.scalings
