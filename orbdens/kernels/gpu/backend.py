"""The GPU backend: Triton kernels. With TRITON_INTERPRET=1, set before first use, they run slowly on CPU tensors."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.blocks import BLOCK, cut, morton_order_on_device, slices
from orbdens.kernels.cells import wrap_on_device
from orbdens.kernels.grids import grid_points
from orbdens.kernels.harmonics import L_LIMIT, recursion
from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.prepare import Prepared, prepare

GRID_POINTS = 1 << 21
"""Points of a grid that are on the device at once, as fields of one channel."""


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def validate() -> str | None:
    """Why this backend cannot run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install 'orbdens[gpu]')"
    if not torch.cuda.is_available() and not _interpreted():
        return "no CUDA device was found (set TRITON_INTERPRET=1 to run the kernels, slowly, on the CPU)"
    return None


def device() -> torch.device:
    """Where this backend expects its tensors: on the GPU, or on the CPU for the interpreter."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _on_device(orbitals: Orbitals, ready: Prepared) -> dict[str, Any]:
    """The arguments common to all kernels that the orbitals give."""
    coefficients = orbitals.coefficients.detach()

    def put(array: Any, dtype: torch.dtype | None = None) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(orbitals.device, dtype)

    scene = ready.scene
    start, up, down = recursion()
    ones = coefficients.new_ones(orbitals.n_sites)
    arguments = {
        "scalings": ones if orbitals.scalings is None else orbitals.scalings.detach().contiguous(),
        "site_reach2": put(scene.site_reach**2),
        "start": put(start, orbitals.dtype),
        "up": put(up, orbitals.dtype),
        "down": put(down, orbitals.dtype),
        "coefficients": coefficients.contiguous(),
        "cutoff2": coefficients.new_tensor([min(scene.cutoff2, 1e30)]),
        "n_channels": orbitals.n_channels,
        "STRIDE": L_LIMIT + 1,
        "L_MAX": ready.l_max,
        "BLOCK": BLOCK,
        "enable_fp_fusion": True,
    }
    for name in ("image_ptr", "image_site", "image_position", "site_type", "coefficient_ptr", "reach_ptr", "reach2"):
        arguments[name] = put(getattr(scene, name))
    return arguments | {name: put(array) for name, array in ready.tables._asdict().items()}


def _prepared(orbitals: Orbitals, points: Tensor, at_least: float) -> tuple[Prepared, dict[str, Any]]:
    """The orbitals as the kernels take them, and the arguments that they give; ``at_least`` as in ``prepare``."""
    if points.device.type != "cuda" and not _interpreted():
        raise ValueError(f"points: the gpu backend needs tensors on a CUDA device, got {points.device}")
    ready = prepare(orbitals.to("cpu"), at_least)
    return ready, _on_device(orbitals, ready)


def _blocks(ready: Prepared, points: Tensor, point_ptr: Tensor) -> tuple[int, dict[str, Any]]:
    """Blocks of neighbours among points: how many, and the arguments common to all kernels that they give."""
    block_ptr, structure, _ = cut(point_ptr.cpu().numpy(), BLOCK)
    if ready.cells is not None and ready.pbc is not None:
        counts = torch.diff(point_ptr)
        owner = torch.repeat_interleave(torch.arange(counts.numel(), device=points.device), counts)
        points = wrap_on_device(points, owner, ready.cells, ready.pbc)
    order = morton_order_on_device(points, point_ptr)
    block_first = torch.from_numpy(block_ptr[:-1]).to(points.device)
    return structure.size, {
        "points": points.contiguous(),
        "order": order,
        "block_first": block_first,
        "block_count": torch.from_numpy(np.diff(block_ptr)).to(points.device),
        "block_structure": torch.from_numpy(structure).to(points.device),
        "origin": points[order[block_first]].contiguous(),
    }


def _launches(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, at_least: float
) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    """Slices of points that fit the memory: (begin, end, number of blocks, arguments common to all kernels)."""
    ready, arguments = _prepared(orbitals, points, at_least)
    for begin, end, part, part_ptr in slices(points.detach(), point_ptr, max(BLOCK, memory // 2 // 160)):
        n_blocks, of_points = _blocks(ready, part, part_ptr)
        yield begin, end, n_blocks, arguments | of_points


def _run(kernel: Any, n_blocks: int, **arguments: Any) -> None:
    """Run a kernel on every block and channel, on the GPU where its tensors are, be it the current one or not."""
    if n_blocks and arguments["n_channels"]:
        with torch.cuda.device_of(arguments["points"]):  # type: ignore[no-untyped-call]
            kernel[(n_blocks, arguments["n_channels"])](**arguments)


def _forward(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, derivatives: bool) -> Tensor:
    from orbdens.kernels.gpu import loops

    n_channels = orbitals.n_channels
    out = points.new_empty((points.shape[0], 5, n_channels) if derivatives else (points.shape[0], n_channels))
    for begin, end, n_blocks, arguments in _launches(orbitals, points, point_ptr, memory, 1.0 if derivatives else 0.0):
        _run(loops.forward, n_blocks, **arguments, out=out[begin:end], DERIVATIVES=derivatives)
    return out


def grid_forward(orbitals: Orbitals, origin: Tensor, steps: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Fields [nx * ny * nz, K] of one structure on a grid, in the memory of the processor.

    Points are made on the device, and values leave it, ``GRID_POINTS`` at a time.
    """
    from orbdens.kernels.gpu import loops

    n_channels = orbitals.n_channels
    out = torch.empty(math.prod(shape), n_channels, dtype=orbitals.dtype)
    ready, arguments = _prepared(orbitals, orbitals.coefficients, 0.0)
    size = max(BLOCK, GRID_POINTS // max(1, n_channels))
    for begin in range(0, len(out), size):
        end = min(begin + size, len(out))
        points = grid_points((begin, end), origin, steps, shape, orbitals.coefficients)
        n_blocks, of_points = _blocks(ready, points, torch.tensor([0, end - begin], device=points.device))
        fields = points.new_empty(end - begin, n_channels)
        _run(loops.forward, n_blocks, **arguments, **of_points, out=fields, DERIVATIVES=False)
        out[begin:end] = fields
    return out


def forward(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> Tensor:
    """Fields [n_points, K]."""
    return _forward(orbitals, points, point_ptr, memory, derivatives=False)


def derivatives(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""
    out = _forward(orbitals, points, point_ptr, memory, derivatives=True)
    return out[:, 3], out[:, :3], out[:, 4]


def vjp(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, grad: Tensor, wants: list[bool]
) -> tuple[Tensor | None, ...]:
    """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""
    from orbdens.kernels.gpu import loops

    shells = orbitals.shells
    point_grad = torch.zeros_like(points, memory_format=torch.contiguous_format)
    position_grad = torch.zeros_like(orbitals.site_positions, memory_format=torch.contiguous_format)
    coefficient_grad = torch.zeros_like(orbitals.coefficients, memory_format=torch.contiguous_format)
    type_primitive = shells.primitive_ptr[shells.shell_ptr]
    counts = torch.diff(type_primitive)[orbitals.site_type]
    n_entries = int(counts.sum())
    moments = points.new_zeros(2, n_entries)
    for begin, end, n_blocks, arguments in _launches(orbitals, points, point_ptr, memory, 1.0):
        _run(
            loops.vjp,
            n_blocks,
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
    # The moments are those of every primitive of every site.
    site = torch.repeat_interleave(torch.arange(orbitals.n_sites, device=points.device), counts)
    inside = torch.arange(n_entries, device=points.device) - (torch.cumsum(counts, 0) - counts)[site]
    primitive = inside + type_primitive[orbitals.site_type[site]]
    scale = torch.ones_like(moments[0]) if orbitals.scalings is None else orbitals.scalings.detach()[site]
    slope = -shells.weights.detach()[primitive] * moments[1]
    zero = torch.zeros_like(shells.exponents)
    results = (
        point_grad,
        position_grad,
        zero.index_add(0, primitive, slope * scale),
        zero.index_add(0, primitive, moments[0]),
        coefficient_grad,
        moments.new_zeros(orbitals.n_sites).index_add(0, site, slope * shells.exponents.detach()[primitive]),
    )
    return tuple(result if want else None for result, want in zip(results, wants, strict=True))
