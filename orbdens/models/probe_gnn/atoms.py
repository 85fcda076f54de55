"""Messages between atoms: a structure goes in, equivariant features of its atoms come out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from e3nn import o3
from e3nn.nn import Gate
from torch import Tensor, nn

from orbdens.kernels import solid_harmonics
from orbdens.models.probe_gnn.options import ProbeConfig
from orbdens.neighbours import neighbours
from orbdens.structure import Structure

NEIGHBOURS = 3.0
"""Sums over neighbours are divided by this, so that features keep their size in molecules."""


class AtomGraph(NamedTuple):
    """Atoms and edges of one structure, or of many one after the other.

    Attributes:
        kind: index of the element among those the model knows, int64 [n_atoms].
        state: charge of the structure in e, and its multiplicity - 1, float32 [n_atoms, 2].
        source, target: the atoms at the ends of all directed edges [n_edges].
        vector: from source to target in Å, float32 [n_edges, 3].
    """

    kind: Tensor
    state: Tensor
    source: Tensor
    target: Tensor
    vector: Tensor

    @classmethod
    def of(cls, structure: Structure, elements: Sequence[str], cutoff: float) -> AtomGraph:
        """That of a structure that was checked, with edges up to a cut-off in Å."""
        pairs = neighbours(structure, cutoff)
        state = torch.tensor([structure.charge, structure.multiplicity - 1], dtype=torch.float32)
        return cls(
            torch.tensor([elements.index(symbol) for symbol in structure.symbols]),
            state.expand(structure.n_atoms, 2),
            torch.from_numpy(pairs.source),
            torch.from_numpy(pairs.target),
            torch.as_tensor(pairs.vector, dtype=torch.float32).reshape(-1, 3),
        )

    @classmethod
    def merged(cls, graphs: Sequence[AtomGraph]) -> AtomGraph:
        """Many graphs as one."""
        sizes = np.array([len(graph.kind) for graph in graphs])
        first = (np.cumsum(sizes) - sizes).tolist()
        return cls(
            torch.cat([graph.kind for graph in graphs]),
            torch.cat([graph.state for graph in graphs]),
            torch.cat([graph.source + start for graph, start in zip(graphs, first, strict=True)]),
            torch.cat([graph.target + start for graph, start in zip(graphs, first, strict=True)]),
            torch.cat([graph.vector for graph in graphs]),
        )

    def to(self, device: torch.device) -> AtomGraph:
        return AtomGraph(*(tensor.to(device) for tensor in self))


def irreps_up_to(l_max: int, channels: int) -> o3.Irreps:
    """Features of natural parity, so many for every l: the only ones that a density can be read from linearly."""
    return o3.Irreps([(channels, (l, (-1) ** l)) for l in range(l_max + 1)])


class AtomNetwork(nn.Module):
    """Features of atoms: for each l [n_atoms, channels, 2l + 1], in the order and sign of ``kernels/README.md``.

    As in NequIP (Batzner et al., Nat. Commun. 2022): tensor products of features and harmonics of the edge, weighed by
    its length and elements, summed, mixed and gated. The first layer starts from scalars.
    """

    order: Tensor

    def __init__(self, config: ProbeConfig, n_elements: int) -> None:
        super().__init__()
        self.l_max, self.cutoff = config.l_max, config.cutoff
        scalars = o3.Irreps([(config.channels, (0, 1))])
        hidden = irreps_up_to(config.l_max, config.channels)
        self.embed = nn.Embedding(n_elements, config.channels)
        self.state = nn.Linear(2, config.channels, bias=False)
        nn.init.zeros_(self.state.weight)  # charges and spins that training never shows must not act at random
        self.embed_ends = nn.ModuleList(nn.Embedding(n_elements, 16) for _ in range(2))
        self.register_buffer("order", torch.arange(1, config.radial_functions + 1) * math.pi, persistent=False)
        # A first copy may hold more of e3nn's constants than the original, and averaging weights compares with a copy.
        self.layers = nn.ModuleList(
            deepcopy(_Messages(scalars if i == 0 else hidden, hidden, config.radial_functions + 32))
            for i in range(config.layers)
        )
        self.sizes = [config.channels * (2 * l + 1) for l in range(config.l_max + 1)]

    def forward(self, graph: AtomGraph) -> list[Tensor]:
        length = graph.vector.norm(dim=1)
        u = (length / self.cutoff).clamp(max=1.0)
        envelope = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8  # two derivatives vanish at the cut-off
        functions = torch.sin(self.order * u[:, None]) / u[:, None]
        ends = zip(self.embed_ends, (graph.source, graph.target), strict=True)
        known = torch.cat([functions, *(embed(graph.kind[atoms]) for embed, atoms in ends)], dim=1)
        # e3nn's axes are (y, z, x), which leaves components in order; it takes harmonics of norm sqrt(2l + 1).
        directions = graph.vector / length[:, None]
        harmonics = solid_harmonics(self.l_max, directions) * math.sqrt(4 * math.pi) * (envelope / NEIGHBOURS)[:, None]
        x = self.embed(graph.kind) + self.state(graph.state)
        for layer in self.layers:
            x = layer(x, graph, harmonics, known)
        parts = torch.split(x, self.sizes, dim=1)
        return [part.reshape(len(x), -1, 2 * l + 1) for l, part in enumerate(parts)]


class _Messages(nn.Module):
    """One layer of messages; what an atom knew is kept beside what it hears."""

    def __init__(self, inputs: o3.Irreps, outputs: o3.Irreps, edge_scalars: int) -> None:
        super().__init__()
        channels, l_max = outputs[0].mul, len(outputs) - 1
        harmonics = o3.Irreps.spherical_harmonics(l_max)
        paths = [
            (first, second, ir)
            for ir in (ir for _, ir in outputs)
            for first, (_, one) in enumerate(inputs)
            for second, (_, other) in enumerate(harmonics)
            if ir in one * other
        ]
        product = o3.TensorProduct(
            inputs,
            harmonics,
            [(channels, ir) for *_, ir in paths],
            [(first, second, i, "uvu", True) for i, (first, second, _) in enumerate(paths)],
            shared_weights=False,
        )
        self.product = product
        self.radial = nn.Sequential(nn.Linear(edge_scalars, 64), nn.SiLU(), nn.Linear(64, product.weight_numel))
        gates = o3.Irreps([(l_max * channels, (0, 1))])
        self.gate = Gate(outputs[:1], [nn.functional.silu], gates, [torch.sigmoid], outputs[1:])
        self.mix = o3.Linear(product.irreps_out.simplify(), self.gate.irreps_in)
        self.keep = o3.Linear(inputs, self.gate.irreps_in, biases=True)
        self.same = inputs == outputs

    def forward(self, x: Tensor, graph: AtomGraph, harmonics: Tensor, known: Tensor) -> Tensor:
        messages = self.product(x.index_select(0, graph.source), harmonics, self.radial(known))
        sums = messages.new_zeros(len(x), messages.shape[1]).index_add(0, graph.target, messages)
        heard = self.gate(self.mix(sums) + self.keep(x))
        return x + heard if self.same else heard
