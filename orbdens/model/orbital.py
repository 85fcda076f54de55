"""The orbital model: graph in, coefficients of atom-centred Gaussian orbitals out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor
from torch_geometric.data import Batch

from orbdens.config import OrbitalConfig
from orbdens.data.batch import Graph, make_graph
from orbdens.data.store import Store
from orbdens.density import Density, DensityField
from orbdens.density_model import DensityModel, Progress, Record
from orbdens.model.backbone import Backbone
from orbdens.model.basis import Basis, even_tempered
from orbdens.model.head import Head
from orbdens.model.objective import Objective, OverlapObjective, PointsObjective
from orbdens.sites import Sites, place_sites
from orbdens.structure import Structure


class OrbitalModel(DensityModel):
    """Predicts coefficients; facts: ``valence_electrons`` and ``basis`` (exponents in Å⁻² per element and l)."""

    equivariant: ClassVar[bool] = True
    config: OrbitalConfig

    def __init__(self, config: OrbitalConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.basis = Basis.from_json(facts["basis"])
        self.backbone = Backbone(config, len(self.basis.types))
        self.head = Head(self.basis, config.channels)
        self._objective: Objective | None = None

    @classmethod
    def facts_from(cls, config: OrbitalConfig, store: Store, keys: Sequence[str]) -> dict[str, Any]:
        elements = sorted({int(z) for key in keys for z in store[key].structure.numbers})
        valence = store.manifest.valence_electrons
        return {
            "valence_electrons": {chemical_symbols[z]: valence[chemical_symbols[z]] for z in elements},
            "basis": even_tempered(elements, config.basis).to_json(),
        }

    def prepare(self, store: Store, keys: Sequence[str], cache: Path, progress: Progress) -> None:
        kind = OverlapObjective if self.config.objective == "overlap" else PointsObjective
        self._objective = kind(self.config, self.basis, store, keys, cache, progress)
        self.head.fit_statistics(self._objective.statistics())

    def _sites(self, structure: Structure) -> Sites:
        return place_sites(structure, self.config.sites)

    def _graph(self, structure: Structure) -> Graph:
        sites = self._sites(structure)
        electrons = self.count_electrons(structure)
        return make_graph(structure, sites, self.basis.index(sites.types), self.config.cutoff, electrons)

    def example(self, key: str, record: Record, rng: np.random.Generator) -> Graph:
        assert self._objective is not None, "prepare() comes first"
        return self._objective.example(key, record, self._graph, rng)

    def collate(self, examples: list[Graph]) -> Graph:
        batch: Graph = Batch.from_data_list(examples)
        return batch

    def forward(self, batch: Graph) -> list[Tensor]:
        """Coefficients of the orthonormal functions, for each type [n_sites_of_type, n]."""
        features = self.backbone(batch.site_type, batch.edge_index, batch.edge_vector, batch.state[batch.batch])
        with torch.autocast(features.device.type, enabled=False):
            result: list[Tensor] = self.head(features.float(), batch.site_type, batch.batch, batch.n_electrons)
        return result

    def loss(self, batch: Graph) -> Tensor:
        assert self._objective is not None, "prepare() comes first"
        coefficients = self(batch)
        with torch.autocast(coefficients[0].device.type, enabled=False):
            return self._objective.loss(coefficients, batch)

    def encode(self, structures: Sequence[Structure]) -> list[DensityField]:
        batch = self.collate([self._graph(structure) for structure in structures]).to(self.device)
        coefficients = self.basis.primitives([c.double() for c in self(batch)], batch.site_type).cpu()
        kinds, ptr = batch.site_type.cpu(), batch.ptr.cpu()
        ends = self.basis.shells.coefficient_ptr(kinds)[ptr].tolist()
        return [
            Density(
                structure=structure,
                site_positions=self._sites(structure).positions,
                site_types=kinds[ptr[i] : ptr[i + 1]].numpy(),
                shells=self.basis.shells,
                coefficients=coefficients[ends[i] : ends[i + 1]].numpy(),
                cutoff=self.config.orbital_cutoff,
            )
            for i, structure in enumerate(structures)
        ]
