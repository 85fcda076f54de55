"""Fits that set the scales of the head, regularised so that they vary as little as they need to.

Orbitals of neighbouring sites overlap, so one density has many nearly equal expansions, and the closest fit is any of
them. Each fit is therefore drawn towards the mean coefficients c̄ of its site types by ridge regression,
(S + λ D) c = b + λ D c̄ with the diagonal D of S. Such coefficients vary half as much from molecule to molecule, the
density changes by less than 0.01 %, and the network has less to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.kernels import Metric
from orbdens.models.basis import Basis
from orbdens.models.density_fitting import CHUNK, metric_matrix, solve
from orbdens.models.task import TrainingData
from orbdens.processes import parallel_map
from orbdens.sampling import evenly_spaced
from orbdens.sites import place_sites
from orbdens.store import Store
from orbdens.store.cache import TensorCache

SAMPLE = 100
"""Training records that set the scales of the head."""

LOOKED_THROUGH = 20_000
"""Records at most among which rare site types are looked for."""

RARE = 20
"""Records of each site type among them, if there are as many."""

TOWARDS_MEAN = 1e-6
"""λ: beside the eigenvalues of S that matter to the density this is nothing."""

ROUNDS, FIRST = 4, 16
"""How often means are taken anew, and of how many records."""


def sample_for_scales(data: TrainingData, basis: Basis, sites: str) -> list[str]:
    """Keys whose fits tell the scales of coefficients: evenly spaced, and more with site types rare among those."""
    spaced = evenly_spaced(data.keys, SAMPLE)
    taken = set(spaced)
    order = spaced + [key for key in evenly_spaced(data.keys, LOOKED_THROUGH) if key not in taken]
    chosen, seen = [], np.zeros(len(basis.types), dtype=int)
    for place, key in enumerate(order):
        kinds = np.unique(basis.index(place_sites(data.store.structure(key), sites).types))
        if place < len(spaced) or (seen[kinds] < RARE).any():
            chosen.append(key)
            seen[kinds] += 1
        elif (seen >= RARE).all():
            break
    return chosen


def regularised_fits(
    data: TrainingData,
    fits: TensorCache,
    keys: Sequence[str],
    basis: Basis,
    sites: str,
    metric: Metric = "overlap",
) -> dict[str, Tensor]:
    """Fits of ``keys`` drawn towards the means of their site types: coefficients [n] of orthonormal functions each.

    Args:
        data: where the records are, a folder for a cache of the results, and what is told of progress.
        fits: closest fits of those records.
        keys: molecules or crystals; crystals keep their closest fits.
        basis: orbitals of the site types.
        sites: rule that places them.
        metric: that of the fits.
    """
    header = {
        "keys": list(keys),
        "towards_mean": TOWARDS_MEAN,
        "rounds": ROUNDS,
        "first": FIRST,
        "fits": fits.path.name,
    }
    store = data.store
    done = TensorCache(data.cache / f"regularised-{fits.path.name}", store.manifest.source() | header)
    if keys[-1] not in done:
        closest = {key: fits.get(key)["coefficients"] for key in keys}
        means = _means(basis, store, closest, sites)
        first = evenly_spaced(keys, FIRST)
        for _ in range(ROUNDS - 1):
            drawn = {key: _shrink_to_mean(store, basis, sites, metric, means, (key, closest[key])) for key in first}
            means = _means(basis, store, drawn, sites, means)
        entries = {}
        shared = (store, basis, sites, metric, means)
        results = parallel_map(_shrink_to_mean, list(closest.items()), CHUNK, *shared)
        for key, result in zip(keys, results, strict=True):
            entries[key] = {"coefficients": result}
            if len(entries) % CHUNK == 0:
                data.progress("scales of coefficients", len(entries), len(keys))
        done.put_many(entries)
    return {key: done.get(key)["coefficients"] for key in keys}


def _shrink_to_mean(
    store: Store,
    basis: Basis,
    sites: str,
    metric: Metric,
    means: list[NDArray[np.float64]],
    fit: tuple[str, Tensor],
) -> Tensor:
    from scipy.linalg.blas import dsymv

    key, flat = fit
    structure = store.structure(key)
    if structure.periodic:
        return flat
    placed = place_sites(structure, sites)
    kinds = basis.index(placed.types)
    weights = np.repeat(placed.weights, np.array(basis.sizes)[kinds])
    matrix, own = metric_matrix(placed, basis, metric)
    ridge = TOWARDS_MEAN * own
    unweighted = np.divide(flat.double().numpy(), weights, where=weights > 0, out=np.zeros(len(flat)))
    target = dsymv(1.0, matrix.T, unweighted, lower=1) + ridge * np.concatenate([means[kind] for kind in kinds])
    return torch.tensor(weights * solve(matrix, ridge, target), dtype=torch.float32)


def _means(
    basis: Basis,
    store: Store,
    fits: dict[str, Tensor],
    sites: str,
    otherwise: list[NDArray[np.float64]] | None = None,
) -> list[NDArray[np.float64]]:
    """Mean coefficients of each type, only of l = 0, as a molecule may be turned; ``otherwise`` for absent types."""
    per_type: list[list[Tensor]] = [[] for _ in basis.types]
    for key, flat in fits.items():
        kinds = torch.as_tensor(basis.index(place_sites(store.structure(key), sites).types))
        for kind, coefficients in enumerate(basis.per_type(flat.double(), kinds)):
            per_type[kind].append(coefficients)
    means = []
    for kind, radials in enumerate(basis.radials):
        sites_of_type = torch.cat(per_type[kind])
        n_sites, n = sites_of_type.shape
        mean = sites_of_type.mean(dim=0).numpy() if n_sites else np.zeros(n)
        if not n_sites and otherwise is not None:
            mean = otherwise[kind]
        mean[radials[0].n_radial :] = 0
        means.append(mean)
    return means
