"""The Coulomb potential of an orbital record by libcint, exact: what predicted potentials are measured against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyscf.gto import moleintor

from orbdens.pyscf.integrals import Functions
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
    orbitals = Functions.of(record.structure, basis)
    coefficients = record.orbitals.astype(np.float64)[np.argsort(orbitals.order)]
    density_matrix = (coefficients * record.occupations) @ coefficients.T
    atoms, shells, env = orbitals.tables()
    values, gradients = np.empty(len(points)), np.empty((len(points), 3))
    step = max(1, BLOCK // (3 * len(coefficients) ** 2))
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
