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
from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.models.interface import BATCH_SIZE, DensityModel, Progress, Record
from orbdens.models.orbital.backbone import Backbone
from orbdens.models.orbital.basis import Basis, make_basis
from orbdens.models.orbital.conditioning import representative, settled
from orbdens.models.orbital.density_fitting import fit_records
from orbdens.models.orbital.graph import Graph, make_graph
from orbdens.models.orbital.head import Head
from orbdens.models.orbital.objectives import Objective, Orbitals, OverlapObjective, PointsObjective
from orbdens.models.orbital.orbital_shapes import OrbitalShapes
from orbdens.models.orbital.uncertainty import Familiarity
from orbdens.sampling import evenly_spaced
from orbdens.sites import BOND, Sites, place_sites, type_name
from orbdens.store import GridRecord, Store
from orbdens.structure import Structure

FAMILIAR = 1000
"""Training structures that set what is familiar."""


class OrbitalModel(DensityModel):
    """Predicts coefficients; facts: ``valence_electrons`` and ``basis`` (exponents in Å⁻² per site type and l)."""

    equivariant: ClassVar[bool] = True
    config: OrbitalConfig

    def __init__(self, config: OrbitalConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.basis = Basis.from_json(facts["basis"])
        virtual = [kind >= BOND for kind in self.basis.types]
        self.backbone = Backbone(config, virtual)
        self.head = Head(self.basis, config.channels)
        self.shapes = OrbitalShapes(self.basis, virtual, config)
        self.familiarity = Familiarity(self.basis, config.l_max, config.channels)
        self._graphs: dict[str, Graph] = {}
        self._fits: dict[str, Tensor] = {}
        self._objectives: dict[str, Objective] = {}

    @classmethod
    def facts_from(cls, config: OrbitalConfig, store: Store, keys: Sequence[str]) -> dict[str, Any]:
        structures = [store[key].structure for key in keys]
        elements = sorted({int(z) for structure in structures for z in structure.numbers})
        types = sorted({int(kind) for s in structures for kind in place_sites(s, config.sites).types})
        valence = store.manifest.valence_electrons
        return {
            "valence_electrons": {chemical_symbols[z]: valence[chemical_symbols[z]] for z in elements},
            "basis": make_basis(types, config.basis).to_json(),
        }

    def prepare(
        self, store: Store, keys: Sequence[str], cache: Path, progress: Progress, *, fresh: bool = True
    ) -> None:
        needs_fits = self.config.points_stage < 1
        if needs_fits and isinstance(store[keys[0]], GridRecord):
            raise UserError("the analytic objective needs orbital records: grid records need model.points_stage=1")
        if needs_fits and not fresh:
            kinds = {int(kind) for key in keys for kind in place_sites(store[key].structure, self.config.sites).types}
            unknown = sorted(kinds - set(self.basis.types))
            if unknown:
                raise UserError(
                    f"the model to start from has no orbitals for {', '.join(map(type_name, unknown))}, and the "
                    "analytic objective needs them: set model.points_stage=1"
                )
            if any(bool(parameter.any()) for parameter in self.shapes.parameters()):
                raise UserError(
                    "the model to start from has changed its orbitals, which the analytic objective does not know: "
                    "set model.points_stage=1"
                )
        sample = representative(store, keys, self.basis, self.config.sites) if fresh else []
        wanted = keys if needs_fits else sample
        fits = fit_records(store, wanted, self.basis, self.config.sites, cache, progress)
        if fresh:
            alike = settled(store, fits, sample, self.basis, self.config.sites, cache, progress)
            self.head.fit_statistics(
                (self.basis.index(self._sites(store[key].structure).types), flat) for key, flat in alike.items()
            )
        self._fits = {key: fits.get(key)["coefficients"] for key in sample}
        self._objectives = {
            "overlap": OverlapObjective(self.basis, fits),
            "points": PointsObjective(self.config, self.basis, store),
        }

    def _sites(self, structure: Structure) -> Sites:
        """Sites of the types the model knows: a bond between elements it never saw bonded has no midpoint."""
        sites = place_sites(structure, self.config.sites)
        known = np.isin(sites.types, self.basis.types)
        return Sites(sites.positions[known], sites.types[known], sites.weights[known])

    def _graph(self, structure: Structure) -> Graph:
        sites = self._sites(structure)
        electrons = self.count_electrons(structure)
        return make_graph(structure, sites, self.basis.index(sites.types), self.config.cutoff, electrons)

    def example(self, key: str, record: Record, rng: np.random.Generator, fraction: float) -> Graph:
        if key not in self._graphs:
            self._graphs[key] = self._graph(record.structure)
        objective = "overlap" if fraction < 1 - self.config.points_stage else "points"
        return self._objectives[objective].add_targets(self._graphs[key], key, record, rng)

    def collate(self, examples: list[Graph]) -> Graph:
        batch: Graph = Batch.from_data_list(examples)
        return batch

    def forward(self, batch: Graph) -> Orbitals:
        return self._orbitals(self._features(batch), batch)

    def _features(self, batch: Graph) -> Tensor:
        features: Tensor = self.backbone(batch.site_type, batch.edge_index, batch.edge_vector, batch.state[batch.batch])
        return features.float()

    def _orbitals(self, features: Tensor, batch: Graph) -> Orbitals:
        device, site_type = features.device, batch.site_type
        # The analytic objective knows the given orbitals only: it must not change them by way of their integrals.
        learning = torch.is_grad_enabled() and "fit" not in batch
        with torch.autocast(device.type, enabled=False):
            with torch.set_grad_enabled(learning):
                scalings = self.shapes.scalings(features, site_type)
                displacements = self.shapes.displacements(features, site_type)
                # N(α) / α^{3/2} goes as α^{-3/4}, N(α) / α^{5/2} as α^{-5/4}.
                charges = _of_sites(self.shapes.charges(device), site_type, scalings, -0.75)
                moments = _of_sites(self.shapes.moments(device), site_type, scalings, -1.25)
            coefficients = self.head(features, site_type, batch.site_weight, batch.batch, batch.n_electrons, charges)
            shells = self.shapes.shells(device, torch.float32)
            return Orbitals(coefficients, charges, moments, displacements, scalings, shells)

    def loss(self, batch: Graph) -> Tensor:
        orbitals = self(batch)
        with torch.autocast(batch.positions.device.type, enabled=False):
            return self._objectives["points" if "points" in batch else "overlap"].loss(orbitals, batch)

    @torch.no_grad()
    def finish(self, store: Store, keys: Sequence[str], validation: Sequence[tuple[Structure, float]]) -> None:
        training = self.training
        self.eval()
        known = [self._graph(store[key].structure) for key in evenly_spaced(keys, FAMILIAR)]
        batches = [self.collate(known[i : i + BATCH_SIZE]).to(self.device) for i in range(0, len(known), BATCH_SIZE)]
        residuals = []
        for key, fit in self._fits.items():
            batch = self.collate([self._graph(store[key].structure)]).to(self.device)
            fitted = self.basis.per_type(fit.to(self.device), batch.site_type)
            predicted = self(batch).coefficients
            residuals.append((batch.site_type, [p - f for p, f in zip(predicted, fitted, strict=True)]))
        self.familiarity.fit([(self._features(batch), batch.site_type) for batch in batches], residuals)
        batch = self.collate([self._graph(structure) for structure, _ in validation]).to(self.device)
        guesses, _ = self.familiarity.guess(self._features(batch), batch.site_type, batch.batch, batch.n_electrons)
        self.familiarity.calibrate(guesses, guesses.new_tensor([error for _, error in validation]))
        self.train(training)

    def encode(self, structures: Sequence[Structure]) -> list[Density]:
        batch = self.collate([self._graph(structure) for structure in structures]).to(self.device)
        features = self._features(batch)
        orbitals = self._orbitals(features, batch)
        expected: list[float | None] = [None] * len(structures)
        strange = torch.zeros(len(batch.site_type), dtype=torch.bool)
        if self.familiarity.scale > 0:
            guesses, unfamiliar = self.familiarity.guess(features, batch.site_type, batch.batch, batch.n_electrons)
            expected, strange = (guesses * self.familiarity.scale).tolist(), unfamiliar.cpu()
        doubles = [c.double() for c in orbitals.coefficients]
        scalings = None if orbitals.scalings is None else orbitals.scalings.double()
        coefficients = self.basis.primitives(doubles, batch.site_type, scalings).cpu().numpy()
        shells = self.shapes.shells(torch.device("cpu"), torch.float64)
        kinds, ptr = batch.site_type.cpu(), batch.ptr.tolist()
        ends = shells.coefficient_ptr(kinds)[ptr].tolist()
        fields: list[Density] = []
        for i, structure in enumerate(structures):
            mine = slice(ptr[i], ptr[i + 1])
            positions, own_shells, own_kinds = self._sites(structure).positions, shells, kinds[mine]
            if orbitals.displacements is not None:
                positions = positions + orbitals.displacements[mine].cpu().double().numpy()
            if scalings is not None:
                own_shells = shells.of_each_site(own_kinds, scalings[mine].cpu())
                own_kinds = torch.arange(len(own_kinds))
            fields.append(
                OrbitalDensity(
                    structure=structure,
                    site_positions=positions,
                    site_types=own_kinds.numpy(),
                    shells=own_shells,
                    coefficients=coefficients[ends[i] : ends[i + 1]],
                    cutoff=self.config.orbital_cutoff,
                    expected_error=expected[i],
                    unfamiliar=tuple(
                        f"{chemical_symbols[z]}{atom + 1}"
                        for atom, z in enumerate(structure.numbers)
                        if strange[ptr[i] + atom]
                    ),
                )
            )
        return fields


def _of_sites(integrals: list[Tensor], site_type: Tensor, scalings: Tensor | None, power: float) -> list[Tensor]:
    """Integrals of radial functions, given for each type [n_radial], for its sites [n_sites_of_type, n_radial]."""
    return [
        values.expand(int((site_type == kind).sum()), -1)
        if scalings is None
        else scalings[site_type == kind, None].double() ** power * values
        for kind, values in enumerate(integrals)
    ]
