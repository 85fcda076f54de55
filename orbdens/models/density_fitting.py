"""Least-squares fits of label densities to a basis: the targets of the analytic stage.

With S_kl = ⟨χ_k|χ_l⟩ and b_k = ⟨χ_k|ρ⟩ the fit f = S⁻¹b is the closest density the basis can hold, and for any
coefficients c, ‖ρ_c − ρ‖² = (c − f)ᵀ S (c − f) + ‖ρ_f − ρ‖² (Pythagoras). Only the first term depends on c, and written
this way nothing cancels in single precision. All brackets are integrals of products (the overlap metric, where closest
is in L2), or all are electrostatic interactions (the Coulomb metric).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.kernels import Metric, Orbitals, normalisation, orbital_fields, overlaps
from orbdens.labels import stored_density
from orbdens.machine import available_cores
from orbdens.models.basis import DROP, Basis
from orbdens.models.task import TrainingData
from orbdens.processes import Ahead, parallel_map
from orbdens.sites import Sites, place_sites
from orbdens.store import LabelShell, Store
from orbdens.store.cache import TensorCache

if TYPE_CHECKING:
    from orbdens.pyscf.integrals import Functions

CHUNK = 16
"""Fits written to the cache at once."""

DRAWS, POINTS_PER_COEFFICIENT = 4, 8
"""Points are drawn so often, so many each time; with a quarter of them fits had more than twice the error."""

SAMPLED_RIDGE = 1e-7
"""Ridge of fits on sampled points."""

LAYOUT = 3
"""Version of the order of sites and of their coefficients: cached fits of another one mean something else."""

RIDGE = 1e-8
"""Part of its diagonal that is added to S: keeps fits of nearly dependent orbitals small and costs no accuracy."""


def fit_label(label: Density, basis: Basis, sites: str, metric: Metric = "overlap") -> dict[str, Any]:
    """Fit a density: by analytic integrals where it has them, else on a sample of points.

    Args:
        label: the density.
        basis: orbitals of the site types.
        sites: rule that places them.
        metric: in which the fit is closest.

    Returns:
        ``coefficients`` [n] float32 of the orthonormal radial functions, sites in order and their weights included, and
        ``norm`` [1], the norm ‖ρ_f‖ of the fitted density, in e/Å^(3/2), or e/Å^(1/2) in the Coulomb metric.

    Raises:
        UserError: the Coulomb metric is asked for, and the density is known on a grid alone.
    """
    placed = place_sites(label.structure, sites)
    types = basis.index(placed.types)
    weights = np.repeat(placed.weights, np.array(basis.sizes)[types])
    b = label.projections(_functions(placed, basis), metric)
    if b is not None:
        matrix, own = metric_matrix(placed, basis, metric)
        return _fit(matrix, weights * b, weights, RIDGE * own)
    if metric != "overlap":
        raise UserError(f"the {metric} metric needs orbital records: grid records are fitted in L2")
    sampled, projected = _sampled_integrals(label, placed, basis)
    return _fit(sampled, projected, weights, np.full(len(projected), SAMPLED_RIDGE))


def metric_matrix(placed: Sites, basis: Basis, metric: Metric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """⟨χ_k|χ_l⟩ of the weighted orthonormal functions of a molecule's sites for k <= l [n, n], C order, and its
    diagonal unweighted; what is below the diagonal means nothing."""
    functions, types = _functions(placed, basis), basis.index(placed.types)
    if metric == "overlap":
        matrix = overlaps(functions.gaussians, placed.weights)
        return matrix, np.ones(len(matrix))
    from orbdens.pyscf.integrals import coulomb_integrals  # PySCF takes a second to import

    unweighted = coulomb_integrals(functions)
    weights = np.repeat(placed.weights, np.array(basis.sizes)[types])
    return weights[:, None] * unweighted * weights, unweighted.diagonal()


def _sampled_integrals(label: Density, placed: Sites, basis: Basis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """⟨χ_k|χ_l⟩ [n, n] and ⟨χ_k|ρ⟩ [n] of orthonormal functions, estimated on points of the label."""
    structure, rng = label.structure, np.random.default_rng(0)
    transform = _transform(basis, basis.index(placed.types), placed.weights)
    orbitals = Orbitals.of_structure(
        torch.as_tensor(placed.positions),
        torch.as_tensor(basis.index(placed.types)),
        basis.shells,
        torch.as_tensor(transform),
        cell=None if structure.cell is None else torch.as_tensor(structure.cell),
        pbc=None if structure.cell is None else structure.pbc,
    )
    n = transform.shape[1]
    metric, b = np.zeros((n, n)), np.zeros(n)
    for _ in range(DRAWS):
        points, volumes, values = label.sample(POINTS_PER_COEFFICIENT * n, rng)
        functions = orbital_fields(orbitals, torch.as_tensor(points)).numpy()
        weighted = functions * (volumes[:, None] / DRAWS)
        metric += weighted.T @ functions
        b += weighted.T @ values
    return metric, b


def fit_records(
    data: TrainingData, keys: Sequence[str], basis: Basis, sites: str, metric: Metric = "overlap"
) -> TensorCache:
    """Fits of the records ``keys``; what the cache lacks is computed, if it is much in parallel processes.

    The folder ``data.cache`` gets one cache per basis, site rule and metric, emptied when the store is another than
    the one it was filled from. May be interrupted at any time.
    """
    store = data.store
    settings = {
        "layout": LAYOUT,
        "basis": basis.to_json(),
        "drop": DROP,
        "sites": sites,
        "ridge": RIDGE,
        "sampled_ridge": SAMPLED_RIDGE,
    } | ({} if metric == "overlap" else {"metric": metric})
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    fits = TensorCache(data.cache / f"fits-{digest}", store.manifest.source() | settings)
    missing = fits.missing(keys)
    results = parallel_map(_fit_key, missing, CHUNK, store, basis, sites, metric)
    for start in range(0, len(missing), CHUNK):
        fits.put_many({key: next(results) for key in missing[start : start + CHUNK]})
        done = len(keys) - len(missing) + min(start + CHUNK, len(missing))
        data.progress("fitting labels to the basis", done, len(keys))
    return fits


class FitsAhead:
    """Fits of very many records, each made when a batch to come needs it, and kept in the cache.

    Args:
        data: the records, and how many processes of this machine share the work; each makes those of its own batches.
        cache: what ``fit_records`` gave for some of the records with the same options.
        basis, sites, metric: those options.
    """

    def __init__(self, data: TrainingData, cache: TensorCache, basis: Basis, sites: str, metric: Metric) -> None:
        self.data, self.cache = data, cache
        self._missing = set(cache.missing(data.keys))
        self._n_missing = max(1, len(self._missing) // data.sharers)
        processes = max(1, available_cores() // data.sharers)
        self._ahead: Ahead[str, dict[str, Tensor]] = Ahead(_fit_key, (data.store, basis, sites, metric), processes)
        self._fresh: dict[str, dict[str, Tensor]] = {}
        self._n_made = 0

    def expect(self, keys: Sequence[str]) -> None:
        """Have fits made of these records, where there are none."""
        for key in keys:
            if key in self._missing and key not in self._ahead:
                if key in self.cache:  # another process has made it
                    self._missing.remove(key)
                else:
                    self._ahead.begin(key)

    def get(self, key: str) -> dict[str, Tensor]:
        """The fit of a record, as ``fit_label`` gives it."""
        if key in self._fresh:
            return self._fresh[key]
        if key not in self._missing:
            return self.cache.get(key)
        self._missing.remove(key)
        self._fresh[key] = fit = self._ahead.result(key)
        self._n_made += 1
        if len(self._fresh) == CHUNK:
            self._keep()
        return fit

    def _keep(self) -> None:
        self.cache.put_many(self._fresh)
        self._fresh.clear()
        self.data.progress("fitting labels as they come up", min(self._n_made, self._n_missing), self._n_missing)

    def close(self) -> None:
        """Keep what there is, and end the processes."""
        self._ahead.close()
        self._keep()


def _fit_key(store: Store, basis: Basis, sites: str, metric: Metric, key: str) -> dict[str, Any]:
    return fit_label(stored_density(store, key), basis, sites, metric)


def _fit(
    metric: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64], ridge: NDArray[np.float64]
) -> dict[str, Any]:
    fit = solve(metric, ridge, b)
    # fᵀ S f, as (S + ridge) f = b
    square = fit @ b - ridge @ fit**2
    return {
        "coefficients": torch.tensor(weights * fit, dtype=torch.float32),
        "norm": torch.tensor([np.sqrt(square)], dtype=torch.float32),
    }


def solve(matrix: NDArray[np.float64], ridge: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S + ridge)⁻¹ b by Cholesky's method, in place: S is lost.

    Args:
        matrix: S for rows before columns, C order [n, n].
        ridge: what is added to its diagonal [n].
        b: [n].
    """
    from scipy.linalg.lapack import dpotrf, dpotrs

    matrix.flat[:: len(matrix) + 1] += ridge
    factor, failed = dpotrf(matrix.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise np.linalg.LinAlgError("the functions of the sites are linearly dependent")
    solution: NDArray[np.float64] = dpotrs(factor, b, lower=1)[0]
    return solution


def _functions(placed: Sites, basis: Basis) -> Functions:
    """The orthonormal functions of all sites, without the weights of sites."""
    from orbdens.pyscf.integrals import Functions

    per_type = _shells(basis)
    return Functions(placed.positions, [per_type[site_type] for site_type in basis.index(placed.types)])


@lru_cache(maxsize=4)
def _shells(basis: Basis) -> list[list[LabelShell]]:
    """The orthonormal functions of each site type as contracted shells."""
    return [
        [
            LabelShell(radial.l, tuple(radial.exponents.tolist()), tuple(column.tolist()))
            for radial in radials
            for column in (normalisation(radial.l, torch.as_tensor(radial.exponents)).numpy() * radial.to_primitive.T)
        ]
        for radials in basis.radials
    ]


def _transform(basis: Basis, site_type: NDArray[np.int64], site_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal to weighted primitive coefficients of a whole structure [n_primitive, n_orthonormal]."""
    from scipy.linalg import block_diag

    blocks = [
        weight * np.kron(r.to_primitive, np.eye(2 * r.l + 1))
        for kind, weight in zip(site_type, site_weights, strict=True)
        for r in basis.radials[kind]
    ]
    return block_diag(*blocks)
