"""Equivariant building blocks. Features are [n, (l_max + 1)², channels], component m of l in row l² + l + m.

All features have natural parity: under inversion l carries (-1)^l. In the frame of an edge the symmetry that is left
are rotations about the edge and mirror planes through it. Linear maps that respect both mix different l at equal m and
treat +m and -m alike, without the cross terms of a plain SO(2) convolution: so the model is equivariant under all of
O(3), and mirror images get mirrored densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orbdens.kernels import multiply_degrees, row_degrees, scale_degrees, to_frames, to_sites
from orbdens.models.linear import Linear


class DegreeLinear(nn.Module):
    """A linear map of the channels for each l; only l = 0 has a bias."""

    degree: Tensor

    def __init__(self, l_max: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(l_max + 1, inputs, outputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("degree", row_degrees(l_max), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = nn.functional.pad(self.bias[None, None], (0, 0, 0, 0, 0, x.shape[1] - 1))
        weight = self.weight.index_select(0, self.degree)
        return torch.baddbmm(bias, x.transpose(0, 1), weight).transpose(0, 1)


class DegreeNorm(nn.Module):
    """Layer norm of the scalars; all higher l share one root mean square in which every l weighs the same."""

    balance: Tensor

    def __init__(self, l_max: int, channels: int) -> None:
        super().__init__()
        self.scalars = nn.LayerNorm(channels)
        self.weight = nn.Parameter(torch.ones(l_max, channels))
        balance = [1.0 / (l_max * (2 * l + 1) * channels) for l in range(1, l_max + 1)]
        self.register_buffer("balance", torch.tensor(balance), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        square = (multiply_degrees(x, x)[:, 1:].sum(dim=2) * self.balance).sum(dim=1)
        factors = torch.rsqrt(square + 1e-6)[:, None, None] * nn.functional.pad(self.weight, (0, 0, 1, 0))
        result = scale_degrees(x, factors)
        result[:, 0] = self.scalars(x[:, 0])
        return result


class FeedForward(nn.Module):
    """Per-l linear, gate (SiLU on scalars, a sigmoid of them on each higher l), per-l linear, on each site alone."""

    def __init__(self, l_max: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.l_max = l_max
        self.up = DegreeLinear(l_max, channels, hidden)
        self.gates = nn.Linear(channels, l_max * hidden)
        self.down = DegreeLinear(l_max, hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        gates = self.gates(x[:, 0]).reshape(len(x), self.l_max, -1)
        # The gate of the scalars is their own sigmoid: SiLU.
        return self.down(scale_degrees(up, torch.sigmoid(torch.cat([up[:, :1], gates], dim=1))))


@dataclass(frozen=True)
class Edges:
    """Directed edges between sites: all that a convolution needs to know of them.

    Attributes:
        ends: the site each edge starts at, and the one it ends at [2, n_edges].
        frames: rotations into its frame, packed (``kernels.pack_rotations``) [n_edges, n].
        back: the same for the way back, faded towards the cut-off and scaled for the sum [n_edges, n].
        scalars: what is known of its length and ends [n_edges, n_scalars].
    """

    ends: Tensor
    frames: Tensor
    back: Tensor
    scalars: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> Edges:
        return Edges(self.ends[:, chosen], self.frames[chosen], self.back[chosen], self.scalars[chosen])


@dataclass(frozen=True, eq=False)
class EdgeParts:
    """Edges, gone through in parts, so that messages along them take no more memory than those of one part.

    Attributes:
        make: edges of their index [2, n_edges] and vector [n_edges, 3], Å.
        index: of all of them.
        vector: of all of them.
        size: edges of a part.
        made: all of them; None where they are too many, and made anew whenever they are gone through.
    """

    make: Callable[[Tensor, Tensor], Edges]
    index: Tensor
    vector: Tensor
    size: int
    made: Edges | None

    def __iter__(self) -> Iterator[Edges]:
        for start in range(0, max(1, len(self.vector)), self.size):
            part = slice(start, start + self.size)
            yield self.make(self.index[:, part], self.vector[part]) if self.made is None else self.made[part]

    def select(self, chosen: Tensor) -> EdgeParts:
        """The edges of these indices [n_chosen]."""
        made = None if self.made is None else self.made[chosen]
        return EdgeParts(self.make, self.index[:, chosen], self.vector[chosen], self.size, made)


class EdgeConvolution(nn.Module):
    """Messages along edges: turn both ends into the edge's frame, weigh by length and elements, mix l at equal m.

    In that frame are rows |m| <= m_max only.
    """

    def __init__(self, l_max: int, m_max: int, channels: int, edge_scalars: int) -> None:
        super().__init__()
        self.l_max, self.m_max, self.channels = l_max, m_max, channels
        self.radial = Linear(edge_scalars, (l_max + 1) * 2 * channels)
        self.mix = nn.ModuleList()
        for m in range(m_max + 1):
            n = l_max + 1 - m
            gates = l_max * channels if m == 0 else 0
            self.mix.append(Linear(n * 2 * channels, n * channels + gates, bias=m == 0))

    def forward(self, x: Tensor, parts: Iterable[Edges]) -> Tensor:
        """What each site receives, [n_sites, (l_max + 1)², channels] as x."""
        received = torch.zeros_like(x)
        for edges in parts:
            received = self._with_messages(received, x, edges)
        return received

    def _with_messages(self, received: Tensor, x: Tensor, edges: Edges) -> Tensor:
        """What sites received before, and what comes along these edges."""
        n, channels = self.l_max + 1, self.channels
        weights = self.radial(edges.scalars).reshape(-1, n, 2 * channels).to(x.dtype)
        zero, *pairs = to_frames(x, edges.ends, edges.frames, weights, self.m_max)
        mixed = self.mix[0](zero.flatten(1))
        scalars, _, gates = torch.split(mixed, [channels, self.l_max * channels, self.l_max * channels], dim=1)
        # The gate of the scalars is their own sigmoid: SiLU.
        gates = torch.sigmoid(torch.cat([scalars, gates], dim=1)).reshape(-1, n, channels)
        values = [mixed]
        for m, pair in enumerate(pairs, start=1):
            values.append(self.mix[m](pair.reshape(len(pair), 2, (n - m) * 2 * channels)).flatten(1))
        values = [of_m.to(x.dtype) for of_m in values]
        return to_sites(received, values, edges.ends[1:], edges.back, gates.to(x.dtype))


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
