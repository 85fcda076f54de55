"""What the orbital model minimises: the analytic L2 error, or the mean absolute error on sampled points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from orbdens.config import OrbitalConfig
from orbdens.kernels import Shells, orbital_fields
from orbdens.kernels.pairs.metric import TabulatedMetric
from orbdens.labels import label_density
from orbdens.metrics import nuclear_charges
from orbdens.models.interface import Record
from orbdens.models.orbital.basis import Basis
from orbdens.models.orbital.graph import Graph
from orbdens.store import Store
from orbdens.store.cache import TensorCache

OVERLAP_REACH = 12.0
"""Å; the most diffuse orbitals in use (0.3 Å⁻²) overlap by less than 1e-9 there."""


@dataclass(frozen=True, eq=False)
class Orbitals:
    """What the network predicts for a batch.

    Attributes:
        coefficients: of the orthonormal functions, for each type [n_sites_of_type, n].
        charges: integrals of the l = 0 functions of each site, for each type [n_sites_of_type, n_radial], float64.
        moments: ∫ χ_m r_m of its l = 1 functions likewise; r_m is y, z, x for m = -1, 0, 1.
        displacements: from each site's place to where its orbitals sit, Å [n_sites, 3], or None.
        scalings: factors on the exponents of each site [n_sites], or None.
        shells: primitives of every type.
    """

    coefficients: list[Tensor]
    charges: list[Tensor]
    moments: list[Tensor]
    displacements: Tensor | None
    scalings: Tensor | None
    shells: Shells


class Objective(ABC):
    """Targets of training examples, and the loss of predicted orbitals against them."""

    @abstractmethod
    def add_targets(self, graph: Graph, key: str, record: Record, rng: np.random.Generator) -> Graph:
        """A copy of a record's graph with its targets; all chance comes from ``rng``."""

    @abstractmethod
    def loss(self, orbitals: Orbitals, batch: Graph) -> Tensor:
        """Mean over the structures of a batch of such graphs."""


class OverlapObjective(Objective):
    """‖ρ − ρ_fit‖ / ‖ρ_fit‖ in L2, analytically: see ``projection``. Knows the orbitals of the given basis only."""

    def __init__(self, basis: Basis, fits: TensorCache) -> None:
        self.basis, self.fits = basis, fits
        # Types with the same orbitals (bond midpoints) share tables, which grow with the square of their number.
        exponents = list(basis.to_json().values())
        first_alike = [exponents.index(own) for own in exponents]
        self._distinct = sorted(set(first_alike))
        self._group_of_type = torch.tensor([self._distinct.index(kind) for kind in first_alike])

    @cached_property
    def _metric(self) -> TabulatedMetric:
        return TabulatedMetric([self.basis.radial_functions[kind] for kind in self._distinct], OVERLAP_REACH)

    def _grouped(self, per_type: list[Tensor], site_type: Tensor, group: Tensor) -> list[Tensor]:
        """Coefficients of each type [n_sites_of_type, n] as those of each group of types, sites in order."""
        row_in_group = torch.empty_like(site_type)
        for g in range(len(self._distinct)):
            row_in_group[group == g] = torch.arange(int((group == g).sum()), device=site_type.device)
        grouped = []
        for g in range(len(self._distinct)):
            kinds = [kind for kind, own in enumerate(self._group_of_type.tolist()) if own == g]
            rows = torch.cat([row_in_group[site_type == kind] for kind in kinds])
            grouped.append(torch.cat([per_type[kind] for kind in kinds])[rows.argsort()])
        return grouped

    def add_targets(self, graph: Graph, key: str, record: Record, rng: np.random.Generator) -> Graph:
        graph = copy(graph)
        fit = self.fits.get(key)
        graph.fit, graph.norm = fit["coefficients"], fit["norm"]
        first, second = np.triu_indices(len(graph.site_type), k=1)
        graph.pair_index = torch.as_tensor(np.stack([first, second]))
        graph.pair_vector = graph.positions[second] - graph.positions[first]
        return graph

    def loss(self, orbitals: Orbitals, batch: Graph) -> Tensor:
        fits = self.basis.per_type(batch.fit, batch.site_type)
        errors = [predicted - fit for predicted, fit in zip(orbitals.coefficients, fits, strict=True)]
        group = self._group_of_type.to(batch.site_type.device)[batch.site_type]
        squares = self._metric.to(batch.fit.device).square(
            self._grouped(errors, batch.site_type, group),
            group,
            batch.pair_index,
            batch.pair_vector,
            batch.batch,
            batch.num_graphs,
        )
        # A squared norm can round below zero; its root has no slope at zero.
        return ((squares.clamp(min=0) + 1e-12).sqrt() / batch.norm).mean()


class PointsObjective(Objective):
    """∫|ρ̂ − ρ| dr per electron (the reported NMAE), on fresh points drawn by importance: unbiased for the integral.

    With ``dipole_weight`` the dipole's error comes beside it. Not so in the analytic stage: there, at high learning
    rates, its noise slows the density down.
    """

    def __init__(self, config: OrbitalConfig, basis: Basis, store: Store) -> None:
        self.config, self.basis, self.store = config, basis, store

    def add_targets(self, graph: Graph, key: str, record: Record, rng: np.random.Generator) -> Graph:
        graph = copy(graph)
        n = self.config.points_per_structure
        points, weights, labels = label_density(record, self.store.manifest).sample(n, rng)
        graph.points = torch.as_tensor(points, dtype=torch.float32)
        graph.weights = torch.as_tensor(weights, dtype=torch.float32)
        graph.labels = torch.as_tensor(labels)
        cell = record.structure.cell
        graph.cell = torch.as_tensor(np.zeros((1, 3, 3)) if cell is None else cell[None], dtype=torch.float32)
        graph.pbc = torch.tensor([record.structure.pbc])
        if self.config.dipole_weight > 0 and record.dipole is not None and not record.structure.periodic:
            charges = nuclear_charges(record.structure, self.store.manifest.valence_electrons)
            graph.dipole = torch.as_tensor(record.dipole - charges @ record.structure.positions)[None]
        return graph

    def loss(self, orbitals: Orbitals, batch: Graph) -> Tensor:
        n = self.config.points_per_structure
        periodic = bool(batch.pbc.any())
        moved = orbitals.displacements
        coefficients = self.basis.primitives(orbitals.coefficients, batch.site_type, orbitals.scalings)
        predicted = orbital_fields(
            batch.points,
            torch.arange(batch.num_graphs + 1, device=batch.points.device) * n,
            batch.positions if moved is None else batch.positions + moved,
            batch.site_type,
            batch.ptr,
            orbitals.shells,
            coefficients[:, None],
            scalings=orbitals.scalings,
            cutoff=self.config.orbital_cutoff,
            cells=batch.cell if periodic else None,
            pbc=batch.pbc if periodic else None,
        )[:, 0]
        error = (batch.weights * (predicted - batch.labels).abs()).reshape(-1, n).sum(dim=1)
        loss = (error / batch.n_electrons.to(error.dtype)).mean()
        if "dipole" in batch:
            missed = (self.dipoles(orbitals, batch) - batch.dipole).norm(dim=1).mean()
            loss = loss + self.config.dipole_weight * missed.to(loss.dtype)
        return loss

    def dipoles(self, orbitals: Orbitals, batch: Graph) -> Tensor:
        """−∫ρ̂ r dr of each structure, e·Å [n_structures, 3], float64."""
        positions = batch.positions.double()
        if orbitals.displacements is not None:
            positions = positions + orbitals.displacements.double()
        result = positions.new_zeros(batch.num_graphs, 3)
        parts = zip(orbitals.coefficients, orbitals.charges, orbitals.moments, strict=True)
        for kind, (coefficients, charges, moments) in enumerate(parts):
            sites = (batch.site_type == kind).nonzero()[:, 0]
            blocks = self.basis.blocks(kind, coefficients.double())
            moment = (blocks[0][:, :, 0] * charges).sum(dim=1)[:, None] * positions[sites]
            if len(blocks) > 1:
                moment = moment + torch.einsum("nrm,nr->nm", blocks[1], moments)[:, [2, 0, 1]]
            result = result.index_add(0, batch.batch[sites], -moment)
        return result
