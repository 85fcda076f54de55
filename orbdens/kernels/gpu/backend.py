"""The GPU backend: Triton kernels. With TRITON_INTERPRET=1, set before first use, they run slowly on CPU tensors."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.blocks import BLOCK, cut, morton_order_on_device, slices
from orbdens.kernels.harmonics import L_LIMIT, recursion
from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.prepare import Prepared, prepare


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


def _launches(
    orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, at_least: float
) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    """Slices of points that fit the memory: (begin, end, number of blocks, arguments common to all kernels)."""
    if points.device.type != "cuda" and not _interpreted():
        raise ValueError(f"points: the gpu backend needs tensors on a CUDA device, got {points.device}")
    ready = prepare(orbitals.to("cpu"), at_least)
    arguments = _on_device(orbitals, ready)
    for begin, end, part, part_ptr in slices(points.detach(), point_ptr, max(BLOCK, memory // 2 // 160)):
        ptr = part_ptr.cpu().numpy()
        if ready.cells is not None:
            part = torch.from_numpy(ready.wrapped(part.cpu().numpy(), ptr)).to(part)
        block_ptr, structure, _ = cut(ptr, BLOCK)
        order = morton_order_on_device(part, part_ptr)
        block_first = torch.from_numpy(block_ptr[:-1]).to(points.device)
        yield (
            begin,
            end,
            structure.size,
            arguments
            | {
                "points": part.contiguous(),
                "order": order,
                "block_first": block_first,
                "block_count": torch.from_numpy(np.diff(block_ptr)).to(points.device),
                "block_structure": torch.from_numpy(structure).to(points.device),
                "origin": part[order[block_first]].contiguous(),
            },
        )


def _forward(orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, derivatives: bool) -> Tensor:
    from orbdens.kernels.gpu import loops

    n_channels = orbitals.n_channels
    out = points.new_empty((points.shape[0], 5, n_channels) if derivatives else (points.shape[0], n_channels))
    for begin, end, n_blocks, arguments in _launches(orbitals, points, point_ptr, memory, 1.0 if derivatives else 0.0):
        if n_blocks and n_channels:
            loops.forward[(n_blocks, n_channels)](**arguments, out=out[begin:end], DERIVATIVES=derivatives)
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

    shells, n_channels = orbitals.shells, orbitals.n_channels
    point_grad = torch.zeros_like(points, memory_format=torch.contiguous_format)
    position_grad = torch.zeros_like(orbitals.site_positions, memory_format=torch.contiguous_format)
    coefficient_grad = torch.zeros_like(orbitals.coefficients, memory_format=torch.contiguous_format)
    type_primitive = shells.primitive_ptr[shells.shell_ptr]
    counts = torch.diff(type_primitive)[orbitals.site_type]
    n_entries = int(counts.sum())
    moments = points.new_zeros(2, n_entries)
    for begin, end, n_blocks, arguments in _launches(orbitals, points, point_ptr, memory, 1.0):
        if n_blocks and n_channels:
            loops.vjp[(n_blocks, n_channels)](
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
