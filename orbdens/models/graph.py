"""The graph of a structure, and of many: every tensor named and shaped in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.fragments import local_charges
from orbdens.models.basis import Basis
from orbdens.neighbours import Pairs, neighbours
from orbdens.sites import Sites, bonded_pairs, bonds_of, longest_bond, pairs_of_bonds, place_sites
from orbdens.structure import Structure


@dataclass(frozen=True, eq=False)
class Graph:
    """Sites and edges of one structure, or of many one after the other.

    Attributes:
        site_type: index of each site's type in the basis, int64 [n_sites].
        site_weight: factor on the coefficients of each site, 1 for atoms [n_sites].
        positions: float32 [n_sites, 3], Å.
        edge_index: source, always an atom, and target of all directed edges [2, n_edges].
        edge_vector: from source to target [n_edges, 3], Å.
        state: charge of the molecule each site belongs to, e, and multiplicity of the structure - 1 [n_sites, 2].
        charge_share: what each atom would carry if that charge were spread evenly, e, float64 [n_sites].
        n_electrons: float64 [n_structures].
        structure_of_site: int64 [n_sites].
        site_ptr: the sites of structure s are ``site_ptr[s]:site_ptr[s + 1]``, int64 [n_structures + 1].
    """

    site_type: Tensor
    site_weight: Tensor
    positions: Tensor
    edge_index: Tensor
    edge_vector: Tensor
    state: Tensor
    charge_share: Tensor
    n_electrons: Tensor
    structure_of_site: Tensor
    site_ptr: Tensor

    @property
    def n_structures(self) -> int:
        return len(self.n_electrons)

    def to(self, device: torch.device) -> Graph:
        return Graph(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def place_graph(
    structure: Structure, rule: str, basis: Basis, cutoff: float, n_electrons: float
) -> tuple[Sites, Graph, dict[str, str]]:
    """Sites of a structure, its graph, and ``bonded_pairs``, those without a midpoint in the basis among them.

    Messages start at atoms. Virtual sites receive messages and send none: one that fades in changes no other site. A
    bond between elements that the basis has no midpoint for gets none.

    Args:
        structure: checked.
        rule: where sites are, see ``sites``.
        basis: its site types.
        cutoff: cut-off of the edges, Å.
        n_electrons: the density's.
    """
    bond = 0.0 if rule == "atoms" else longest_bond(structure)
    # One list serves bonds and edges: atoms within the cut-off of a midpoint are this near to an end of its bond.
    pairs = neighbours(structure, max(pairs_of_bonds(structure), cutoff + bond / 2))
    bonds = bonds_of(structure, pairs)
    sites = place_sites(structure, rule, bonds).of_types(basis.types)
    source, target, vector = _edges(structure.n_atoms, sites, pairs, cutoff)
    n_sites = len(sites.types)
    charges, shares = local_charges(structure, bonds)
    charges = np.concatenate([charges, charges[sites.bonds[:, 0]]])
    graph = Graph(
        site_type=torch.as_tensor(basis.index(sites.types)),
        site_weight=torch.as_tensor(sites.weights, dtype=torch.float32),
        positions=torch.as_tensor(sites.positions, dtype=torch.float32),
        edge_index=torch.as_tensor(np.stack([source, target])),
        edge_vector=torch.as_tensor(vector, dtype=torch.float32),
        state=torch.tensor(np.stack([charges, np.full(n_sites, structure.multiplicity - 1.0)], axis=1)).float(),
        charge_share=torch.as_tensor(np.concatenate([shares, np.zeros(len(sites.bonds))])),
        n_electrons=torch.tensor([n_electrons], dtype=torch.float64),
        structure_of_site=torch.zeros(n_sites, dtype=torch.int64),
        site_ptr=torch.tensor([0, n_sites]),
    )
    return sites, graph, bonded_pairs(structure, bonds)


def _edges(n_atoms: int, sites: Sites, pairs: Pairs, cutoff: float) -> Pairs:
    """Edges from atoms to all sites, sorted by target; those to a virtual site go by way of its parent's neighbours."""
    order = np.argsort(pairs.target, kind="stable")
    source, target, vector = (array[order] for array in pairs)
    counts = np.bincount(target, minlength=n_atoms)
    starts = np.cumsum(counts) - counts
    parents = sites.bonds[:, 0]
    n_each = counts[parents]
    virtual = np.repeat(np.arange(len(parents)), n_each)
    row = np.repeat(starts[parents] - (np.cumsum(n_each) - n_each), n_each) + np.arange(n_each.sum())
    edges = (
        (source, target, vector),
        (source[row], n_atoms + virtual, vector[row] + sites.offsets[virtual]),
        (parents, n_atoms + np.arange(len(parents)), sites.offsets),
    )
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*edges, strict=True))).within(cutoff)


def merge(graphs: Sequence[Graph]) -> Graph:
    """Many graphs as one."""
    n_sites = np.array([len(graph.site_type) for graph in graphs])
    n_structures = np.array([graph.n_structures for graph in graphs])
    first_site, first_structure = np.cumsum(n_sites) - n_sites, np.cumsum(n_structures) - n_structures

    def joined(name: str, shifts: NDArray[np.int64] | None = None, dim: int = 0) -> Tensor:
        tensors = [getattr(graph, name) for graph in graphs]
        if shifts is not None:
            tensors = [tensor + int(shift) for tensor, shift in zip(tensors, shifts, strict=True)]
        return torch.cat(tensors, dim=dim)

    ends = [graph.site_ptr[1:] + int(shift) for graph, shift in zip(graphs, first_site, strict=True)]
    return Graph(
        site_type=joined("site_type"),
        site_weight=joined("site_weight"),
        positions=joined("positions"),
        edge_index=joined("edge_index", first_site, dim=1),
        edge_vector=joined("edge_vector"),
        state=joined("state"),
        charge_share=joined("charge_share"),
        n_electrons=joined("n_electrons"),
        structure_of_site=joined("structure_of_site", first_structure),
        site_ptr=torch.cat([graphs[0].site_ptr[:1], *ends]),
    )
