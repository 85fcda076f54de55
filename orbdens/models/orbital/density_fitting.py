"""Least-squares fits of label densities to a basis: the targets of the overlap objective.

With S_kl = ⟨χ_k|χ_l⟩ and b_k = ⟨χ_k|ρ⟩ the fit f = S⁻¹b is the closest density the basis can hold, and for any
coefficients c, ‖ρ_c − ρ‖² = (c − f)ᵀ S (c − f) + ‖ρ_f − ρ‖² (Pythagoras). Only the first term depends on c, and written
this way nothing cancels in single precision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from orbdens.density import Density
from orbdens.kernels import normalisation, orbital_fields
from orbdens.labels import label_density
from orbdens.models.orbital.basis import DROP, Basis
from orbdens.models.task import TrainingData
from orbdens.processes import parallel_map
from orbdens.sites import Sites, place_sites
from orbdens.store import GridRecord, LabelBasis, OrbitalRecord, Store
from orbdens.store.cache import TensorCache
from orbdens.units import BOHR

CHUNK = 16
"""Fits written to the cache at once."""

DRAWS, POINTS_PER_COEFFICIENT = 4, 8
"""Grid points are drawn so often, so many each time; with a quarter of them fits had more than twice the error."""

GRID_RIDGE = 1e-7
"""Ridge of fits on sampled points."""

RIDGE = 1e-8
"""Added to the diagonal of S (ones): keeps fits of nearly dependent orbitals small and costs no accuracy."""


def fit_record(record: OrbitalRecord, label_basis: LabelBasis, basis: Basis, sites: str) -> dict[str, torch.Tensor]:
    """Fit one record.

    Returns:
        ``coefficients`` [n] float32 of the orthonormal radial functions, sites in order and their weights included, and
        ``norm`` [1], the L2 norm ‖ρ_f‖ of the fitted density in e/Å^(3/2).
    """
    from pyscf import df

    structure = record.structure
    placed = place_sites(structure, sites)
    labels, scale = _label_molecule(structure.numbers, structure.positions, label_basis)
    fitting = _fitting_molecule(placed, basis)
    orbitals = (record.orbitals.astype(np.float64) * scale[:, None])[_our_row(labels)]
    density_matrix = (orbitals * record.occupations) @ orbitals.T
    lower = np.tril_indices(len(orbitals))
    weights = np.where(lower[0] == lower[1], 1.0, 2.0) * density_matrix[lower]
    theirs = _our_row(fitting).argsort()
    b = (weights @ df.incore.aux_e2(labels, fitting, "int3c1e_sph", aosym="s2ij"))[theirs] * BOHR**-1.5
    transform, weights = _transform(basis, basis.index(placed.types), placed.weights)
    return _solve(_overlap(fitting, theirs, transform), transform.T @ b, weights, RIDGE)


def overlap_matrix(placed: Sites, basis: Basis) -> NDArray[np.float64]:
    """⟨χ_k|χ_l⟩ of the weighted orthonormal functions of a molecule's sites [n, n]."""
    fitting = _fitting_molecule(placed, basis)
    transform, _ = _transform(basis, basis.index(placed.types), placed.weights)
    return _overlap(fitting, _our_row(fitting).argsort(), transform)


def _overlap(fitting: Any, theirs: NDArray[np.int64], transform: Any) -> NDArray[np.float64]:
    result: NDArray[np.float64] = transform.T @ fitting.intor("int1e_ovlp")[np.ix_(theirs, theirs)] @ transform
    return result


def _solve(
    metric: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64], ridge: float
) -> dict[str, torch.Tensor]:
    from scipy.linalg import cho_factor, cho_solve

    fit = cho_solve(cho_factor(metric + ridge * np.eye(len(b))), b)
    return {
        "coefficients": torch.tensor(weights * fit, dtype=torch.float32),
        "norm": torch.tensor([np.sqrt(fit @ metric @ fit)], dtype=torch.float32),
    }


def fit_density(label: Density, basis: Basis, sites: str, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """As ``fit_record``, from a weighted least-squares fit on a sample of the grid's points."""
    structure = label.structure
    placed = place_sites(structure, sites)
    kinds = basis.index(placed.types)
    sparse_transform, site_weights = _transform(basis, kinds, placed.weights)
    transform = sparse_transform.toarray()
    n = transform.shape[1]
    cell = None if structure.cell is None else torch.as_tensor(structure.cell)[None]
    metric, b = np.zeros((n, n)), np.zeros(n)
    for _ in range(DRAWS):
        points, weights, labels = label.sample(POINTS_PER_COEFFICIENT * n, rng)
        orbitals = orbital_fields(
            torch.as_tensor(points),
            torch.tensor([0, len(points)]),
            torch.as_tensor(placed.positions),
            torch.as_tensor(kinds),
            torch.tensor([0, len(kinds)]),
            basis.shells,
            torch.as_tensor(transform),
            cells=cell,
            pbc=None if cell is None else torch.tensor([structure.pbc]),
        ).numpy()
        weighted = orbitals * (weights[:, None] / DRAWS)
        metric += weighted.T @ orbitals
        b += weighted.T @ labels
    return _solve(metric, b, site_weights, GRID_RIDGE)


def _transform(
    basis: Basis, site_type: NDArray[np.int64], site_weights: NDArray[np.float64]
) -> tuple[Any, NDArray[np.float64]]:
    """Orthonormal to weighted primitive coefficients of a whole structure, sparse [n_primitive, n_orthonormal], and
    the weight of each orthonormal coefficient."""
    from scipy import sparse

    blocks = [
        weight * np.kron(r.to_primitive, np.eye(2 * r.l + 1))
        for kind, weight in zip(site_type, site_weights, strict=True)
        for r in basis.radials[kind]
    ]
    return sparse.block_diag(blocks, format="csr"), np.repeat(site_weights, np.array(basis.sizes)[site_type])


def _fitting_molecule(placed: Sites, basis: Basis) -> Any:
    kinds = basis.index(placed.types)
    return _molecule(
        placed.positions, [[(r.l, [(e, 1.0)]) for r in basis.radials[kind] for e in r.exponents] for kind in kinds]
    )


def _molecule(positions: NDArray[np.float64], shells: list[list[tuple[int, list[tuple[float, float]]]]]) -> Any:
    """A PySCF molecule of ghost-like sites, each with its own shells (l, [(exponent in Å⁻², coefficient)])."""
    from pyscf import gto

    names = [f"He{i}" for i in range(len(positions))]
    table = {
        name: [[l, *([e * BOHR**2, c] for e, c in primitives)] for l, primitives in site]
        for name, site in zip(names, shells, strict=True)
    }
    return gto.M(
        atom=list(zip(names, (positions / BOHR).tolist(), strict=True)), basis=table, unit="Bohr", verbose=0, spin=None
    )


def _label_molecule(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], label_basis: LabelBasis
) -> tuple[Any, NDArray[np.float64]]:
    """The molecule in its label basis, and the norm of each of its orbitals, which PySCF sets to one."""
    shells: list[list[tuple[int, list[tuple[float, float]]]]] = []
    norms: list[float] = []
    for number in numbers:
        site: list[tuple[int, list[tuple[float, float]]]] = []
        for shell in label_basis.elements[chemical_symbols[number]]:
            a = np.array(shell.exponents)
            c = (
                np.array(shell.weights)
                / normalisation(shell.l, torch.tensor(shell.exponents, dtype=torch.float64)).numpy()
            )
            overlap = (2 * np.sqrt(np.outer(a, a)) / np.add.outer(a, a)) ** (shell.l + 1.5)
            norms += [float(np.sqrt(c @ overlap @ c))] * (2 * shell.l + 1)
            # Segmented contractions come with zeros, and integrals over them take time.
            site.append((shell.l, [(e, w) for e, w in zip(a.tolist(), c.tolist(), strict=True) if w != 0]))
        shells.append(site)
    return _molecule(positions, shells), np.array(norms)


def _our_row(molecule: Any) -> NDArray[np.int64]:
    """Our row of each PySCF orbital: PySCF orders l = 1 as x, y, z, we as y, z, x."""
    rows: list[int] = []
    for shell in range(molecule.nbas):
        l, start = molecule.bas_angular(shell), len(rows)
        rows += [start + i for i in ((2, 0, 1) if l == 1 else range(2 * l + 1))]
    return np.array(rows)


def fit_label(record: OrbitalRecord | GridRecord, store: Store, basis: Basis, sites: str) -> dict[str, torch.Tensor]:
    """Fit a record of either kind: ``fit_record`` or ``fit_density``."""
    if isinstance(record, OrbitalRecord):
        return fit_record(record, store.manifest.orbital_basis, basis, sites)
    return fit_density(label_density(record, store.manifest), basis, sites, np.random.default_rng(0))


def _fit_key(store: Store, basis: Basis, sites: str, key: str) -> dict[str, torch.Tensor]:
    return fit_label(store[key], store, basis, sites)


def fit_records(data: TrainingData, keys: Sequence[str], basis: Basis, sites: str) -> TensorCache:
    """Fits of the records ``keys``; what the cache lacks is computed, if it is much in parallel processes.

    The folder ``data.cache`` gets one cache per basis and site rule, emptied when the store is another than the one it
    was filled from. May be interrupted at any time.
    """
    store = data.store
    settings = {"basis": basis.to_json(), "drop": DROP, "sites": sites, "ridge": RIDGE, "grid_ridge": GRID_RIDGE}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    fits = TensorCache(data.cache / f"fits-{digest}", store.manifest.source() | settings)
    missing = [key for key in keys if key not in fits]
    fit = partial(_fit_key, store, basis, sites)
    with parallel_map(len(missing), CHUNK) as run:
        results = run(fit, missing)
        for start in range(0, len(missing), CHUNK):
            fits.put_many({key: next(results) for key in missing[start : start + CHUNK]})
            done = len(keys) - len(missing) + min(start + CHUNK, len(missing))
            data.progress("fitting labels to the basis", done, len(keys))
    return fits
