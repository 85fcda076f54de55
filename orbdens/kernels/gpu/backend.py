"""The GPU backend: Triton kernels. With TRITON_INTERPRET=1, set before first use, they run slowly on CPU tensors."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.harmonics import L_LIMIT, recursion
from orbdens.kernels.prepare import BLOCK, Array, scene, tables
from orbdens.kernels.problem import Problem
from orbdens.kernels.screening import wrap


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def validate() -> str | None:
    """Why this backend cannot run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install 'orbdens[gpu]')"
    if not torch.cuda.is_available() and not _interpreted():
        return "no CUDA device was found (set TRITON_INTERPRET=1 to run the kernels, slowly, on the CPU)"
    return None


def _order(points: Tensor, point_ptr: Tensor) -> Tensor:
    """Order of the points [n, 3] along a Morton curve inside each structure, int64 [n]."""
    counts = torch.diff(point_ptr)
    structure = torch.repeat_interleave(torch.arange(counts.numel(), device=points.device), counts)
    if not points.shape[0]:
        return structure
    low = points.amin(0)
    side = (points - low).amax().clamp(min=1e-30)
    cell = ((points - low) / side * 1023.0).to(torch.int64)
    key = structure << 30
    for bit in range(10):
        for axis in range(3):
            key |= ((cell[:, axis] >> bit) & 1) << (3 * bit + 2 - axis)
    return torch.argsort(key, stable=True)


def _launch(problem: Problem, at_least: float) -> tuple[int, dict[str, Any]]:
    """Number of blocks of points, and the arguments common to all kernels."""
    device, dtype = problem.points.device, problem.points.dtype
    moved: dict[str, Any] = {
        name: value.detach().cpu() for name, value in vars(problem).items() if isinstance(value, Tensor)
    }
    cpu = replace(problem, shells=problem.shells.to("cpu"), **moved)
    table = tables(cpu)
    sites, cells = scene(cpu, table, at_least)
    points = problem.points.detach()
    if cells is not None and cpu.pbc is not None:
        structure = np.repeat(np.arange(problem.n_structures), np.diff(cpu.point_ptr.numpy()))
        wrapped = wrap(cpu.points.double().numpy(), structure, cells, cpu.pbc.numpy())
        points = torch.from_numpy(wrapped).to(device, dtype)
    counts = np.diff(cpu.point_ptr.numpy())
    n_blocks = -(-counts // BLOCK)
    structure = np.repeat(np.arange(counts.size), n_blocks)
    inside = np.arange(structure.size) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
    first = cpu.point_ptr.numpy()[structure] + BLOCK * inside
    order = _order(points, problem.point_ptr)

    def put(array: Array | np.ndarray, kind: torch.dtype | None = None) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)

    start, up, down = recursion()
    block_first = put(first)
    arguments = {
        "points": points.contiguous(),
        "order": order,
        "block_first": block_first,
        "block_count": put(np.minimum(BLOCK, counts[structure] - BLOCK * inside)),
        "block_structure": put(structure),
        "origin": points[order[block_first]].contiguous(),
        "scalings": put(sites.scalings) if problem.scalings is not None else points.new_ones(problem.site_type.numel()),
        "site_reach2": put(sites.site_reach**2),
        "start": put(start, dtype),
        "up": put(up, dtype),
        "down": put(down, dtype),
        "coefficients": problem.coefficients.detach().contiguous(),
        "cutoff2": points.new_tensor([min(sites.cutoff2, 1e30)]),
        "n_channels": problem.coefficients.shape[1],
        "STRIDE": L_LIMIT + 1,
        "L_MAX": int(cpu.shells.shell_l.max()) if cpu.shells.shell_l.numel() else 0,
        "BLOCK": BLOCK,
        "enable_fp_fusion": True,
    }
    for name in ("image_ptr", "image_site", "image_position", "site_type", "coefficient_ptr", "reach_ptr", "reach2"):
        arguments[name] = put(getattr(sites, name))
    for name in table._fields:
        arguments[name] = put(getattr(table, name))
    return structure.size, arguments


def _slices(problem: Problem) -> Any:
    """Slices of points whose order, keys and wrapped copy stay inside the memory budget."""
    if problem.points.device.type != "cuda" and not _interpreted():
        raise ValueError(f"points: the gpu backend needs tensors on a CUDA device, got {problem.points.device}")
    return problem.slices(max(BLOCK, problem.memory // 2 // 160))


def _forward(problem: Problem, derivatives: bool) -> Tensor:
    from orbdens.kernels.gpu import loops

    problem.check()
    n_channels = problem.coefficients.shape[1]
    shape = (problem.points.shape[0], 5, n_channels) if derivatives else (problem.points.shape[0], n_channels)
    out = problem.points.new_empty(shape)
    for begin, end, part in _slices(problem):
        n_blocks, arguments = _launch(part, 1.0 if derivatives else 0.0)
        if n_blocks and n_channels:
            loops.forward[(n_blocks, n_channels)](**arguments, out=out[begin:end], DERIVATIVES=derivatives)
    return out


def forward(problem: Problem) -> Tensor:
    """Fields [n_points, K]."""
    return _forward(problem, derivatives=False)


def derivatives(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""
    out = _forward(problem, derivatives=True)
    return out[:, 3], out[:, :3], out[:, 4]


def vjp(problem: Problem, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""
    from orbdens.kernels.gpu import loops

    shells, device = problem.shells, problem.points.device
    point_grad = torch.zeros_like(problem.points, memory_format=torch.contiguous_format)
    position_grad = torch.zeros_like(problem.site_positions, memory_format=torch.contiguous_format)
    coefficient_grad = torch.zeros_like(problem.coefficients, memory_format=torch.contiguous_format)
    counts = torch.diff(shells.primitive_ptr[shells.shell_ptr])[problem.site_type]
    n_entries = int(counts.sum())
    moments = problem.points.new_zeros(2, n_entries)
    for begin, end, part in _slices(problem):
        n_blocks, arguments = _launch(part, 1.0)
        if n_blocks and problem.coefficients.shape[1]:
            loops.vjp[(n_blocks, problem.coefficients.shape[1])](
                **arguments,
                cotangents=grad[begin:end].contiguous(),
                point_grad=point_grad[begin:end],
                position_grad=position_grad,
                zeroth_moments=moments[0],
                first_moments=moments[1],
                coefficient_grad=coefficient_grad,
                GEOMETRY=wants[0] or wants[1],
                RADIAL=wants[2] or wants[3] or wants[5],
                COEFFICIENTS=wants[4],
            )
    site = torch.repeat_interleave(torch.arange(problem.site_type.numel(), device=device), counts)
    first = torch.cumsum(counts, 0) - counts
    primitive = (
        torch.arange(n_entries, device=device)
        - first[site]
        + shells.primitive_ptr[shells.shell_ptr][problem.site_type[site]]
    )
    scale = torch.ones_like(moments[0]) if problem.scalings is None else problem.scalings.detach()[site]
    slope = -shells.weights.detach()[primitive] * moments[1]
    zero = torch.zeros_like(shells.exponents)
    results = (
        point_grad,
        position_grad,
        zero.index_add(0, primitive, slope * scale),
        zero.index_add(0, primitive, moments[0]),
        coefficient_grad,
        moments.new_zeros(problem.site_type.numel()).index_add(0, site, slope * shells.exponents.detach()[primitive]),
    )
    return tuple(result if want else None for result, want in zip(results, wants, strict=True))
