"""The graph of a structure, and batches of them, every tensor named and shaped in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from orbdens.neighbours import neighbours
from orbdens.sites import Sites
from orbdens.structure import Structure


class Graph(Data):  # type: ignore[misc]
    """Sites and edges of one structure, or of many after ``Batch.from_data_list`` (which shifts ``*_index``).

    Attributes:
        site_type: int64 [n_sites].
        site_weight: factor on the coefficients of each site, 1 for atoms [n_sites].
        positions: float32 [n_sites, 3], Å.
        edge_index: source, always an atom, and target of all directed edges [2, n_edges].
        edge_vector: from source to target [n_edges, 3], Å.
        state: total charge and multiplicity - 1 [n_structures, 2].
        n_electrons: float64 [n_structures].
        batch: structure of each site [n_sites], once batched.

    Objectives add their targets:

    Attributes:
        fit: fitted coefficients of orthonormal functions, sites in order [n_coefficients].
        norm: L2 norm of the fitted density [n_structures], e/Å^(3/2).
        pair_index: every pair of sites of a structure once [2, n_pairs].
        pair_vector: from the first to the second [n_pairs, 3], Å.
        points: [n_points, 3], Å, the same number for each structure.
        labels: density at the points [n_points], e/Å³.
        weights: volume each point stands for [n_points], Å³.
        dipole: reference −∫ρ r dr [n_structures, 3], e·Å.
        cell: lattice vectors, zero for molecules [n_structures, 3, 3], Å.
        pbc: [n_structures, 3].
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return len(self.site_type) if key.endswith("_index") else 0


def make_graph(
    structure: Structure, sites: Sites, site_type: NDArray[np.int64], cutoff: float, n_electrons: float
) -> Graph:
    """Graph of a structure; ``cutoff`` of the edges in Å.

    Virtual sites hear from the atoms and say nothing: one that fades in changes no other site.
    """
    source, target, vector = neighbours(sites.positions, structure, cutoff)
    from_atom = source < structure.n_atoms
    source, target, vector = source[from_atom], target[from_atom], vector[from_atom]
    return Graph(
        site_type=torch.as_tensor(site_type),
        site_weight=torch.as_tensor(sites.weights, dtype=torch.float32),
        positions=torch.as_tensor(sites.positions, dtype=torch.float32),
        edge_index=torch.as_tensor(np.stack([source, target])),
        edge_vector=torch.as_tensor(vector, dtype=torch.float32),
        state=torch.tensor([[float(structure.charge), float(structure.multiplicity - 1)]]),
        n_electrons=torch.tensor([n_electrons], dtype=torch.float64),
        num_nodes=len(site_type),
    )
