"""A real calculation, small enough for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf import dft, gto

from orbdens.pyscf.records import without_checkpoint
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0.1], [0.76, 0.02, -0.5], [-0.76, 0, -0.5]]))


def calculate_water() -> Any:
    """The converged RKS/PBE calculation of ``WATER`` in gth-dzvp."""
    atoms = list(zip("OHH", WATER.positions, strict=True))
    mol = gto.M(atom=atoms, basis="gth-dzvp", pseudo="gth-pbe", verbose=0)
    mf = without_checkpoint(dft.RKS(mol, xc="PBE"))
    mf.grids.level = 0
    mf.kernel()
    return mf
