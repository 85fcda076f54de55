"""Points cut up for the kernels: slices that fit the memory, and blocks of neighbours along a Morton curve."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbdens.kernels.compiling import cached_njit

BLOCK = 64
"""Points that are evaluated together."""

Real = npt.NDArray[np.floating]
Index = npt.NDArray[np.int64]


def slices(points: Tensor, point_ptr: Tensor, size: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """At most ``size`` points at a time: (begin, end, points[begin:end], their pointers)."""
    n_points = points.shape[0]
    for begin in range(0, max(n_points, 1), size):
        end = min(begin + size, n_points)
        yield begin, end, points[begin:end], point_ptr.clamp(begin, end) - begin


def pointers(counts: Index) -> Index:
    """First of the things of each owner, and last their number [n_owners + 1], from how many each has [n_owners]."""
    ptr = np.zeros(counts.size + 1, dtype=np.int64)
    np.cumsum(counts, out=ptr[1:])
    return ptr


def cut(ptr: Index, size: int) -> tuple[Index, Index, Index]:
    """Cut what each owner has, ``ptr[i]:ptr[i + 1]``, into pieces of at most ``size``.

    Returns:
        pointers to the pieces [n_pieces + 1], owner of each piece [n_pieces], pieces of each owner [n_owners + 1].
    """
    piece_ptr = pointers(-(-np.diff(ptr) // size))
    owner = np.repeat(np.arange(ptr.size - 1), np.diff(piece_ptr))
    inside = np.arange(owner.size) - piece_ptr[owner]
    return np.append(ptr[owner] + size * inside, ptr[-1]), owner, piece_ptr


@cached_njit(nogil=True)
def morton_order(points: Real, point_ptr: Index) -> Index:
    """Order of the points of each structure along a Morton curve, by a counting sort of cells of about 8 points."""
    order = np.empty(points.shape[0], dtype=np.int64)
    for structure in range(point_ptr.size - 1):
        first, last = point_ptr[structure], point_ptr[structure + 1]
        n = last - first
        if n == 0:
            continue
        bits = 0
        while bits < 7 and (8 << (3 * bits)) < n:
            bits += 1
        low = np.array([np.inf, np.inf, np.inf])
        high = -low
        for i in range(first, last):
            for axis in range(3):
                value = float(points[i, axis])
                low[axis] = min(low[axis], value)
                high[axis] = max(high[axis], value)
        side = max(high[0] - low[0], high[1] - low[1], high[2] - low[2])
        factor = (1 << bits) * 0.999999 / side if side > 0 else 0.0
        spread = np.zeros(1 << bits, dtype=np.int64)
        for value in range(1 << bits):
            for bit in range(bits):
                spread[value] |= ((value >> bit) & 1) << (3 * bit)
        start = np.zeros((1 << (3 * bits)) + 1, dtype=np.int64)
        key = np.empty(n, dtype=np.int32)
        for i in range(n):
            x = int((float(points[first + i, 0]) - low[0]) * factor)
            y = int((float(points[first + i, 1]) - low[1]) * factor)
            z = int((float(points[first + i, 2]) - low[2]) * factor)
            cell = spread[x] << 2 | spread[y] << 1 | spread[z]
            key[i] = cell
            start[cell + 1] += 1
        for cell in range(start.size - 1):
            start[cell + 1] += start[cell]
        for i in range(n):
            order[first + start[key[i]]] = first + i
            start[key[i]] += 1
    return order


def morton_order_on_device(points: Tensor, point_ptr: Tensor) -> Tensor:
    """As ``morton_order``, for points on another device and where they are: by sorting keys of 1024 steps an axis."""
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
