"""The message-passing network: sites and edges in, equivariant features out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from orbdens.kernels import edge_rotations
from orbdens.models.orbital.layers import DegreeNorm, EdgeConvolution, Edges, FeedForward, RadialBasis, frame_rows
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.models.orbital.tensor_product import TensorProductConvolution

NEIGHBOURS = 3.0
"""Sums over neighbours are divided by this, so that features keep their size in molecules."""


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
            nn.Linear(config.radial_functions + 32, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.seed = nn.Linear(hidden, (l_max + 1) * channels)
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
        source, target = edge_index
        with torch.autocast(edge_vector.device.type, enabled=False):  # rotations stay rotations in mixed precision
            functions, envelope = self.radial(edge_vector.norm(dim=1))
            frames = self._frames(edge_vector)
        # The way back carries the envelope and the size of the sum.
        back = frames.transpose(1, 2) * (envelope / NEIGHBOURS)[:, None, None]

        ends = torch.cat([functions, self.embed_source(site_type[source]), self.embed_target(site_type[target])], dim=1)
        edges = Edges(source, target, frames, back, self.edge(ends))
        scalars = self.embed(site_type) + self.state(state)
        seed = self.seed(edges.scalars).reshape(-1, self.l_max + 1, self.channels)
        x = nn.functional.pad(scalars[:, None], (0, 0, 0, (self.l_max + 1) ** 2 - 1))
        x = x + edges.sum_at_targets(torch.bmm(back[:, :, : self.l_max + 1], seed), x)
        between_atoms = edges
        if self.virtual.any():
            between_atoms = edges.select((~self.virtual[site_type[target]]).nonzero()[:, 0])
        for i, (norm, convolution) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            x = x + convolution(norm(x), edges if i == len(self.norms) - 1 else between_atoms)
            x = x + self.updates[i](self.inner_norms[i](x))
        result: Tensor = self.last_norm(x)
        return result

    def _frames(self, edge_vector: Tensor) -> Tensor:
        """Rotations into the frame of each edge, rows of ``frame_rows`` only, [n_edges, n_rows, (l_max + 1)²]."""
        size = (self.l_max + 1) ** 2
        dense = torch.zeros(len(edge_vector), size, size).to(edge_vector)
        for l, rotation in enumerate(edge_rotations(edge_vector, self.l_max)):
            dense[:, l * l : (l + 1) ** 2, l * l : (l + 1) ** 2] = rotation
        return dense.index_select(1, self.rows)
