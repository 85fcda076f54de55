"""The probe-point network as a model: structures in, densities out that are asked at points.

After DeepDFT (Jørgensen & Bhowmik, npj Comput. Mater. 8, 183 (2022)) and ChargE3Net (Koker et al., npj Comput. Mater.
10, 161 (2024)): atoms exchange equivariant messages, points receive messages from atoms, and a scalar read-out gives
the density there. Two things differ, for speed and for nuclei: a message to a point is linear in functions of its
place, so that many points are one product of matrices; and what is read is the difference to the sum of free atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from orbdens.density import Density, OrbitalDensity
from orbdens.models.interface import DensityModel
from orbdens.models.probe_gnn.atoms import AtomGraph, AtomNetwork
from orbdens.models.probe_gnn.density import ProbeDensity
from orbdens.models.probe_gnn.options import ProbeConfig
from orbdens.models.probe_gnn.points import PointNetwork
from orbdens.observables.free_atoms import promolecule
from orbdens.structure import Structure


class ProbeModel(DensityModel):
    """Facts: ``valence_electrons``, ``states``, and ``density``, whether that is of the valence or of all electrons.

    Nothing corrects its electron count.
    """

    equivariant: ClassVar[bool] = True
    config: ProbeConfig

    def __init__(self, config: ProbeConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.elements = sorted(facts["valence_electrons"])
        self.atoms = AtomNetwork(config, len(self.elements))
        self.points = PointNetwork(config)

    def graph(self, structure: Structure) -> AtomGraph:
        """Atoms and edges of a structure that was checked."""
        return AtomGraph.of(structure, self.elements, self.config.cutoff)

    def free_atoms(self, structure: Structure) -> OrbitalDensity:
        """What the network adds to."""
        return promolecule(structure, self.facts["density"])

    def spread(self, graph: AtomGraph) -> Tensor:
        """What atoms send, see ``PointNetwork.spread``; in full precision."""
        with torch.autocast(graph.vector.device.type, enabled=False):
            weights: Tensor = self.points.spread(self.atoms(graph))
        return weights

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        weights = self.spread(AtomGraph.merged([self.graph(structure) for structure in structures]).to(self.device))
        return [
            ProbeDensity(
                structure=structure,
                free=self.free_atoms(structure),
                network=self.points,
                weights=of_atoms,
                warnings=self.warnings(structure),
                valence_electrons=self.facts["valence_electrons"],
                has_cores=self.facts["density"] == "all-electron",
            )
            for structure, of_atoms in zip(
                structures, torch.split(weights, [s.n_atoms for s in structures]), strict=True
            )
        ]
