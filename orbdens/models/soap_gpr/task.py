"""How the kernel regression is made: sparse environments, features of all atoms, weights, what errors to expect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.errors import UserError
from orbdens.models.basis import Basis, make_basis
from orbdens.models.density_fitting import fit_records
from orbdens.models.overlap_metric import OverlapMetric, PerType
from orbdens.models.soap_gpr.kernel import farthest, whitened
from orbdens.models.soap_gpr.model import SoapModel
from orbdens.models.soap_gpr.options import SoapConfig, SoapRun
from orbdens.models.soap_gpr.power_spectra import PowerSpectra, Spectra
from orbdens.models.soap_gpr.regression import Blocks, Regression, principal
from orbdens.models.task import ErrorsOf, FitTask, TrainingData, states_of
from orbdens.progress import Progress
from orbdens.sampling import evenly_spaced
from orbdens.sites import type_name
from orbdens.structure import Structure

AT_ONCE = 180
"""Atoms whose power spectra are held at once, which bounds the memory."""

CANDIDATES = 4000
"""Atoms of each element, about as many at most, of which the sparse environments are chosen."""


class SoapTask(FitTask[SoapModel]):
    """Fits of the training densities, regressed in the overlap metric."""

    @classmethod
    def fit(cls, config: SoapRun, data: TrainingData) -> SoapModel:
        structures = [data.store.structure(key) for key in data.keys]
        if any(structure.periodic for structure in structures):
            raise UserError("models of kind soap_gpr learn from molecules, and some of these structures are periodic")
        numbers = sorted({int(z) for structure in structures for z in structure.numbers})
        basis = make_basis(numbers, config.model.basis)
        spectra = PowerSpectra(numbers, [len(radials) - 1 for radials in basis.radials], config.model)
        fits = fit_records(data, data.keys, basis, "atoms")
        model = _with_sparse(structures, basis, spectra, config.model, data)
        to_features = [
            [whitened(kernel) for kernel in model.kernel.among_sparse(kind)] for kind in range(len(basis.types))
        ]
        features = _features(model, to_features, structures, data.progress)
        turned = [[principal(block) for block in of_element] for of_element in features]
        for of_element, turns, to_own in zip(features, turned, to_features, strict=True):
            for l, (vectors, _) in enumerate(turns):
                of_element[l], to_own[l] = of_element[l] @ vectors.float(), to_own[l] @ vectors
        strengths = [[values for _, values in turns] for turns in turned]

        flat = torch.cat([fits.get(key)["coefficients"] for key in data.keys])
        site_type = torch.as_tensor(basis.index(np.concatenate([s.numbers for s in structures])))
        targets = _without_means(model, basis.per_type(flat, site_type))
        options = config.objective
        metric = OverlapMetric(basis, structures)
        regression = Regression(basis, metric, features, strengths, options.ridge)
        weights = regression.solve(targets, options.iterations, options.tolerance, data.progress)
        for kind, of_element in enumerate(weights):
            for l, w in enumerate(of_element):
                model.get_buffer(f"weights_{kind}_{l}").copy_(to_features[kind][l] @ w.double())
            model.variance.set_posterior(kind, to_features[kind][0], strengths[kind][0], options.ridge)
        _set_shifts(model, regression.coefficients(weights))
        return model

    @classmethod
    def finish(cls, model: SoapModel, validation: Sequence[str], errors_of: ErrorsOf) -> None:
        """Scales of the standard deviations, and what is usual."""
        found = errors_of(validation)
        structures = [structure for structure, _ in found]
        kinds = model.basis.index(np.concatenate([structure.numbers for structure in structures]))
        owner = np.repeat(np.arange(len(found)), [structure.n_atoms for structure in structures])
        deviations = np.empty(len(kinds))
        for kind, of_element in enumerate(model.regress(structures)[1]):
            deviations[kinds == kind] = of_element
        model.variance.calibrate(kinds, owner, deviations, np.concatenate([errors for _, errors in found]))


def _batches(structures: Sequence[Structure]) -> Iterator[Sequence[Structure]]:
    begin, n_atoms = 0, 0
    for end, structure in enumerate(structures, start=1):
        n_atoms += structure.n_atoms
        if n_atoms >= AT_ONCE or end == len(structures):
            yield structures[begin:end]
            begin, n_atoms = end, 0


def _with_sparse(
    structures: Sequence[Structure], basis: Basis, spectra: PowerSpectra, config: SoapConfig, data: TrainingData
) -> SoapModel:
    """A model without weights, and its sparse environments."""
    most = max(int((structure.numbers == z).sum()) for structure in structures for z in basis.types)
    candidates = evenly_spaced(structures, max(1, CANDIDATES // most))
    invariants = _joined([spectra(batch, invariant_only=True) for batch in _batches(candidates)])
    sparse: list[list[NDArray[np.float64]]] = []
    for kind, (number, (invariant,)) in enumerate(zip(basis.types, invariants, strict=True)):
        chosen = farthest(invariant[:, 0], config.environments)
        owner = np.repeat(np.arange(len(candidates)), [int((s.numbers == number).sum()) for s in candidates])
        owners = np.unique(owner[chosen])
        parts = [spectra(batch)[kind] for batch in _batches([candidates[i] for i in owners])]
        among = np.isin(np.flatnonzero(np.isin(owner, owners)), chosen)
        sparse.append([np.concatenate(blocks)[among] for blocks in zip(*parts, strict=True)])
        data.progress("sparse environments", kind + 1, len(basis.types))
    components = []
    for l in range(max(len(radials) for radials in basis.radials)):
        together = np.concatenate([blocks[l].reshape(-1, blocks[l].shape[2]) for blocks in sparse if l < len(blocks)])
        components.append(farthest(together.T, config.components))
    valence = data.store.manifest.valence_electrons
    facts: dict[str, Any] = {
        "valence_electrons": {type_name(z): valence[type_name(z)] for z in basis.types},
        "states": states_of(structures),
        "basis": basis.to_json(),
        "components": [len(chosen) for chosen in components],
        "environments": [len(blocks[0]) for blocks in sparse],
    }
    model = SoapModel(config, facts)
    model.kernel.set_sparse(components, sparse)
    return model


def _joined(parts: Sequence[Spectra]) -> Spectra:
    """Spectra of many batches as one."""
    return [
        [np.concatenate(blocks) for blocks in zip(*of_element, strict=True)] for of_element in zip(*parts, strict=True)
    ]


def _features(model: SoapModel, to_features: Blocks, structures: Sequence[Structure], progress: Progress) -> Blocks:
    """Features of all atoms, for each element and l [n_atoms, 2l + 1, D], float32."""
    parts: list[list[list[Tensor]]] = [[[] for _ in of_element] for of_element in to_features]
    done = 0
    for batch in _batches(structures):
        spectra = model.spectra(batch)
        for kind, of_element in enumerate(to_features):
            for l, (kernel, to) in enumerate(zip(model.kernel(spectra, kind), of_element, strict=True)):
                parts[kind][l].append((kernel @ to).float())
        done += len(batch)
        progress("features of environments", done, len(structures))
    return [[torch.cat(blocks) for blocks in of_element] for of_element in parts]


def _without_means(model: SoapModel, coefficients: PerType) -> PerType:
    """Coefficients less the mean of every l = 0 function of an element, which the model takes over."""
    targets = []
    for kind, (radials, c) in enumerate(zip(model.basis.radials, coefficients, strict=True)):
        n = radials[0].n_radial
        mean = c[:, :n].double().mean(dim=0)
        model.get_buffer(f"mean_{kind}").copy_(mean)
        targets.append(torch.cat([c[:, :n] - mean.float(), c[:, n:]], dim=1))
    return targets


def _set_shifts(model: SoapModel, coefficients: PerType) -> None:
    """Where electrons that lack go: along the covariance of the l = 0 functions over the training structures."""
    for kind, (charges, c) in enumerate(zip(model.basis.charges, coefficients, strict=True)):
        scalars = c[:, : len(charges)].double()
        scalars = scalars - scalars.mean(dim=0)
        covariance = scalars.T @ scalars / len(scalars)
        model.get_buffer(f"shift_{kind}").copy_(covariance @ charges + 1e-8 * charges)
