"""What the orbital model minimises: the analytic norm of the error, or the mean absolute error on sampled points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from orbdens.electrons import core_charges
from orbdens.kernels import Metric, Orbitals, TabulatedMetric, orbital_field_moments, orbital_fields
from orbdens.labels import label_density
from orbdens.models.density_fitting import FitsAhead
from orbdens.models.graph import Graph
from orbdens.models.orbital.batch import Example, collate, graph_of
from orbdens.models.orbital.model import OrbitalModel, SiteOrbitals
from orbdens.models.orbital.options import OrbitalObjective
from orbdens.models.task import Stage
from orbdens.store import Store
from orbdens.store.cache import TensorCache

OVERLAP = 1e-9
"""Overlaps of normalised orbitals that are smaller than this are left out."""


class AnalyticStage(Stage):
    """‖ρ − ρ_fit‖ / ‖ρ_fit‖ in a metric, analytically: see ``density_fitting``. Knows the start basis only.

    Args:
        model: what learns.
        graph: gives the graph of a record.
        fits: fits of all records, or what makes them as they come up.
        metric: that of the fits, and of the error.
        extent: Å; no two sites of a record are farther apart. Matters to the Coulomb metric alone.
    """

    begins = 0.0

    def __init__(
        self,
        model: OrbitalModel,
        graph: Callable[[str], Graph],
        fits: TensorCache | FitsAhead,
        metric: Metric,
        extent: float,
    ) -> None:
        self.model, self.graph, self.fits, self.metric, self.extent = model, graph, fits, metric, extent
        # Types with the same orbitals (bond midpoints) share tables, which grow with the square of their number.
        exponents = list(model.basis.to_json().values())
        first_alike = [exponents.index(table) for table in exponents]
        self._distinct = sorted(set(first_alike))
        self._group_of_type = torch.tensor([self._distinct.index(kind) for kind in first_alike])

    @cached_property
    def _metric(self) -> TabulatedMetric:
        radials = self.model.basis.radial_functions
        # Two Gaussians of one exponent α overlap by exp(-α R² / 2); charges see one another at any distance.
        reach = self.extent + TabulatedMetric.STEP
        if self.metric == "overlap":
            reach = math.sqrt(2) * self.model.basis.reach(OVERLAP)
        return TabulatedMetric([radials[kind] for kind in self._distinct], reach, self.metric)

    def _grouped(self, per_type: list[Tensor], site_type: Tensor, group: Tensor) -> list[Tensor]:
        """Coefficients of each type [n_sites_of_type, n] as those of each group of types, sites in order."""
        row_in_group = torch.empty_like(site_type)
        for g in range(len(self._distinct)):
            row_in_group[group == g] = torch.arange(int((group == g).sum()), device=site_type.device)
        grouped = []
        for g in range(len(self._distinct)):
            kinds = [kind for kind, its_group in enumerate(self._group_of_type.tolist()) if its_group == g]
            rows = torch.cat([row_in_group[site_type == kind] for kind in kinds])
            grouped.append(torch.cat([per_type[kind] for kind in kinds])[rows.argsort()])
        return grouped

    def expect(self, keys: Sequence[str]) -> None:
        if isinstance(self.fits, FitsAhead):
            self.fits.expect(keys)

    def close(self) -> None:
        if isinstance(self.fits, FitsAhead):
            self.fits.close()

    def example(self, key: str, rng: np.random.Generator) -> Example:
        graph, fit = self.graph(key), self.fits.get(key)
        first, second = np.triu_indices(len(graph.site_type), k=1)
        return Example.of(
            graph,
            fit=fit["coefficients"],
            norm=fit["norm"],
            pair_index=torch.as_tensor(np.stack([first, second])),
            pair_vector=graph.positions[second] - graph.positions[first],
        )

    def collate(self, examples: list[Example]) -> Batch:
        return collate(examples)

    def loss(self, batch: Batch) -> Tensor:
        # Orbitals must not change by way of their integrals: this stage knows those of the start basis only.
        orbitals = self.model(graph_of(batch), shapes_learn=False)
        with torch.autocast(batch.positions.device.type, enabled=False):
            return self.error(orbitals, batch)

    def error(self, orbitals: SiteOrbitals, batch: Batch) -> Tensor:
        """The loss of given orbitals."""
        fits = self.model.basis.per_type(batch.fit, batch.site_type)
        errors = [c.to(fit.dtype) - fit for c, fit in zip(orbitals.coefficients, fits, strict=True)]
        group = self._group_of_type.to(batch.site_type.device)[batch.site_type]
        squares = self._metric.to(batch.fit.device).square(
            self._grouped(errors, batch.site_type, group),
            group,
            batch.pair_index,
            batch.pair_vector,
            batch.structure_of_site,
            batch.num_graphs,
        )
        # A squared norm can round below zero; its root has no slope at zero.
        return ((squares.clamp(min=0) + 1e-12).sqrt() / batch.norm).mean()


class PointsStage(Stage):
    """∫|ρ̂ − ρ| dr per electron (the reported NMAE), on fresh points drawn by importance: unbiased for the integral.

    With ``dipole_weight`` the dipole's error comes beside it. Not so in the analytic stage: there, at high learning
    rates, its noise slows the density down.

    Args:
        model: what learns.
        graph: gives the graph of a record.
        store: where the records are.
        options: the section ``objective``.
    """

    def __init__(
        self, model: OrbitalModel, graph: Callable[[str], Graph], store: Store, options: OrbitalObjective
    ) -> None:
        self.model, self.graph, self.store, self.options = model, graph, store, options
        self.begins = 1 - options.points_stage

    def example(self, key: str, rng: np.random.Generator) -> Example:
        record = self.store[key]
        structure = record.structure
        points, volumes, labels = label_density(record, self.store.manifest).sample(
            self.options.points_per_structure, rng
        )
        targets = {
            "points": torch.as_tensor(points, dtype=torch.float32),
            "volumes": torch.as_tensor(volumes, dtype=torch.float32),
            "labels": torch.as_tensor(labels),
            "cell": torch.as_tensor(
                np.zeros((1, 3, 3)) if structure.cell is None else structure.cell[None], dtype=torch.float32
            ),
            "pbc": torch.tensor([structure.pbc]),
        }
        if self.options.dipole_weight > 0 and record.dipole is not None and not structure.periodic:
            charges = core_charges(structure, self.store.manifest.valence_electrons)
            targets["dipole"] = torch.as_tensor(record.dipole - charges @ structure.positions)[None]
        return Example.of(self.graph(key), **targets)

    def collate(self, examples: list[Example]) -> Batch:
        return collate(examples)

    def loss(self, batch: Batch) -> Tensor:
        orbitals = self.model(graph_of(batch))
        with torch.autocast(batch.positions.device.type, enabled=False):
            return self.error(orbitals, batch)

    def error(self, orbitals: SiteOrbitals, batch: Batch) -> Tensor:
        """The loss of given orbitals."""
        n = self.options.points_per_structure
        point_ptr = torch.arange(batch.num_graphs + 1, device=batch.points.device) * n
        predicted = orbital_fields(self._density(orbitals, batch, torch.float32), batch.points, point_ptr)[:, 0]
        error = (batch.volumes * (predicted - batch.labels).abs()).reshape(-1, n).sum(dim=1)
        loss = (error / batch.n_electrons.to(error.dtype)).mean()
        if "dipole" in batch:
            missed = (self.dipoles(orbitals, batch) - batch.dipole).norm(dim=1).mean()
            loss = loss + self.options.dipole_weight * missed.to(loss.dtype)
        return loss

    def dipoles(self, orbitals: SiteOrbitals, batch: Batch) -> Tensor:
        """−∫ρ̂ r dr of each structure, e·Å [n_structures, 3], float64."""
        return -orbital_field_moments(self._density(orbitals, batch, torch.float64))[:, :, 0]

    def _density(self, orbitals: SiteOrbitals, batch: Batch, dtype: torch.dtype) -> Orbitals:
        """The predicted densities as the kernels take them."""
        scalings = None if orbitals.scalings is None else orbitals.scalings.to(dtype)
        positions = batch.positions.to(dtype)
        if orbitals.displacements is not None:
            positions = positions + orbitals.displacements.to(dtype)
        coefficients = [c.to(dtype) for c in orbitals.coefficients]
        periodic = bool(batch.pbc.any())
        return Orbitals(
            positions,
            batch.site_type,
            batch.ptr,
            self.model.shapes.shells(positions.device, dtype),
            self.model.basis.primitives(coefficients, batch.site_type, scalings)[:, None],
            scalings=scalings,
            cutoff=self.model.orbital_cutoff,
            cells=batch.cell if periodic else None,
            pbc=batch.pbc if periodic else None,
        )
