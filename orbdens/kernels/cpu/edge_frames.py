"""The compiled loops of features in the frames of edges: the three derivatives of one trilinear form.

With t = D x[end] the features of an end of an edge turned into its frame, the form is Σ values · factors · t over
edges, ends, channels and rows (l, ±m), where factors know l alone; ``kernels/pairs/edge_frames.py`` has the definition.
Values are one array for each m, with rows l = m ... l_max of +m, then those of -m; these two are taken together, since
they are made of the same features. ``starts`` [m_max + 1, 2, l_max + 1] says where in the packed rotations of an edge a
row begins. Channels are a multiple of the lanes of a register, and taken by that many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.kernels.cpu.threads import share_range
from orbdens.kernels.cpu.vector import compiled, fma, inlined, load, spread, store


@inlined
def _row(x: Any, site: int, frames: Any, edge: int, start: int, l: int, channels: int, c: int) -> Any:
    """A row of the features of a site in the frame of an edge, a register of channels from c on."""
    place = l * l * channels + c
    t = load(x, site, place) * spread(frames, edge, start)
    for k in range(1, 2 * l + 1):
        t = fma(spread(frames, edge, start + k), load(x, site, place + k * channels), t)
    return t


@inlined
def _pair(x: Any, site: int, frames: Any, edge: int, starts: Any, m: int, l: int, channels: int, c: int) -> Any:
    """The rows of +m and -m."""
    place, start, mirrored = l * l * channels + c, starts[m, 0, l], starts[m, 1, l]
    feature = load(x, site, place)
    plus, minus = feature * spread(frames, edge, start), feature * spread(frames, edge, mirrored)
    for k in range(1, 2 * l + 1):
        feature = load(x, site, place + k * channels)
        plus = fma(spread(frames, edge, start + k), feature, plus)
        minus = fma(spread(frames, edge, mirrored + k), feature, minus)
    return plus, minus


@compiled
def turn(
    x: Any, ends: Any, frames: Any, factors: Any, starts: Any, lanes: int, first: int, last: int, values: Any
) -> None:
    """The derivative by values, into values [n_edges, n_rows * n_ends * channels]; edges from ``first`` to ``last``."""
    n_ends, n_m, n = ends.shape[0], starts.shape[0], starts.shape[2]
    channels = factors.shape[1] // (n * n_ends)
    width = n_ends * channels
    for edge in range(first, last):
        for end in range(n_ends):
            site = ends[end, edge]
            for l in range(n):
                for c in range(0, channels, lanes):
                    column = end * channels + c
                    factor = load(factors, edge, l * width + column)
                    t = _row(x, site, frames, edge, starts[0, 0, l], l, channels, c)
                    store(values[0], edge, l * width + column, t * factor)
                    for m in range(1, min(n_m, l + 1)):
                        plus, minus = _pair(x, site, frames, edge, starts, m, l, channels, c)
                        store(values[m], edge, (l - m) * width + column, plus * factor)
                        store(values[m], edge, (n - m + l - m) * width + column, minus * factor)


@compiled
def contract(
    x: Any, ends: Any, frames: Any, values: Any, starts: Any, lanes: int, first: int, last: int, factors: Any
) -> None:
    """The derivative by factors, added to factors [n_edges, (l_max + 1) * n_ends * channels]."""
    n_ends, n_m, n = ends.shape[0], starts.shape[0], starts.shape[2]
    channels = factors.shape[1] // (n * n_ends)
    width = n_ends * channels
    for edge in range(first, last):
        for end in range(n_ends):
            site = ends[end, edge]
            for l in range(n):
                for c in range(0, channels, lanes):
                    column = end * channels + c
                    t = _row(x, site, frames, edge, starts[0, 0, l], l, channels, c)
                    total = fma(t, load(values[0], edge, l * width + column), load(factors, edge, l * width + column))
                    for m in range(1, min(n_m, l + 1)):
                        plus, minus = _pair(x, site, frames, edge, starts, m, l, channels, c)
                        total = fma(plus, load(values[m], edge, (l - m) * width + column), total)
                        total = fma(minus, load(values[m], edge, (n - m + l - m) * width + column), total)
                    store(factors, edge, l * width + column, total)


@compiled
def turn_back(
    ends: Any, frames: Any, factors: Any, values: Any, starts: Any, lanes: int, first: int, last: int, x: Any
) -> None:
    """The derivative by x, added to x [n_sites, (l_max + 1)² * channels]; sites from ``first`` to ``last``."""
    n_ends, n_m, n = ends.shape[0], starts.shape[0], starts.shape[2]
    channels = factors.shape[1] // (n * n_ends)
    width = n_ends * channels
    for edge in range(ends.shape[1]):
        for end in range(n_ends):
            site = ends[end, edge]
            if site < first or site >= last:
                continue
            for l in range(n):
                for c in range(0, channels, lanes):
                    column, place, start = end * channels + c, l * l * channels + c, starts[0, 0, l]
                    factor = load(factors, edge, l * width + column)
                    plus = factor * load(values[0], edge, l * width + column)
                    for k in range(2 * l + 1):
                        total = fma(spread(frames, edge, start + k), plus, load(x, site, place + k * channels))
                        store(x, site, place + k * channels, total)
                    for m in range(1, min(n_m, l + 1)):
                        start, mirrored = starts[m, 0, l], starts[m, 1, l]
                        plus = factor * load(values[m], edge, (l - m) * width + column)
                        minus = factor * load(values[m], edge, (n - m + l - m) * width + column)
                        for k in range(2 * l + 1):
                            total = fma(spread(frames, edge, start + k), plus, load(x, site, place + k * channels))
                            total = fma(spread(frames, edge, mirrored + k), minus, total)
                            store(x, site, place + k * channels, total)


@compiled
def rotations(
    vectors: Any, series: Any, order: Any, mirrored: Any, n_angles: int, first: int, last: int, work: Any, out: Any
) -> None:
    """Packed rotations [n_edges, n] of edges ``first`` to ``last``: see ``kernels/pairs/wigner.py``.

    Args:
        vectors: edges [n_edges, 3].
        series: of turns about y, over cos mθ and sin mθ [2 l_max + 1, n].
        order: m of the column of every entry [n].
        mirrored: where the entry of the same row and -m is [n].
        n_angles: l_max + 1.
        first, last: edges.
        work: to work in [5, at least n].
        out: what is written.
    """
    zero, one = out.dtype.type(0.0), out.dtype.type(1.0)
    for edge in range(first, last):
        x, y, z = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
        across = math.sqrt(x * x + y * y)
        length = math.sqrt(x * x + y * y + z * z)
        cos_t, sin_t, cos_p, sin_p = z / length, across / length, one, zero
        if across >= 1e-9 * length:
            cos_p, sin_p = x / across, y / across
        work[0, 0], work[1, 0], work[2, 0], work[3, 0] = one, zero, one, zero
        for m in range(1, n_angles):
            c, s = work[0, m - 1], work[1, m - 1]
            work[0, m], work[1, m] = c * cos_t - s * sin_t, s * cos_t + c * sin_t
            c, s = work[2, m - 1], work[3, m - 1]
            work[2, m], work[3, m] = c * cos_p - s * sin_p, s * cos_p + c * sin_p
        for i in range(order.size):
            work[4, i] = series[0, i]
        for m in range(1, n_angles):
            c, s = work[0, m], work[1, m]
            for i in range(order.size):
                work[4, i] += c * series[m, i] + s * series[n_angles - 1 + m, i]
        for i in range(order.size):
            m = order[i]
            if m < 0:
                out[edge, i] = work[4, i] * work[2, -m] + work[4, mirrored[i]] * work[3, -m]
            else:
                out[edge, i] = work[4, i] * work[2, m] - work[4, mirrored[i]] * work[3, m]


def packed_rotations(vectors: Tensor, series: Tensor, order: NDArray[np.int64], mirrored: NDArray[np.int64]) -> Tensor:
    """Packed rotations of edges [n_edges, n], shared out over threads; arguments as ``rotations``."""
    result = vectors.new_empty(len(vectors), order.size)
    arrays = _matrix(vectors), series.numpy(), order, mirrored, len(series) // 2 + 1
    work, out = result.new_empty(torch.get_num_threads(), 5, max(order.size, len(series))).numpy(), result.numpy()

    share_range(len(vectors), lambda task, first, last: rotations(*arrays, first, last, work[task], out))
    return result


class EdgeLoops:
    """The loops for some edges, shared out over threads.

    Args:
        ends: sites at their ends [n_ends, n_edges].
        frames: packed rotations [n_edges, n].
        starts: for every m, see above [m_max + 1, 2, l_max + 1].
        lanes: numbers in a register.
    """

    def __init__(self, ends: Tensor, frames: Tensor, starts: NDArray[np.int64], lanes: int) -> None:
        self.ends, self.frames = ends.contiguous().numpy(), _matrix(frames)
        self.starts, self.lanes = starts, lanes

    def turn(self, x: Tensor, factors: Tensor, values: Sequence[Tensor]) -> None:
        """Write the derivative by values, for each m [n_edges, n_rows * n_ends * channels]."""
        given = _matrix(x), self.ends, self.frames, _matrix(factors)
        self._run(turn, given, len(self.frames), tuple(map(_matrix, values)))

    def contract(self, x: Tensor, values: Sequence[Tensor], factors: Tensor) -> None:
        """Add the derivative by factors [n_edges, l_max + 1, n_ends * channels]."""
        given = _matrix(x), self.ends, self.frames, tuple(map(_matrix, values))
        self._run(contract, given, len(self.frames), _matrix(factors))

    def turn_back(self, factors: Tensor, values: Sequence[Tensor], x: Tensor) -> None:
        """Add the derivative by x [n_sites, (l_max + 1)², channels]."""
        given = self.ends, self.frames, _matrix(factors), tuple(map(_matrix, values))
        self._run(turn_back, given, len(x), _matrix(x))

    def _run(self, loop: Callable[..., None], given: tuple[Any, ...], n: int, result: Any) -> None:
        """Run a loop over ``n`` edges or sites."""
        share_range(n, lambda task, first, last: loop(*given, self.starts, self.lanes, first, last, result))


def _matrix(tensor: Tensor) -> NDArray[Any]:
    """[n, the rest]; of what a loop writes to, which is contiguous, no copy."""
    array: NDArray[Any] = tensor.detach().flatten(1).contiguous().numpy()
    return array
