"""What the scales of the head are set from: coefficients of some training densities, as much alike as they can be.

Orbitals of neighbouring sites overlap, so that one density has many nearly equal expansions, and the closest fit takes
any of them. Drawn towards the mean coefficients c̄ of their site type, (S + λ) c = b + λ c̄, the coefficients vary half
as much for a density that changes by less than 0.01 %, which is less for the network to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.models.interface import Progress
from orbdens.models.orbital.basis import Basis
from orbdens.models.orbital.density_fitting import CHUNK, overlap_matrix, processes
from orbdens.sampling import evenly_spaced
from orbdens.sites import place_sites
from orbdens.store import Store
from orbdens.store.cache import TensorCache

SAMPLE = 100
"""Training records that set the scales of the head."""

RARE = 20
"""Records of each site type among them, if there are as many."""

TOWARDS_MEAN = 1e-6
"""λ: beside the eigenvalues of S that matter to the density this is nothing."""

ROUNDS, FIRST = 4, 16
"""How often means are taken anew, and of how many records."""


def representative(store: Store, keys: Sequence[str], basis: Basis, sites: str) -> list[str]:
    """Keys whose fits tell the scales of coefficients: evenly spaced, and more with site types rare among those."""
    spaced = evenly_spaced(keys, SAMPLE)
    taken = set(spaced)
    order = spaced + [key for key in keys if key not in taken]
    chosen, seen = [], np.zeros(len(basis.types), dtype=int)
    for place, key in enumerate(order):
        kinds = np.unique(basis.index(place_sites(store[key].structure, sites).types))
        if place < len(spaced) or (seen[kinds] < RARE).any():
            chosen.append(key)
            seen[kinds] += 1
        elif (seen >= RARE).all():
            break
    return chosen


def settled(
    store: Store, fits: TensorCache, keys: Sequence[str], basis: Basis, sites: str, cache: Path, progress: Progress
) -> dict[str, Tensor]:
    """Fits of ``keys`` drawn towards the means of their site types: coefficients [n] of orthonormal functions each.

    Args:
        store: where the records are.
        fits: closest fits of those records.
        keys: molecules or crystals; crystals keep their closest fits.
        basis: orbitals of the site types.
        sites: rule that places them.
        cache: folder of a cache of the results.
        progress: told what is done.
    """
    header = {
        "keys": list(keys),
        "towards_mean": TOWARDS_MEAN,
        "rounds": ROUNDS,
        "first": FIRST,
        "fits": fits.path.name,
    }
    done = TensorCache(cache / f"settled-{fits.path.name}", store.manifest.source() | header)
    if keys[-1] not in done:
        now = {key: fits.get(key)["coefficients"] for key in keys}
        means = _means(basis, store, now, sites)
        first = evenly_spaced(keys, FIRST)
        for _ in range(ROUNDS - 1):
            drawn = {key: _draw(store, basis, sites, means, (key, now[key])) for key in first}
            means = _means(basis, store, drawn, sites, means)
        with processes(len(keys)) as run:
            results = run(partial(_draw, store, basis, sites, means), now.items())
            entries = {}
            for key in keys:
                entries[key] = {"coefficients": next(results)}
                if len(entries) % CHUNK == 0:
                    progress("scales of coefficients", len(entries), len(keys))
        done.put_many(entries)
    return {key: done.get(key)["coefficients"] for key in keys}


def _draw(store: Store, basis: Basis, sites: str, means: list[NDArray[np.float64]], fit: tuple[str, Tensor]) -> Tensor:
    from scipy.linalg import cho_factor, cho_solve

    key, flat = fit
    structure = store[key].structure
    if structure.periodic:
        return flat
    placed = place_sites(structure, sites)
    kinds = basis.index(placed.types)
    weights = np.repeat(placed.weights, np.array(basis.sizes)[kinds])
    metric = overlap_matrix(placed, basis)
    unweighted = np.divide(flat.double().numpy(), weights, where=weights > 0, out=np.zeros(len(flat)))
    target = metric @ unweighted + TOWARDS_MEAN * np.concatenate([means[kind] for kind in kinds])
    drawn = cho_solve(cho_factor(metric + TOWARDS_MEAN * np.eye(len(flat))), target)
    return torch.tensor(weights * drawn, dtype=torch.float32)


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
        kinds = torch.as_tensor(basis.index(place_sites(store[key].structure, sites).types))
        for kind, own in enumerate(basis.per_type(flat.double(), kinds)):
            per_type[kind].append(own)
    means = []
    for kind, radials in enumerate(basis.radials):
        own = torch.cat(per_type[kind])
        mean = own.mean(dim=0).numpy() if len(own) else np.zeros(own.shape[1])
        if not len(own) and otherwise is not None:
            mean = otherwise[kind]
        mean[radials[0].n_radial :] = 0
        means.append(mean)
    return means
