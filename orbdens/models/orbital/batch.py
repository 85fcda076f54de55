"""Training batches: graphs with targets, batched by torch-geometric.

Prediction has no targets and merges graphs by itself (``graph.merge``): importing torch-geometric takes seconds.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import Tensor
from torch_geometric.data import Batch, Data

from orbdens.models.graph import Graph

ANALYTIC = {"fit", "norm", "pair_index", "pair_vector"}
POINTS = {"points", "labels", "volumes", "dipole", "cell", "pbc"}


class Example(Data):  # type: ignore[misc]
    """The graph of a structure and the targets of its stage.

    Attributes:
        site_type ... site_ptr: as ``Graph`` has them.
        fit: fitted coefficients of orthonormal functions, sites in order [n_coefficients].
        norm: norm of the fitted density [n_structures], e/Å^(3/2).
        pair_index: every pair of sites of a structure once [2, n_pairs].
        pair_vector: from the first to the second [n_pairs, 3], Å.
        points: [n_points, 3], Å, the same number for each structure.
        labels: density at the points [n_points], e/Å³.
        volumes: what each point stands for [n_points], Å³.
        dipole: reference −∫ρ r dr [n_structures, 3], e·Å.
        cell: lattice vectors, zero for molecules [n_structures, 3, 3], Å.
        pbc: [n_structures, 3].
    """

    @classmethod
    def of(cls, graph: Graph, **targets: Tensor) -> Example:
        """Join a graph and targets; ValueError for a name that is not described above."""
        if unknown := targets.keys() - ANALYTIC - POINTS:
            raise ValueError(f"no targets are called {', '.join(sorted(unknown))}")
        tensors = {field.name: getattr(graph, field.name) for field in fields(Graph)}
        return cls(**tensors, **targets, num_nodes=len(graph.site_type))

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == "structure_of_site":
            return 1
        return len(self.site_type) if key.endswith(("_index", "_ptr")) else 0


def collate(examples: list[Example]) -> Batch:
    """One batch of many examples."""
    return Batch.from_data_list(examples)


def graph_of(batch: Batch) -> Graph:
    """The graph of all structures of a batch."""
    tensors = {field.name: batch[field.name] for field in fields(Graph)}
    return Graph(**tensors | {"site_ptr": batch.ptr})
