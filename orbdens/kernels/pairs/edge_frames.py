"""Features of sites in the frames of edges, and back: what messages along edges are made of.

Of features in the frame of an edge, whose direction is +z there, rows |m| <= m_max are kept, by m: l = m ... l_max of
+m, then those of -m. Both ways are derivatives of one trilinear form, Σ values · factors · (D x[end]) over edges, ends,
channels and rows, where factors know l alone: ``to_frames`` by values and ``to_sites`` by x. Processors have compiled
loops for it; other devices multiply matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from orbdens.kernels.pairs.wigner import edge_rotations, y_rotation_series

if TYPE_CHECKING:
    from orbdens.kernels.cpu.edge_frames import EdgeLoops

LANES = {torch.float32: 16, torch.float64: 8}
"""Numbers in a register of the compiled loops, which take channels by that many."""


def frame_rows(l_max: int, m_max: int) -> list[list[int]]:
    """For each m the rows l² + l ± m of features that make up its part of a frame, in order."""
    return [
        [l * l + l + signed for signed in ((m, -m) if m else (0,)) for l in range(m, l_max + 1)]
        for m in range(m_max + 1)
    ]


def pack_rotations(vectors: Tensor, l_max: int, m_max: int) -> Tensor:
    """The rows of ``edge_rotations(vectors, l_max)`` that a frame keeps, one after the other [n_edges, n]."""
    if vectors.dtype in LANES and vectors.device.type == "cpu" and not vectors.requires_grad:
        from orbdens.kernels.cpu.edge_frames import packed_rotations  # Numba takes a while to import

        return packed_rotations(vectors, *_entries(l_max, m_max, vectors.dtype))
    return _pack_rotations(vectors, l_max, m_max)


def _pack_rotations(vectors: Tensor, l_max: int, m_max: int) -> Tensor:
    """The definition."""
    rotations = edge_rotations(vectors, l_max)
    rows = [row for of_m in frame_rows(l_max, m_max) for row in of_m]
    return torch.cat([rotations[l][:, row - l * l] for row, l in zip(rows, _degrees(rows), strict=True)], dim=1)


@lru_cache
def _entries(l_max: int, m_max: int, dtype: torch.dtype) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Of every entry of packed rotations the series, the m of its column, and the entry at -m."""
    rows = [row for of_m in frame_rows(l_max, m_max) for row in of_m]
    places: list[int] = []
    order: list[int] = []
    mirrored: list[int] = []
    for row, l in zip(rows, _degrees(rows), strict=True):
        first = sum((2 * k + 1) ** 2 for k in range(l)) + (row - l * l) * (2 * l + 1)
        places += range(first, first + 2 * l + 1)
        mirrored += [len(mirrored) + 2 * l - k for k in range(2 * l + 1)]
        order += range(-l, l + 1)
    series = y_rotation_series(l_max, dtype, torch.device("cpu"))[:, places].contiguous()
    return series, np.array(order), np.array(mirrored)


def to_frames(x: Tensor, ends: Tensor, frames: Tensor, factors: Tensor, m_max: int) -> list[Tensor]:
    """Features at both ends of edges, turned into their frames and multiplied by factors.

    Args:
        x: features of sites [n_sites, (l_max + 1)², channels].
        ends: sites at the ends of each edge [n_ends, n_edges].
        frames: of ``pack_rotations`` [n_edges, n].
        factors: for every l of every end [n_edges, l_max + 1, n_ends * channels].
        m_max: of the frames.

    Returns:
        For each m [n_edges, n_rows, n_ends * channels].
    """
    if not _compiled(x, frames, factors):
        return _to_frames(x, ends, frames, factors, m_max)
    return list(_ToFrames.apply(x, factors, ends, frames, m_max))  # type: ignore[no-untyped-call]


def to_sites(sums: Tensor, values: Sequence[Tensor], ends: Tensor, frames: Tensor, factors: Tensor) -> Tensor:
    """Values times factors, turned back and added at the ends of the edges to what came there before.

    Args:
        sums: what came before, overwritten [n_sites, (l_max + 1)², channels].
        values: for each m [n_edges, n_rows * n_ends * channels]; further columns do not count.
        ends, frames, factors: as ``to_frames``.
    """
    if not _compiled(sums, *values, frames, factors):
        return _to_sites(sums, values, ends, frames, factors)
    result: Tensor = _ToSites.apply(sums, factors, ends, frames, *values)  # type: ignore[no-untyped-call]
    return result


def _compiled(*tensors: Tensor) -> bool:
    """Whether the loops take them; features are the first, frames the last but one."""
    dtype, channels = tensors[0].dtype, tensors[0].shape[-1]
    return (
        dtype in LANES
        and all(tensor.dtype == dtype and tensor.device.type == "cpu" for tensor in tensors)
        and channels % LANES[dtype] == 0
        and not tensors[-2].requires_grad
    )


def _to_frames(x: Tensor, ends: Tensor, frames: Tensor, factors: Tensor, m_max: int) -> list[Tensor]:
    """The definition."""
    n_edges, l_max = len(frames), factors.shape[1] - 1
    dense = _dense(frames, l_max, m_max)
    sites = x.flatten(1)  # gradients of rows gathered from a matrix are contiguous, and summed several times faster
    turned = torch.cat(
        [torch.bmm(dense, sites.index_select(0, end).reshape(n_edges, *x.shape[1:])) for end in ends], dim=2
    )
    rows = frame_rows(l_max, m_max)
    parts = torch.split(turned, [len(of_m) for of_m in rows], dim=1)
    return [part * factors[:, _degrees(of_m)] for part, of_m in zip(parts, rows, strict=True)]


def _to_sites(sums: Tensor, values: Sequence[Tensor], ends: Tensor, frames: Tensor, factors: Tensor) -> Tensor:
    """The definition."""
    n_edges, n_degrees, width = factors.shape
    rows = frame_rows(n_degrees - 1, len(values) - 1)
    message = torch.cat(
        [
            part[:, : len(of_m) * width].reshape(n_edges, len(of_m), width) * factors[:, _degrees(of_m)]
            for part, of_m in zip(values, rows, strict=True)
        ],
        dim=1,
    )
    back = _dense(frames, n_degrees - 1, len(values) - 1).transpose(1, 2)
    for end, part in zip(ends, torch.chunk(message, len(ends), dim=2), strict=True):
        sums = sums.index_add_(0, end, torch.bmm(back, part).to(sums.dtype))  # autocast has bmm in its own
    return sums


def _degrees(rows: list[int]) -> list[int]:
    return [int(row**0.5) for row in rows]


def _dense(frames: Tensor, l_max: int, m_max: int) -> Tensor:
    """Packed rotations as matrices [n_edges, n_rows, (l_max + 1)²]."""
    rows = [row for of_m in frame_rows(l_max, m_max) for row in of_m]
    size = (l_max + 1) ** 2
    places = torch.cat([i * size + torch.arange(l * l, (l + 1) ** 2) for i, l in enumerate(_degrees(rows))]).to(
        frames.device
    )
    dense = frames.new_zeros(len(frames), len(rows) * size).index_copy(1, places, frames[:, : len(places)])
    return dense.reshape(len(frames), len(rows), size)


@lru_cache
def _starts(l_max: int, m_max: int) -> NDArray[np.int64]:
    """For each m, sign and l where the row begins in packed rotations [m_max + 1, 2, l_max + 1]."""
    starts = np.zeros((m_max + 1, 2, l_max + 1), dtype=np.int64)
    at = 0
    for m, rows in enumerate(frame_rows(l_max, m_max)):
        for i, l in enumerate(_degrees(rows)):
            starts[m, i // (l_max + 1 - m), l] = at
            at += 2 * l + 1
    return starts


def _loops(ends: Tensor, frames: Tensor, factors: Tensor, n_m: int) -> EdgeLoops:
    from orbdens.kernels.cpu.edge_frames import EdgeLoops  # Numba takes a while to import

    return EdgeLoops(ends, frames, _starts(factors.shape[1] - 1, n_m - 1), LANES[frames.dtype])


class _ToFrames(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor, ends: Tensor, frames: Tensor, m_max: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, factors, ends, frames)
        n_edges, n_degrees, width = factors.shape
        values = tuple(x.new_empty(n_edges, len(rows), width) for rows in frame_rows(n_degrees - 1, m_max))
        _loops(ends, frames, factors, m_max + 1).turn(x, factors, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, factors, ends, frames = ctx.saved_tensors
        loops = _loops(ends, frames, factors, len(grads))
        of_x, of_factors = torch.zeros_like(x), torch.zeros_like(factors)
        loops.contract(x, grads, of_factors)
        loops.turn_back(factors, grads, of_x)
        return of_x, of_factors, None, None, None


class _ToSites(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, factors: Tensor, ends: Tensor, frames: Tensor, *values: Tensor) -> Tensor:
        ctx.mark_dirty(sums)
        ctx.save_for_backward(factors, ends, frames, *values)
        _loops(ends, frames, factors, len(values)).turn_back(factors, values, sums)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors, ends, frames, *values = ctx.saved_tensors
        loops = _loops(ends, frames, factors, len(values))
        of_factors, of_values = torch.zeros_like(factors), [torch.zeros_like(of_m) for of_m in values]
        loops.contract(grad, values, of_factors)
        loops.turn(grad, factors, of_values)
        return grad, of_factors, None, None, *of_values
