"""How the orbital model learns: fits of the labels set its scales, then two stages of gradient steps."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.errors import UserError
from orbdens.models.basis import Basis, make_basis
from orbdens.models.conditioning import regularised_fits, sample_for_scales
from orbdens.models.density_fitting import FitsAhead, fit_records
from orbdens.models.graph import Graph, merge
from orbdens.models.interface import ATOMS_AT_ONCE
from orbdens.models.orbital.head import Head
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.novelty import describe
from orbdens.models.orbital.objectives import AnalyticStage, PointsStage
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.orbital.plain_head import PlainHead
from orbdens.models.task import ErrorsOf, GradientTask, Stage, TrainingData, states_of
from orbdens.sampling import evenly_spaced
from orbdens.sites import bonded_pairs, place_sites, type_name
from orbdens.structure import Structure

LOG = logging.getLogger(__name__)

MEASURED = 100_000
"""Training sites, about as many as that, from which novelty is measured: 100 MB of what describes them."""

SIZED = 5_000
"""Training records at most that tell how many sites a record has."""

LEARNED_FROM = 300
"""Training structures whose errors tell what is hard to learn."""

MANY = 20_000
"""Training records from which on not every one is asked what sites it has, nor fitted before the first step, nor its
graph kept: 20 kB for ethanol."""

OF_EACH_KIND = 100
"""Of more records than that, so many with each set of elements are asked in any case."""


class OrbitalTask(GradientTask[OrbitalModel]):
    """The analytic stage, then the stage on points; ``objective.points_stage`` says how much of each."""

    @classmethod
    def facts(cls, config: OrbitalRun, data: TrainingData) -> dict[str, Any]:
        structures, states = _telling(data)
        elements = sorted({symbol for structure in structures for symbol in structure.symbols})
        valence = data.store.manifest.valence_electrons
        basis = basis_of(structures, config)
        bonds = {pair for structure in structures for pair in bonded_pairs(structure)}
        return {
            "valence_electrons": {symbol: valence[symbol] for symbol in elements},
            "states": states,
            "bonds": sorted(bonds),
            "basis": basis.to_json(),
        }

    def __init__(self, model: OrbitalModel, config: OrbitalRun, data: TrainingData, *, fresh: bool = True) -> None:
        self.model, self.data = model, data
        self._graphs: dict[str, Graph] = {}
        basis, rule, points_stage = model.basis, model.config.sites, config.objective.points_stage
        analytic = points_stage < 1
        if analytic and data.store.manifest.label_basis is None:
            raise UserError("the analytic objective needs orbital records: others need objective.points_stage=1")
        if not fresh:
            self._check_start(analytic)
        if fresh and isinstance(model.head, PlainHead):
            model.head.set_scale(data)
        conditioned = isinstance(model.head, Head)
        sample = sample_for_scales(data, basis, rule) if fresh and conditioned else []
        metric = config.objective.metric if analytic else "overlap"
        many = len(data.keys) > MANY
        fits = fit_records(data, data.keys if analytic and not many else sample, basis, rule, metric)
        if fresh and isinstance(model.head, Head):
            model.head.fit_statistics(
                (self.graph(key).site_type.numpy(), flat)
                for key, flat in regularised_fits(data, fits, sample, basis, rule, metric).items()
            )
        self.stages: list[Stage] = []
        if analytic:
            all_fits = FitsAhead(data, fits, basis, rule, metric) if many else fits
            extent = self._extent(data.keys) if metric == "coulomb" else 0.0
            self.stages.append(AnalyticStage(model, self.graph, all_fits, metric, extent))
        if points_stage > 0:
            self.stages.append(PointsStage(model, self.graph, data.store, config.objective))

    def _extent(self, keys: Sequence[str]) -> float:
        """Å; no two sites of a record are farther apart."""
        extent = 0.0
        for key in keys:
            structure = self.data.store.structure(key)
            # midpoints of a molecule lie between its atoms
            places = self.graph(key).positions.numpy() if structure.periodic else structure.positions
            extent = max(extent, float(np.linalg.norm(np.ptp(places, axis=0))))
        return extent

    def _check_start(self, analytic: bool) -> None:
        """UserError if the analytic objective cannot go on from a trained model; what points alone miss is logged."""
        model, store = self.model, self.data.store
        seen = {
            int(site_type)
            for key in evenly_spaced(self.data.keys, MANY)
            for site_type in place_sites(store.structure(key), model.config.sites).types
        }
        unknown = ", ".join(type_name(site_type) for site_type in sorted(seen - set(model.basis.types)))
        if unknown and not analytic:
            LOG.warning(f"the model to start from has no orbitals for {unknown}: such midpoints are left out")
        if unknown and analytic:
            raise UserError(
                f"the model to start from has no orbitals for {unknown}, and the analytic objective needs them: set "
                "objective.points_stage=1"
            )
        if analytic and any(bool(parameter.any()) for parameter in model.shapes.parameters()):
            raise UserError(
                "the model to start from has changed its orbitals, which the analytic objective does not know: "
                "set objective.points_stage=1"
            )

    def graph(self, key: str) -> Graph:
        """The graph of a training record: made once, unless there are more records than ``MANY``."""
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graph(self.data.store.structure(key))
            if len(self._graphs) < MANY:
                self._graphs[key] = graph
        return graph

    def _graph(self, structure: Structure) -> Graph:
        return self.model.place(structure, self.model.count_electrons(structure))[1]

    @torch.no_grad()
    def finish(self, validation: Sequence[str], errors_of: ErrorsOf) -> None:
        """Measure what the training sites are like and how well they were learned, and what errors go with others."""
        model, uncertainty = self.model, self.model.uncertainty
        training = model.training
        model.eval()
        sizes = [len(self.graph(key).site_type) for key in evenly_spaced(self.data.keys, SIZED)]
        n = max(1, int(MEASURED / np.mean(sizes)))
        graphs = [self.graph(key) for key in evenly_spaced(self.data.keys, n)]
        sites = [
            (describe(model.features(graph)), graph.site_type, graph.site_weight) for graph in self._batches(graphs)
        ]
        described, site_type, weight = (torch.cat(tensors) for tensors in zip(*sites, strict=True))
        uncertainty.novelty.measure(described, site_type, weight)
        features, graph, errors = self._measured(errors_of(evenly_spaced(self.data.keys, LEARNED_FROM)))
        uncertainty.learn(features, graph, errors)
        # In states that were not trained on errors are larger, whatever the surroundings.
        familiar = [one for one in errors_of(validation) if not model.warnings(one[0])]
        if familiar:
            features, graph, errors = self._measured(familiar)
            uncertainty.calibrate(uncertainty.judge(features, graph), graph, errors)
        model.train(training)

    def _measured(self, found: Sequence[tuple[Structure, NDArray[np.float64]]]) -> tuple[Tensor, Graph, Tensor]:
        """Features of some structures [n_sites, (l_max + 1)², channels], their graph, and errors of their atoms."""
        graphs = [self._graph(structure) for structure, _ in found]
        features = torch.cat([self.model.features(graph) for graph in self._batches(graphs)])
        errors = torch.as_tensor(np.concatenate([errors for _, errors in found]), device=self.model.device)
        return features, merge(graphs).to(self.model.device), errors

    def _batches(self, graphs: Sequence[Graph]) -> list[Graph]:
        """Graphs merged so that the atoms of each batch are bounded."""
        batches: list[list[Graph]] = [[]]
        for graph in graphs:
            if batches[-1] and sum(len(g.site_type) for g in [*batches[-1], graph]) > 2 * ATOMS_AT_ONCE:
                batches.append([])
            batches[-1].append(graph)
        return [merge(batch).to(self.model.device) for batch in batches]


def _telling(data: TrainingData) -> tuple[list[Structure], list[list[int]]]:
    """Training structures that tell which sites and bonds there are, all or about ``MANY``; and ``states_of`` all."""
    chosen = set(evenly_spaced(data.keys, MANY))
    telling: list[Structure] = []
    states: dict[tuple[int, int], Structure] = {}
    seen: Counter[tuple[int, ...]] = Counter()
    for key in data.keys:
        structure = data.store.structure(key)
        kind = tuple(np.unique(structure.numbers).tolist())
        seen[kind] += 1
        states.setdefault((structure.charge, structure.multiplicity), structure)
        if key in chosen or seen[kind] <= OF_EACH_KIND:
            telling.append(structure)
    return telling, states_of(states.values())


def basis_of(structures: Sequence[Structure], config: OrbitalRun) -> Basis:
    """The start basis for all site types of some structures."""
    types = {int(site_type) for s in structures for site_type in place_sites(s, config.model.sites).types}
    return make_basis(sorted(types), config.model.basis)
