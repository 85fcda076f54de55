"""Potential, multipoles and repulsion of an orbital record by libcint, exact: what predictions are measured against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyscf import gto
from pyscf.gto import moleintor
from pyscf.scf import _vhf

from orbdens.kernels import monomials
from orbdens.pyscf.integrals import Functions, Tables
from orbdens.store.records import LabelBasis, OrbitalRecord
from orbdens.units import BOHR

BLOCK = 1 << 24
"""Integrals held at once (128 MiB)."""


def coulomb(
    record: OrbitalRecord, basis: LabelBasis, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """∫ρ(r')/|r − r'| dr' in e/Å [n_points] and its gradient in e/Å² [n_points, 3].

    Args:
        record: the density.
        basis: that of its orbitals.
        points: Å [n_points, 3].
    """
    (atoms, shells, env), density_matrix = _prepared(record, basis)
    values, gradients = np.empty(len(points)), np.empty((len(points), 3))
    step = max(1, BLOCK // (3 * density_matrix.size))
    for start in range(0, len(points), step):
        grid = points[start : start + step] / BOHR
        whole = np.append(env, grid)
        whole[moleintor.NGRIDS], whole[moleintor.PTR_GRIDS] = len(grid), len(env)
        of_pairs = moleintor.getints("int1e_grids_sph", atoms, shells, whole, hermi=1)
        values[start : start + step] = of_pairs.reshape(len(grid), -1) @ density_matrix.reshape(-1)
        # the gradient in r of 1/|r − r'|, by parts, is on the orbitals, one of two of which integrals have
        of_pairs = moleintor.getints("int1e_grids_ip_sph", atoms, shells, whole, comp=3, hermi=0)
        gradients[start : start + step] = 2 * np.einsum("xgij,ij->gx", of_pairs, density_matrix)
    return values / BOHR, gradients / BOHR**2


def multipoles(
    record: OrbitalRecord, basis: LabelBasis, origin: NDArray[np.float64], l_max: int
) -> NDArray[np.float64]:
    """∫ρ S_lm(r − origin) dr in e·Å^l [(l_max + 1)²], l_max at most 4, of ``record``; origin in Å [3]."""
    (atoms, shells, env), density_matrix = _prepared(record, basis)
    env = env.copy()
    env[gto.PTR_COMMON_ORIG : gto.PTR_COMMON_ORIG + 3] = origin / BOHR
    parts = []
    for l in range(l_max + 1):
        name = f"int1e_{'r' * l or 'ovlp'}_sph"
        integrals = moleintor.getints(name, atoms, shells, env, comp=3**l, hermi=1).reshape(3**l, -1)
        raw = (integrals @ density_matrix.reshape(-1)).reshape((3,) * l)
        # x^a y^b z^c in the order of ``monomials``
        powers = [(a, b, l - a - b) for a in range(l + 1) for b in range(l - a + 1)]
        values = np.array([raw[(0,) * a + (1,) * b + (2,) * c] for a, b, c in powers])
        parts.append(monomials(l) @ values * BOHR**l)
    return np.concatenate(parts)


def self_interaction(record: OrbitalRecord, basis: LabelBasis) -> float:
    """∫∫ρ(r)ρ(r')/|r − r'| dr dr' of a record in e²/Å."""
    tables, density_matrix = _prepared(record, basis)
    repulsion, _ = _vhf.direct(density_matrix, *tables, hermi=1, with_k=False)
    return float((repulsion * density_matrix).sum() / BOHR)


def _prepared(record: OrbitalRecord, basis: LabelBasis) -> tuple[Tables, NDArray[np.float64]]:
    """The tables of libcint, and the density matrix in its order of orbitals."""
    orbitals = Functions.of(record.structure, basis)
    coefficients = record.orbitals.astype(np.float64)[np.argsort(orbitals.order)]
    return orbitals.tables(), (coefficients * record.occupations) @ coefficients.T
