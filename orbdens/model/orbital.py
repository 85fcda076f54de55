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
from orbdens.data.cache import TensorCache
from orbdens.data.store import Store
from orbdens.density import Density, DensityField
from orbdens.density_model import DensityModel, Progress, Record
from orbdens.kernels.metric import OverlapMetric
from orbdens.model.backbone import Backbone
from orbdens.model.basis import Basis, even_tempered
from orbdens.model.head import Head
from orbdens.model.projection import fit_records
from orbdens.sites import place_sites
from orbdens.structure import Structure

OVERLAP_REACH = 12.0
"""Å; the most diffuse orbitals in use (0.3 Å⁻²) overlap by less than 1e-9 there."""

STATISTICS = 200
"""Training records whose fits set the scales of the head."""


class OrbitalModel(DensityModel):
    """Predicts coefficients; facts: ``valence_electrons`` and ``basis`` (exponents in Å⁻² per element and l)."""

    equivariant: ClassVar[bool] = True
    config: OrbitalConfig

    def __init__(self, config: OrbitalConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.basis = Basis.from_json(facts["basis"])
        self.backbone = Backbone(config, len(self.basis.types))
        self.head = Head(self.basis, config.l_max, config.channels)
        self._metric: OverlapMetric | None = None
        self._fits: TensorCache | None = None
        self._examples: dict[str, Graph] = {}

    @classmethod
    def facts_from(cls, config: OrbitalConfig, store: Store, keys: Sequence[str]) -> dict[str, Any]:
        elements = sorted({int(z) for key in keys for z in store[key].structure.numbers})
        valence = store.manifest.valence_electrons
        return {
            "valence_electrons": {chemical_symbols[z]: valence[chemical_symbols[z]] for z in elements},
            "basis": even_tempered(elements, config.basis).to_json(),
        }

    def prepare(self, store: Store, keys: Sequence[str], cache: Path, progress: Progress) -> None:
        self._fits = fit_records(store, keys, self.basis, self.config.sites, cache / "fits", progress)
        places = np.unique(np.linspace(0, len(keys) - 1, STATISTICS).round().astype(int))
        self.head.fit_statistics(
            (self.basis.index(self._sites(store[keys[i]].structure).types), self._fits.get(keys[i])["coefficients"])
            for i in places
        )
        self._metric = OverlapMetric(
            [
                [(torch.as_tensor(r.exponents), torch.as_tensor(r.to_primitive.copy())) for r in radials]
                for radials in self.basis.radials
            ],
            OVERLAP_REACH,
        )

    def _sites(self, structure: Structure) -> Any:
        return place_sites(structure, self.config.sites)

    def _graph(self, structure: Structure) -> Graph:
        sites = self._sites(structure)
        electrons = self.count_electrons(structure)
        return make_graph(structure, sites, self.basis.index(sites.types), self.config.cutoff, electrons)

    def example(self, key: str, record: Record, rng: np.random.Generator) -> Graph:
        if key not in self._examples:
            assert self._fits is not None, "prepare() comes first"
            graph = self._graph(record.structure)
            fit = self._fits.get(key)
            graph.fit = fit["coefficients"]
            graph.norm = fit["norm"]
            self._examples[key] = graph
        return self._examples[key]

    def collate(self, examples: list[Graph]) -> Graph:
        batch: Graph = Batch.from_data_list(examples)
        return batch

    def forward(self, batch: Graph) -> list[Tensor]:
        """Coefficients of the orthonormal functions, for each type [n_sites_of_type, n]."""
        features = self.backbone(batch.site_type, batch.edge_index, batch.edge_vector, batch.state[batch.batch])
        result: list[Tensor] = self.head(features.float(), batch.site_type, batch.batch, batch.n_electrons)
        return result

    def loss(self, batch: Graph) -> Tensor:
        """Mean over structures of ‖ρ − ρ_fit‖ / ‖ρ_fit‖ (L2, analytic)."""
        assert self._metric is not None, "prepare() comes first"
        errors = []
        sizes = torch.tensor(self.basis.sizes, device=batch.fit.device)[batch.site_type]
        starts = sizes.cumsum(0) - sizes
        for kind, predicted in enumerate(self(batch)):
            mine = starts[batch.site_type == kind]
            columns = torch.arange(predicted.shape[1], device=mine.device)
            errors.append(predicted - batch.fit[mine[:, None] + columns])
        squares = self._metric(
            errors, batch.site_type, batch.pair_index, batch.pair_vector, batch.batch, batch.num_graphs
        )
        return ((squares.clamp(min=0) + 1e-12).sqrt() / batch.norm).mean()

    def encode(self, structures: Sequence[Structure]) -> list[DensityField]:
        graphs = [self._graph(structure) for structure in structures]
        batch = self.collate(graphs).to(self.device)
        per_type = [c.double().cpu().numpy() for c in self(batch)]
        taken = [0] * len(per_type)
        densities: list[DensityField] = []
        for structure, graph in zip(structures, graphs, strict=True):
            sites, kinds = self._sites(structure), graph.site_type.tolist()
            parts = []
            for kind in kinds:
                row, start = per_type[kind][taken[kind]], 0
                taken[kind] += 1
                for radial in self.basis.radials[kind]:
                    size = radial.n_radial * (2 * radial.l + 1)
                    block = row[start : start + size].reshape(radial.n_radial, -1)
                    parts.append((radial.to_primitive @ block).reshape(-1))
                    start += size
            densities.append(
                Density(
                    structure=structure,
                    site_positions=sites.positions,
                    site_types=np.array(kinds),
                    shells=self.basis.shells,
                    coefficients=np.concatenate(parts),
                    cutoff=self.config.orbital_cutoff,
                )
            )
        return densities
