"""The message-passing network: sites and edges in, equivariant features out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from orbdens.kernels import pack_rotations, to_sites
from orbdens.models.linear import Linear
from orbdens.models.orbital.layers import (
    DegreeNorm,
    EdgeConvolution,
    EdgeParts,
    Edges,
    FeedForward,
    RadialBasis,
)
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.models.orbital.tensor_product import TensorProductConvolution

NEIGHBOURS = 3.0
"""Sums over neighbours are divided by this, so that features keep their size in molecules."""


MEMORY = {"cpu": 200_000_000}
"""Bytes that edges, and messages along them, may each take at once in prediction, by the type of device.

Parts of a size that fits the caches of a processor are also the fastest there.
"""

MEMORY_ELSEWHERE = 2_000_000_000
"""The same for other devices, which want much to do at once."""

SITES_AT_ONCE = 1000
"""Sites that are updated together in prediction: the same for what happens at each site alone."""


class Backbone(nn.Module):
    """Features [n_sites, (l_max + 1)², channels] from site types, edges, charge and multiplicity.

    Messages start at atoms. Virtual sites receive them in the last layer only, when atoms know their surroundings:
    in every layer they would double the number of edges.

    Args:
        virtual: which site types are virtual sites.
    """

    virtual: Tensor

    def __init__(self, config: OrbitalConfig, virtual: Sequence[bool]) -> None:
        super().__init__()
        l_max, m_max, n_types = config.l_max, min(config.m_max, config.l_max), len(virtual)
        channels, hidden = config.channels, config.radial_hidden
        self.scalars = hidden
        self.l_max, self.m_max, self.channels = l_max, m_max, channels
        self.embed = nn.Embedding(n_types, channels)
        self.state = nn.Linear(2, channels, bias=False)
        nn.init.zeros_(self.state.weight)  # charges and spins that training never shows must not act at random
        self.embed_source = nn.Embedding(n_types, 16)
        self.embed_target = nn.Embedding(n_types, 16)
        self.radial = RadialBasis(config.radial_functions, config.cutoff)
        self.edge = nn.Sequential(
            Linear(config.radial_functions + 32, hidden), nn.SiLU(), Linear(hidden, hidden), nn.SiLU()
        )
        self.seed = Linear(hidden, (l_max + 1) * channels)
        self.norms = nn.ModuleList(DegreeNorm(l_max, channels) for _ in range(config.layers))
        self.convolutions = nn.ModuleList(
            TensorProductConvolution(l_max, channels, hidden)
            if config.convolution == "tensor-product"
            else EdgeConvolution(l_max, m_max, channels, hidden)
            for _ in range(config.layers)
        )
        self.inner_norms = nn.ModuleList(DegreeNorm(l_max, channels) for _ in range(config.layers))
        self.updates = nn.ModuleList(FeedForward(l_max, channels, 2 * channels) for _ in range(config.layers))
        self.last_norm = DegreeNorm(l_max, channels)
        self.register_buffer("virtual", torch.tensor(virtual), persistent=False)

    def forward(self, site_type: Tensor, edge_index: Tensor, edge_vector: Tensor, state: Tensor) -> Tensor:
        """
        Args:
            site_type: [n_sites].
            edge_index: source and target of every directed edge [2, n_edges].
            edge_vector: from source to target in Å [n_edges, 3].
            state: as in ``Graph`` [n_sites, 2].
        """
        edges = between_atoms = self._parts(site_type, edge_index, edge_vector)
        if self.virtual.any():
            between_atoms = edges.select((~self.virtual[site_type[edge_index[1]]]).nonzero()[:, 0])
        scalars = self.embed(site_type) + self.state(state)
        x = nn.functional.pad(scalars[:, None], (0, 0, 0, (self.l_max + 1) ** 2 - 1))
        received = torch.zeros_like(x)
        for part in edges:
            received = self._with_seeds(received, part)
        x = x + received
        for i, (norm, convolution) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            x = x + convolution(norm(x), edges if i == len(self.norms) - 1 else between_atoms)
            x = self._updated(i, x)
        result: Tensor = self.last_norm(x)
        return result

    def _updated(self, i: int, x: Tensor) -> Tensor:
        """Features after the part of a layer that happens at each site alone."""
        if len(x) > SITES_AT_ONCE and not torch.is_grad_enabled():
            return torch.cat([self._updated(i, part) for part in torch.split(x, SITES_AT_ONCE)])
        return x + self.updates[i](self.inner_norms[i](x))

    def _parts(self, site_type: Tensor, edge_index: Tensor, edge_vector: Tensor) -> EdgeParts:
        """Edges, arguments as ``forward``: all in one part where gradients are wanted."""
        make, n = partial(self._edges, site_type), len(edge_vector)
        if torch.is_grad_enabled():
            return EdgeParts(make, edge_index, edge_vector, max(1, n), make(edge_index, edge_vector))
        memory = MEMORY.get(edge_vector.device.type, MEMORY_ELSEWHERE)
        size = (self.l_max + 1) ** 2
        # Of an edge both packed rotations and its scalars; along it both as matrices and eight times an end's features,
        # of which the compiled loops need less than half.
        of_edge, of_message = 2 * (2 * self.m_max + 1) * size + self.scalars, size * (2 * size + 8 * self.channels)
        made = make(edge_index, edge_vector) if 4 * n * of_edge <= memory else None
        return EdgeParts(make, edge_index, edge_vector, max(1, memory // (4 * of_message)), made)

    def _edges(self, site_type: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Edges:
        """What convolutions need to know of edges; arguments as ``forward``."""
        source, target = edge_index
        with torch.autocast(edge_vector.device.type, enabled=False):  # rotations stay rotations in mixed precision
            functions, envelope = self.radial(edge_vector.norm(dim=1))
            frames = pack_rotations(edge_vector, self.l_max, self.m_max)
        # The way back carries the envelope and the size of the sum.
        back = frames * (envelope / NEIGHBOURS)[:, None]
        ends = torch.cat([functions, self.embed_source(site_type[source]), self.embed_target(site_type[target])], dim=1)
        return Edges(edge_index, frames, back, self.edge(ends))

    def _with_seeds(self, received: Tensor, edges: Edges) -> Tensor:
        """What every edge brings before the first layer: a function of its length and ends, along it."""
        seeds = self.seed(edges.scalars).to(received.dtype)
        gates = torch.ones_like(seeds).reshape(-1, self.l_max + 1, self.channels)
        return to_sites(received, [seeds], edges.ends[1:], edges.back, gates)
