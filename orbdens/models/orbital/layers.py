"""Equivariant building blocks. Features are [n, (l_max + 1)², channels], component m of l in row l² + l + m.

All features have natural parity: under inversion l carries (-1)^l. In the frame of an edge the symmetry that is left
are rotations about the edge and mirror planes through it. Linear maps that respect both mix different l at equal m and
treat +m and -m alike, without the cross terms of a plain SO(2) convolution: so the model is equivariant under all of
O(3), and mirror images get mirrored densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from orbdens.models.linear import Linear


def degrees(l_max: int) -> Tensor:
    """l of every row of the features [(l_max + 1)²]."""
    return torch.cat([torch.full((2 * l + 1,), l) for l in range(l_max + 1)])


class DegreeLinear(nn.Module):
    """A linear map of the channels for each l; only l = 0 has a bias."""

    degree: Tensor

    def __init__(self, l_max: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(l_max + 1, inputs, outputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("degree", degrees(l_max), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = nn.functional.pad(self.bias[None, None], (0, 0, 0, 0, 0, x.shape[1] - 1))
        weight = self.weight.index_select(0, self.degree)
        return torch.baddbmm(bias, x.transpose(0, 1), weight).transpose(0, 1)


class DegreeNorm(nn.Module):
    """Layer norm of the scalars; all higher l share one root mean square in which every l weighs the same."""

    degree: Tensor
    balance: Tensor

    def __init__(self, l_max: int, channels: int) -> None:
        super().__init__()
        self.scalars = nn.LayerNorm(channels)
        self.weight = nn.Parameter(torch.ones(l_max, channels))
        degree = degrees(l_max)[1:]
        self.register_buffer("degree", degree - 1, persistent=False)
        self.register_buffer("balance", 1.0 / (l_max * (2 * degree + 1)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        higher = x[:, 1:]
        square = torch.einsum("nic,i->n", higher.square(), self.balance) / x.shape[2]
        higher = higher * torch.rsqrt(square + 1e-6)[:, None, None] * self.weight[self.degree]
        return torch.cat([self.scalars(x[:, :1]), higher], dim=1)


class FeedForward(nn.Module):
    """Per-l linear, gate (SiLU on scalars, a sigmoid of them on each higher l), per-l linear, on each site alone."""

    degree: Tensor

    def __init__(self, l_max: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.l_max = l_max
        self.up = DegreeLinear(l_max, channels, hidden)
        self.gates = nn.Linear(channels, l_max * hidden)
        self.down = DegreeLinear(l_max, hidden, channels)
        self.register_buffer("degree", degrees(l_max)[1:] - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scalars, higher = torch.split(self.up(x), [1, x.shape[1] - 1], dim=1)
        gates = torch.sigmoid(self.gates(x[:, 0])).reshape(len(x), self.l_max, -1).index_select(1, self.degree)
        return self.down(torch.cat([nn.functional.silu(scalars), higher * gates], dim=1))


@dataclass(frozen=True)
class Edges:
    """Directed edges between sites: all that a convolution needs to know of them.

    Attributes:
        source: the site each edge starts at [n_edges].
        target: the site it ends at [n_edges].
        frames: rotations into its frame, rows as in ``frame_rows`` [n_edges, n_rows, (l_max + 1)²].
        back: the way back, faded towards the cut-off and scaled for the sum [n_edges, (l_max + 1)², n_rows].
        scalars: what is known of its length and ends [n_edges, n_scalars].
    """

    source: Tensor
    target: Tensor
    frames: Tensor
    back: Tensor
    scalars: Tensor

    def select(self, chosen: Tensor) -> Edges:
        """The edges of these indices [n_chosen]."""
        return Edges(*(getattr(self, field.name).index_select(0, chosen) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class EdgeParts:
    """Many edges, made in parts whenever they are gone through: what one part takes of memory is all that they take.

    Attributes:
        make: edges of their index [2, n_edges] and vector [n_edges, 3], Å.
        index: of all of them.
        vector: of all of them.
        size: edges of a part.
    """

    make: Callable[[Tensor, Tensor], Edges]
    index: Tensor
    vector: Tensor
    size: int

    def __iter__(self) -> Iterator[Edges]:
        for start in range(0, max(1, len(self.vector)), self.size):
            part = slice(start, start + self.size)
            yield self.make(self.index[:, part], self.vector[part])


def sum_at_targets(
    message: Callable[[Edges], Tensor], parts: Iterable[Edges], n_sites: int, dtype: torch.dtype
) -> Tensor:
    """Sums of messages [n_edges, ...] at the sites they go to [n_sites, ...], part by part."""
    sums: Tensor | None = None
    for edges in parts:
        messages = message(edges)
        if sums is None:
            sums = messages.new_zeros(n_sites, *messages.shape[1:], dtype=dtype)
        sums = sums.index_add_(0, edges.target, messages.to(dtype))
    assert sums is not None  # there is always a part, be it without edges
    return sums


class EdgeConvolution(nn.Module):
    """Messages along edges: turn both ends into the edge's frame, weigh by length and elements, mix l at equal m.

    In that frame are rows |m| <= m_max only, ordered m = 0, then +1, -1, +2, -2 ... with l ascending in each.
    """

    def __init__(self, l_max: int, m_max: int, channels: int, edge_scalars: int) -> None:
        super().__init__()
        self.l_max, self.channels = l_max, channels
        self.radial = Linear(edge_scalars, (l_max + 1) * 2 * channels)
        self.mix = nn.ModuleList()
        for m in range(m_max + 1):
            n = l_max + 1 - m
            gates = l_max * channels if m == 0 else 0
            self.mix.append(Linear(n * 2 * channels, n * channels + gates, bias=m == 0))
        self.rows = [l_max + 1, *(2 * (l_max + 1 - m) for m in range(1, m_max + 1))]

    def forward(self, x: Tensor, parts: Iterable[Edges]) -> Tensor:
        """What each site receives, [n_sites, (l_max + 1)², channels] as x."""
        return sum_at_targets(lambda edges: self._messages(x, edges), parts, len(x), x.dtype)

    def _messages(self, x: Tensor, edges: Edges) -> Tensor:
        """What goes along each edge [n_edges, (l_max + 1)², channels]."""
        n_edges, n, channels = len(edges.source), self.l_max + 1, self.channels
        weights = self.radial(edges.scalars).reshape(n_edges, n, 2 * channels)
        sites = x.flatten(1)  # gradients of rows gathered from a matrix are contiguous, and summed several times faster
        ends = [sites.index_select(0, end).reshape(n_edges, *x.shape[1:]) for end in (edges.source, edges.target)]
        turned = torch.cat([torch.bmm(edges.frames, end) for end in ends], dim=2)
        zero, *pairs = torch.split(turned, self.rows, dim=1)
        sizes = [channels, self.l_max * channels, self.l_max * channels]
        scalars, zero, gates = torch.split(self.mix[0]((zero * weights).flatten(1)), sizes, dim=1)
        gates = torch.sigmoid(gates)
        outputs = [nn.functional.silu(scalars), zero * gates]
        for m, pair in enumerate(pairs, start=1):
            both = pair.reshape(n_edges, 2, n - m, 2 * channels) * weights[:, None, m:]
            mixed = self.mix[m](both.flatten(2)) * gates[:, None, (m - 1) * channels :]
            outputs.append(mixed.flatten(1))
        message = torch.cat(outputs, dim=1).reshape(n_edges, sum(self.rows), channels)
        return torch.bmm(edges.back, message)


def frame_rows(l_max: int, m_max: int) -> Tensor:
    """Rows of the features that survive |m| <= m_max, in the order of an edge's frame."""
    rows = [l * l + l for l in range(l_max + 1)]
    for m in range(1, m_max + 1):
        rows += [l * l + l + m for l in range(m, l_max + 1)] + [l * l + l - m for l in range(m, l_max + 1)]
    return torch.tensor(rows)


class RadialBasis(nn.Module):
    """Bessel functions sin(nπr/c)/r times a polynomial envelope that vanishes smoothly at the cut-off c.

    (Gasteiger, Groß & Günnemann, ICLR 2020, with p = 6; two derivatives vanish at c.)
    """

    order: Tensor

    def __init__(self, functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("order", torch.arange(1, functions + 1) * math.pi, persistent=False)

    def forward(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths in Å [n_edges] to functions [n_edges, functions] and envelope [n_edges]."""
        u = (length / self.cutoff).clamp(max=1.0)
        envelope = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8
        return torch.sin(self.order * u[:, None]) / u[:, None] * envelope[:, None], envelope
