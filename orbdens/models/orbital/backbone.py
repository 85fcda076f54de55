"""The message-passing network: sites and edges in, equivariant features out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from orbdens.kernels import edge_rotations
from orbdens.models.linear import Linear
from orbdens.models.orbital.layers import (
    DegreeNorm,
    EdgeConvolution,
    EdgeParts,
    Edges,
    FeedForward,
    RadialBasis,
    frame_rows,
    sum_at_targets,
)
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.models.orbital.tensor_product import TensorProductConvolution

NEIGHBOURS = 3.0
"""Sums over neighbours are divided by this, so that features keep their size in molecules."""


MEMORY = {"cpu": 100_000_000}
"""Bytes that edges may take at once in prediction, by the type of device; more of them are gone through in parts.

What fits the caches of a processor is also twice as fast there.
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

    rows: Tensor
    virtual: Tensor

    def __init__(self, config: OrbitalConfig, virtual: Sequence[bool]) -> None:
        super().__init__()
        l_max, m_max, n_types = config.l_max, min(config.m_max, config.l_max), len(virtual)
        channels, hidden = config.channels, config.radial_hidden
        self.l_max, self.channels = l_max, channels
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
        self.register_buffer("rows", frame_rows(l_max, m_max), persistent=False)
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
            chosen = (~self.virtual[site_type[edge_index[1]]]).nonzero()[:, 0]
            between_atoms = (
                [edges[0].select(chosen)]
                if isinstance(edges, list)
                else self._parts(site_type, edge_index[:, chosen], edge_vector[chosen])
            )
        scalars = self.embed(site_type) + self.state(state)
        x = nn.functional.pad(scalars[:, None], (0, 0, 0, (self.l_max + 1) ** 2 - 1))
        x = x + sum_at_targets(self._seeds, edges, len(x), x.dtype)
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

    def _parts(self, site_type: Tensor, edge_index: Tensor, edge_vector: Tensor) -> list[Edges] | EdgeParts:
        """Edges, arguments as ``forward``: made once where they are few or gradients are wanted, else part by part."""
        size = self._edges_at_once(edge_vector.device)
        if torch.is_grad_enabled() or len(edge_vector) <= size:
            return [self._edges(site_type, edge_index, edge_vector)]
        return EdgeParts(partial(self._edges, site_type), edge_index, edge_vector, size)

    def _edges_at_once(self, device: torch.device) -> int:
        """Edges that stay within ``MEMORY``: of each, both rotations and about eight times the features of an end."""
        size = (self.l_max + 1) ** 2
        return MEMORY.get(device.type, MEMORY_ELSEWHERE) // (4 * size * (2 * size + 8 * self.channels))

    def _edges(self, site_type: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Edges:
        """What convolutions need to know of edges; arguments as ``forward``."""
        source, target = edge_index
        with torch.autocast(edge_vector.device.type, enabled=False):  # rotations stay rotations in mixed precision
            functions, envelope = self.radial(edge_vector.norm(dim=1))
            frames = self._frames(edge_vector)
        # The way back carries the envelope and the size of the sum.
        back = frames.transpose(1, 2) * (envelope / NEIGHBOURS)[:, None, None]
        ends = torch.cat([functions, self.embed_source(site_type[source]), self.embed_target(site_type[target])], dim=1)
        return Edges(source, target, frames, back, self.edge(ends))

    def _seeds(self, edges: Edges) -> Tensor:
        """What every edge brings before the first layer: a function of its length and ends, along it."""
        seed = self.seed(edges.scalars).reshape(-1, self.l_max + 1, self.channels)
        return torch.bmm(edges.back[:, :, : self.l_max + 1], seed)

    def _frames(self, edge_vector: Tensor) -> Tensor:
        """Rotations into the frame of each edge, rows of ``frame_rows`` only, [n_edges, n_rows, (l_max + 1)²]."""
        size = (self.l_max + 1) ** 2
        dense = torch.zeros(len(edge_vector), size, size).to(edge_vector)
        for l, rotation in enumerate(edge_rotations(edge_vector, self.l_max)):
            dense[:, l * l : (l + 1) ** 2, l * l : (l + 1) ** 2] = rotation
        return dense.index_select(1, self.rows)
