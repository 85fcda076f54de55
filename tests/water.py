"""Water: a real calculation, small enough for tests, and boxes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf import dft, gto
from scipy.spatial.transform import Rotation

from orbdens.pyscf.records import without_checkpoint
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0.1], [0.76, 0.02, -0.5], [-0.76, 0, -0.5]]))


def box(n_atoms: int, periodic: bool) -> Structure:
    """Liquid water: molecules at random angles on a cubic lattice, as a cluster or a periodic cube."""
    n, side = n_atoms // 3, 3.104
    edge = int(np.ceil(n ** (1 / 3) - 1e-9))
    places = side * np.stack(np.unravel_index(np.arange(n), (edge, edge, edge)), axis=1)
    turned = [rotation.apply(WATER.positions) for rotation in Rotation.random(n, random_state=0)]
    positions = (np.stack(turned) + places[:, None]).reshape(-1, 3)
    cell = np.eye(3) * side * edge if periodic else None
    return Structure(np.tile(WATER.numbers, n), positions, cell, (periodic, periodic, periodic))


def calculate_water() -> Any:
    """The converged RKS/PBE calculation of ``WATER`` in gth-dzvp."""
    atoms = list(zip("OHH", WATER.positions, strict=True))
    mol = gto.M(atom=atoms, basis="gth-dzvp", pseudo="gth-pbe", verbose=0)
    mf = without_checkpoint(dft.RKS(mol, xc="PBE"))
    mf.grids.level = 0
    mf.kernel()
    return mf
