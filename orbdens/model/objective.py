"""What the orbital model minimises: the analytic L2 error, or the mean absolute error on sampled points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.config import OrbitalConfig
from orbdens.data.batch import Graph
from orbdens.data.dataset import label_at
from orbdens.data.sampling import draw_points, draw_voxels
from orbdens.data.store import GridRecord, OrbitalRecord, Store, evenly_spaced
from orbdens.density_model import Progress, Record
from orbdens.errors import UserError
from orbdens.kernels import orbital_fields
from orbdens.kernels.metric import TabulatedMetric
from orbdens.model.basis import Basis
from orbdens.model.projection import fit_records
from orbdens.sites import place_sites
from orbdens.structure import Structure

MakeGraph = Callable[[Structure], Graph]

STATISTICS = 200
"""Training records whose fits set the scales of the head."""

RARE = 20
"""Records of each site type among them, if there are as many."""

OVERLAP_REACH = 12.0
"""Å; the most diffuse orbitals in use (0.3 Å⁻²) overlap by less than 1e-9 there."""


class Objective(ABC):
    """Targets of training examples, and the loss of coefficients against them."""

    def __init__(
        self,
        config: OrbitalConfig,
        basis: Basis,
        store: Store,
        keys: Sequence[str],
        cache: Path,
        progress: Progress,
    ) -> None:
        self.config, self.basis, self.store = config, basis, store
        self._sample = self._representative(keys)
        self.fits = fit_records(store, self._to_fit(keys), basis, config.sites, cache, progress)
        self._graphs: dict[str, Graph] = {}

    def _representative(self, keys: Sequence[str]) -> list[str]:
        """Evenly spaced keys, and more with the site types that are rare among those."""
        spaced = evenly_spaced(keys, STATISTICS)
        taken = set(spaced)
        order = spaced + [key for key in keys if key not in taken]
        chosen, seen = [], np.zeros(len(self.basis.types), dtype=int)
        for place, key in enumerate(order):
            kinds = np.unique(self.basis.index(place_sites(self.store[key].structure, self.config.sites).types))
            if place < len(spaced) or (seen[kinds] < RARE).any():
                chosen.append(key)
                seen[kinds] += 1
            elif (seen >= RARE).all():
                break
        return chosen

    @abstractmethod
    def _to_fit(self, keys: Sequence[str]) -> Sequence[str]:
        """The records whose least-squares fit is needed."""

    def statistics(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Types of the sites [n_sites] and fitted coefficients [n] of a sample of the training records."""
        for key in self._sample:
            sites = place_sites(self.store[key].structure, self.config.sites)
            yield self.basis.index(sites.types), self.fits.get(key)["coefficients"]

    def example(self, key: str, record: Record, graph: MakeGraph, rng: np.random.Generator) -> Graph:
        """The graph of a record with its targets; graphs are kept, chance is fresh each time."""
        if key not in self._graphs:
            self._graphs[key] = graph(record.structure)
            self._add_fixed_targets(self._graphs[key], key)
        return self._with_drawn_targets(self._graphs[key], record, rng)

    def _add_fixed_targets(self, graph: Graph, key: str) -> None:  # noqa: B027
        """Targets that stay the same each time, if the objective has such."""

    def _with_drawn_targets(self, graph: Graph, record: Record, rng: np.random.Generator) -> Graph:
        """The graph with targets drawn by chance."""
        return graph

    @abstractmethod
    def loss(self, coefficients: list[Tensor], batch: Graph) -> Tensor:
        """Mean over structures, from the coefficients of orthonormal functions of each type [n_sites_of_type, n]."""


class OverlapObjective(Objective):
    """‖ρ − ρ_fit‖ / ‖ρ_fit‖ in L2, analytically: see ``projection``."""

    @cached_property
    def _metric(self) -> TabulatedMetric:
        return TabulatedMetric(self.basis.radial_functions, OVERLAP_REACH)

    def _to_fit(self, keys: Sequence[str]) -> Sequence[str]:
        if isinstance(self.store[keys[0]], GridRecord):
            raise UserError(
                "the overlap objective needs orbital records: train on grid records with model.objective=points"
            )
        return keys

    def _add_fixed_targets(self, graph: Graph, key: str) -> None:
        fit = self.fits.get(key)
        graph.fit, graph.norm = fit["coefficients"], fit["norm"]
        first, second = np.triu_indices(len(graph.site_type), k=1)
        graph.pair_index = torch.as_tensor(np.stack([first, second]))
        graph.pair_vector = graph.positions[second] - graph.positions[first]

    def loss(self, coefficients: list[Tensor], batch: Graph) -> Tensor:
        fits = self.basis.per_type(batch.fit, batch.site_type)
        errors = [predicted - fit for predicted, fit in zip(coefficients, fits, strict=True)]
        squares = self._metric.to(batch.fit.device).square(
            errors, batch.site_type, batch.pair_index, batch.pair_vector, batch.batch, batch.num_graphs
        )
        # A squared norm can round below zero; its root has no slope at zero.
        return ((squares.clamp(min=0) + 1e-12).sqrt() / batch.norm).mean()


class PointsObjective(Objective):
    """∫|ρ̂ − ρ| dr per electron (the reported NMAE), on fresh points drawn by importance: unbiased for the integral."""

    def _to_fit(self, keys: Sequence[str]) -> Sequence[str]:
        return self._sample

    def _with_drawn_targets(self, graph: Graph, record: Record, rng: np.random.Generator) -> Graph:
        n = self.config.points_per_structure
        if isinstance(record, OrbitalRecord):
            points, weights = draw_points(record.structure, n, rng)
            labels = label_at(record, points, self.store)
        else:
            points, weights, labels = draw_voxels(record, n, rng)
        drawn = copy(graph)
        drawn.points = torch.as_tensor(points, dtype=torch.float32)
        drawn.weights = torch.as_tensor(weights, dtype=torch.float32)
        drawn.labels = torch.as_tensor(labels)
        cell = record.structure.cell
        drawn.cell = torch.as_tensor(np.zeros((1, 3, 3)) if cell is None else cell[None], dtype=torch.float32)
        drawn.pbc = torch.tensor([record.structure.pbc])
        return drawn

    def loss(self, coefficients: list[Tensor], batch: Graph) -> Tensor:
        device = batch.points.device
        n = self.config.points_per_structure
        periodic = bool(batch.pbc.any())
        predicted = orbital_fields(
            batch.points,
            torch.arange(batch.num_graphs + 1, device=device) * n,
            batch.positions,
            batch.site_type,
            batch.ptr,
            self.basis.shells.to(device, torch.float32),
            self.basis.primitives(coefficients, batch.site_type)[:, None],
            cutoff=self.config.orbital_cutoff,
            cells=batch.cell if periodic else None,
            pbc=batch.pbc if periodic else None,
        )[:, 0]
        error = (batch.weights * (predicted - batch.labels).abs()).reshape(-1, n).sum(dim=1)
        return (error / batch.n_electrons.to(error.dtype)).mean()
