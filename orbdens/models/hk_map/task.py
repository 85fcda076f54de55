"""How the Hohenberg-Kohn map is made: fits laid over one reference, and kernel ridge regression by cross-validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.errors import UserError
from orbdens.models.basis import make_basis
from orbdens.models.conditioning import regularised_fits
from orbdens.models.density_fitting import fit_records
from orbdens.models.hk_map.alignment import lay
from orbdens.models.hk_map.model import HKMapModel, squared_distances
from orbdens.models.hk_map.options import HKMapRun
from orbdens.models.kernel_ridge import choose, gaussian
from orbdens.models.overlap_metric import OverlapMetric, PerType
from orbdens.models.task import FitTask, TrainingData, states_of
from orbdens.sites import type_name
from orbdens.structure import Structure

LOG = logging.getLogger(__name__)


class HKMapTask(FitTask[HKMapModel]):
    """One regression for all coefficients; errors of densities choose its kernel and ridge."""

    @classmethod
    def fit(cls, config: HKMapRun, data: TrainingData) -> HKMapModel:
        structures = [data.store.structure(key) for key in data.keys]
        model = _laid_out(config, structures, data)
        closest = fit_records(data, data.keys, model.basis, "atoms")
        # The closest fits of nearly equal densities need not be alike, and what varies without need is noise here.
        fits = regularised_fits(data, closest, data.keys, model.basis, "atoms")
        laid, rows = [], []
        for done, (key, structure) in enumerate(zip(data.keys, structures, strict=True), start=1):
            laid.append(model.lay(structure))
            rows.append(model.laid_down(fits[key].double(), laid[-1]).numpy())
            data.progress("laying structures over the first", done, len(structures))
        positions, coefficients = np.stack([one.positions for one in laid]), np.stack(rows)
        mean = coefficients.mean(axis=0)
        targets = coefficients - mean
        metric = OverlapMetric(model.basis, [Structure(model.numbers, places) for places in positions])

        def loss(predicted: NDArray[np.float64]) -> float:
            """Mean of ∫(ρ̂ − ρ)² dr."""
            errors = _per_type(model, torch.from_numpy(predicted - targets).float())
            squares = sum(float((e.double() * s).sum()) for e, s in zip(errors, metric(errors), strict=True))
            return squares / len(targets)

        options = config.objective
        kernels: dict[tuple[float, float], NDArray[np.float64]] = {}
        for width in options.widths:
            squares = squared_distances(model.numbers, positions, positions, width)
            median = float(np.sqrt(np.median(squares[np.triu_indices(len(squares), 1)])))
            kernels |= {(width, median * part): gaussian(squares, median * part) for part in options.lengths}
        chosen = choose(kernels, targets, options.ridges, loss, config.training.seed)
        LOG.info(f"width {chosen.name[0]:g} Å, length {chosen.name[1]:.3g}, ridge {chosen.ridge:g}")
        values = {"learned": positions, "gaussian_width": chosen.name[0], "length": chosen.name[1], "mean": mean}
        for name, value in {**values, "dual": chosen.dual}.items():
            model.get_buffer(name).copy_(torch.as_tensor(value))
        for kind, (c, charges) in enumerate(
            zip(_per_type(model, torch.from_numpy(targets)), model.basis.charges, strict=True)
        ):
            scalars = c[:, : len(charges)]
            model.get_buffer(f"shift_{kind}").copy_(scalars.T @ (scalars @ charges) / len(scalars) + 1e-8 * charges)
        return model


def _laid_out(config: HKMapRun, structures: Sequence[Structure], data: TrainingData) -> HKMapModel:
    """A model without weights, whose reference is the first structure."""
    first = structures[0]
    if any(sorted(structure.numbers) != sorted(first.numbers) for structure in structures):
        raise UserError("models of kind hk_map learn from structures of one composition, and these have several")
    if any(structure.periodic for structure in structures):
        raise UserError("models of kind hk_map learn from molecules, and some of these structures are periodic")
    numbers = np.sort(first.numbers)
    basis = make_basis(sorted({int(z) for z in numbers}), config.model.basis)
    valence = data.store.manifest.valence_electrons
    facts = {
        "valence_electrons": {type_name(z): valence[type_name(z)] for z in basis.types},
        "states": states_of(structures),
        "basis": basis.to_json(),
        "reference": lay(first.numbers, first.positions, None).positions.tolist(),
        "numbers": numbers.tolist(),
        "n_structures": len(structures),
    }
    return HKMapModel(config.model, facts)


def _per_type(model: HKMapModel, flat: Tensor) -> PerType:
    """Coefficients of many laid structures [n, n_coefficients] for each element [n · n_atoms of it, n_of_element]."""
    parts, begin = [], 0
    for kind, size in enumerate(model.basis.sizes):
        end = begin + size * int((model.kinds == kind).sum())
        parts.append(flat[:, begin:end].reshape(-1, size))
        begin = end
    return parts
