"""How the probe-point network learns: the mean |Δ| on fresh points, drawn by importance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from orbdens.labels import stored_density
from orbdens.models.probe_gnn.atoms import AtomGraph
from orbdens.models.probe_gnn.model import ProbeModel
from orbdens.models.probe_gnn.options import ProbeRun
from orbdens.models.probe_gnn.points import Centres, Surroundings
from orbdens.models.promolecules import free_atom_facts
from orbdens.models.task import GradientTask, Stage, TrainingData, states_of


class ProbeExample(NamedTuple):
    """A structure, and points where its density is known.

    Attributes:
        graph: its atoms and edges.
        centres: what the points hear from.
        points: Å, float32 [n_points, 3], about the same centre.
        labels: what the density there has beyond the free atoms, e/Å³ [n_points].
        shares: what each point stands for in Å³, over the electrons of the structure [n_points].
    """

    graph: AtomGraph
    centres: Centres
    points: Tensor
    labels: Tensor
    shares: Tensor


class ProbeBatch(NamedTuple):
    """The atoms of many structures as one graph, and their examples."""

    graph: AtomGraph
    examples: list[ProbeExample]


class ProbeTask(GradientTask[ProbeModel], Stage):
    """∫|ρ̂ − ρ| dr per electron, the reported NMAE, on fresh points: one stage from first to last."""

    begins = 0.0

    @classmethod
    def facts(cls, config: ProbeRun, data: TrainingData) -> dict[str, Any]:
        """Elements, states and which electrons the densities hold.

        Raises:
            UserError: there is no free atom of an element, or it has other electrons than in the store.
        """
        structures = [data.store.structure(key) for key in data.keys]
        elements = sorted({symbol for structure in structures for symbol in structure.symbols})
        return free_atom_facts(data.store.manifest, elements) | {"states": states_of(structures)}

    def __init__(self, model: ProbeModel, config: ProbeRun, data: TrainingData, *, fresh: bool = True) -> None:
        self.model, self.store, self.stages = model, data.store, [self]
        self.n_points = config.objective.points_per_structure

    def example(self, key: str, rng: np.random.Generator) -> ProbeExample:
        label = stored_density(self.store, key)
        structure = label.structure
        points, volumes, labels = label.sample(self.n_points, rng)
        labels = labels - self.model.free_atoms(structure).at(points)
        surroundings = Surroundings.of(structure, self.model.points.cutoff)
        wrapped = surroundings.wrapped(points)
        return ProbeExample(
            self.model.graph(structure),
            surroundings.near(wrapped),
            surroundings.moved(wrapped),
            torch.as_tensor(labels),
            torch.as_tensor(volumes / self.model.count_electrons(structure), dtype=torch.float32),
        )

    def collate(self, examples: list[ProbeExample]) -> ProbeBatch:
        return ProbeBatch(AtomGraph.merged([example.graph for example in examples]), examples)

    def loss(self, batch: ProbeBatch) -> Tensor:
        network = self.model.points
        sizes = [len(example.graph.kind) for example in batch.examples]
        weights = torch.split(self.model.spread(batch.graph), sizes)
        with torch.autocast(batch.graph.vector.device.type, enabled=False):
            errors = [
                (network(one.points, one.centres, of_atoms) - one.labels).abs() @ one.shares
                for one, of_atoms in zip(batch.examples, weights, strict=True)
            ]
        return torch.stack(errors).mean()
