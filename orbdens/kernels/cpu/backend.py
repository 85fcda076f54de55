"""The CPU backend: compiled loops (Numba), shared out over threads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.blocks import BLOCK, slices
from orbdens.kernels.cpu import gradients, grid, hessians, loops
from orbdens.kernels.cpu.scratch import Blocks, blocks, new_scratch
from orbdens.kernels.cpu.threads import share
from orbdens.kernels.cpu.vector import VECTOR_BYTES
from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.prepare import Array, Prepared, Real, prepare


def validate() -> str | None:
    """Why this backend cannot run here, or None."""
    return None


def device() -> torch.device:
    """Where this backend expects its tensors."""
    return torch.device("cpu")


class _Run(NamedTuple):
    """One slice of the points, ready for the loops, and how it is shared out."""

    ready: Prepared
    blocks: Blocks
    dtype: np.dtype[np.floating]
    n_threads: int
    n_tasks: int

    @classmethod
    def of(cls, ready: Prepared, points: Tensor, point_ptr: Tensor, dtype: np.dtype[np.floating]) -> _Run:
        ptr = point_ptr.numpy()
        cut = blocks(np.ascontiguousarray(ready.wrapped(points.detach().numpy(), ptr)), ptr)
        n_units = cut.unit_structure.size
        n_threads = max(1, min(torch.get_num_threads(), n_units))
        return cls(ready, cut, dtype, n_threads, max(1, min(8 * n_threads, n_units)))

    def forward(self, loop: Callable[..., None], n_channels: int, coefficients: Real, out: Real) -> None:
        """Run a forward loop over all tasks."""

        def work(task: int) -> None:
            scratch = new_scratch(self.ready.scene, self.ready.l_max, n_channels, self.dtype)
            loop(self.ready.tables, self.ready.scene, self.blocks, coefficients, task, self.n_tasks, scratch, out)

        share(self.n_tasks, self.n_threads, work)


def _slice_size(ready: Prepared, memory: int) -> int:
    """Points whose order, and wrapped copy where periodic, stay inside the memory budget."""
    bytes_per_point = 24 if ready.cells is None else 160
    return max(BLOCK, memory // 2 // bytes_per_point)


def forward(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> Tensor:
    """Fields [n_points, K]."""
    coefficients = np.ascontiguousarray(orbitals.coefficients.detach().numpy())
    n_channels = orbitals.n_channels
    out = np.empty((points.shape[0], n_channels), coefficients.dtype)
    ready = prepare(orbitals, at_least=0.0)
    for begin, end, part, ptr in slices(points, point_ptr, _slice_size(ready, memory)):
        run = _Run.of(ready, part, ptr, coefficients.dtype)
        if n_channels == 1:
            run.forward(loops.forward, 1, coefficients[:, 0], out[begin:end, 0])
        else:
            run.forward(loops.forward_channels, n_channels, coefficients.reshape(-1), out[begin:end])
    return torch.from_numpy(out)


def grid_forward(orbitals: Orbitals, origin: Tensor, steps: Tensor, shape: tuple[int, int, int]) -> Tensor | None:
    """Field [nx * ny * nz, 1] on a grid along x, y and z; None for other grids, more fields than one or no points.

    Args:
        orbitals: orbitals of one structure.
        origin: float64 [3], Å.
        steps: float64 [3, 3], Å, rows.
        shape: points along each step.
    """
    step = steps.diagonal().numpy()
    if (
        orbitals.n_channels != 1
        or 0 in shape
        or (step <= 0).any()
        or not torch.equal(steps, torch.diag(steps.diagonal()))
    ):
        return None
    axes = grid.GridAxes(origin.numpy(), step, np.array(shape))
    corners = axes.origin + np.array(list(product((0, 1), repeat=3))) * (axes.shape - 1) * step
    ready = prepare(orbitals, 0.0, corners)
    coefficients = orbitals.coefficients.detach().numpy()[:, 0]
    shells = orbitals.shells
    monomials = grid.cartesian(
        ready.tables, ready.scene, shells.shell_l.numpy(), shells.shell_ptr.numpy(), coefficients
    )
    out = np.empty(int(np.prod(shape)), coefficients.dtype)
    n_threads = torch.get_num_threads()
    n_tasks = 8 * n_threads

    def work(task: int) -> None:
        scratch = grid.new_grid_scratch(ready.scene, ready.l_max, coefficients.dtype)
        grid.forward(ready.tables, ready.scene, monomials, axes, ready.l_max, task, n_tasks, scratch, out)

    share(n_tasks, n_threads, work)
    return torch.from_numpy(out)[:, None]


def derivatives(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""
    everything = _columns(gradients.derivatives, 5, orbitals, points, point_ptr, memory)
    return everything[:, 3], everything[:, :3], everything[:, 4]


def second_derivatives(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Hessians [n_points, 3, 3, K]."""
    everything = _columns(hessians.second_derivatives, hessians.COLUMNS, orbitals, points, point_ptr, memory)
    square = everything[:, [[4, 5, 6], [5, 7, 8], [6, 8, 9]]]
    return everything[:, 3], everything[:, :3], square


def _columns(
    loop: Callable[..., None], n_columns: int, orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int
) -> Tensor:
    """What a loop over derivatives writes at every point for every field [n_points, n_columns, K]."""
    coefficients = orbitals.coefficients.detach().numpy()
    out = np.empty((points.shape[0], n_columns, coefficients.shape[1]), coefficients.dtype)
    ready = prepare(orbitals, at_least=1.0)
    for begin, end, part, ptr in slices(points, point_ptr, _slice_size(ready, memory)):
        run = _Run.of(ready, part, ptr, coefficients.dtype)
        for k in range(coefficients.shape[1]):
            channel = np.empty((end - begin, n_columns), coefficients.dtype)
            run.forward(loop, 1, np.ascontiguousarray(coefficients[:, k]), channel)
            out[begin:end, :, k] = channel
    return torch.from_numpy(out)


class Gradients(NamedTuple):
    """What one task adds to: float64 sums but for the points, shared, and the coefficients, lanes of sums."""

    points: Real
    positions: Array
    exponents: Array
    weights: Array
    lanes: Real
    scalings: Array


def vjp(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, grad: Tensor, wants: list[bool]
) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""
    n_sites, n_primitives = orbitals.n_sites, orbitals.shells.exponents.numel()
    point_grad = torch.zeros_like(points, memory_format=torch.contiguous_format)
    sums = [
        np.zeros((n_sites, 3)),
        np.zeros(n_primitives),
        np.zeros(n_primitives),
        np.zeros(tuple(orbitals.coefficients.shape)),
        np.zeros(n_sites),
    ]
    coefficients = orbitals.coefficients.detach().numpy()
    ready = prepare(orbitals, at_least=1.0)
    for begin, end, part, ptr in slices(points, point_ptr, _slice_size(ready, memory)):
        run = _Run.of(ready, part, ptr, coefficients.dtype)
        _add_gradients(run, coefficients, memory, grad[begin:end].numpy(), wants, point_grad[begin:end].numpy(), sums)
    results = [point_grad, *(torch.from_numpy(total).to(points.dtype) for total in sums)]
    return tuple(result if want else None for result, want in zip(results, wants, strict=True))


def _add_gradients(
    run: _Run, coefficients: Real, memory: int, grad: Real, wants: list[bool], point_grad: Real, sums: list[Array]
) -> None:
    """Add the gradients of a slice of points to ``point_grad`` and to ``sums``, in the order of ``DIFFERENTIABLE``."""
    positions, exponents, weights, coefficient_sum, scalings = sums
    lanes = VECTOR_BYTES // run.dtype.itemsize
    # More parts than threads even out the load; each has its own sums, so that the order of additions is fixed.
    affordable = memory // 4 // max(1, coefficients.shape[0] * VECTOR_BYTES)
    n_parts = run.n_threads if run.n_threads == 1 else max(1, min(4 * run.n_threads, run.n_tasks, affordable))
    groups = np.array([wants[0] or wants[1], wants[2] or wants[3] or wants[5], wants[4]])
    parts = [
        Gradients(
            point_grad,
            np.zeros_like(positions),
            np.zeros_like(exponents),
            np.zeros_like(weights),
            np.zeros((coefficients.shape[0] if wants[4] else 0, lanes), run.dtype),
            np.zeros_like(scalings),
        )
        for _ in range(n_parts)
    ]
    for k in range(coefficients.shape[1]):
        c, g = np.ascontiguousarray(coefficients[:, k]), np.ascontiguousarray(grad[:, k])

        def work(task: int, c: Real = c, g: Real = g) -> None:
            scratch = new_scratch(run.ready.scene, run.ready.l_max, 1, run.dtype)
            parts[task].lanes[:] = 0
            arguments = (run.ready.tables, run.ready.scene, run.blocks, c, g, groups)
            gradients.vjp(*arguments, task, n_parts, scratch, parts[task])

        share(n_parts, run.n_threads, work)
        if wants[4]:
            for part in parts:
                coefficient_sum[:, k] += part.lanes.sum(1, dtype=np.float64)
    for part in parts:
        positions += part.positions
        exponents += part.exponents
        weights += part.weights
        scalings += part.scalings
