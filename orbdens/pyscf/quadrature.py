"""Atom-centred quadrature: Becke's cells, Lebedev's angles, as PySCF makes them for its functionals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyscf import dft, gto

from orbdens.structure import Structure
from orbdens.units import BOHR


def quadrature(structure: Structure, level: int = 3) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in Å [n_points, 3] and volumes in Å³ [n_points]: Σ volume · f(point) is ∫ f dr over all space.

    Args:
        structure: a molecule.
        level: fineness from 0 to 9, PySCF's.
    """
    mol = gto.Mole()
    mol.atom = [(int(z), tuple(place)) for z, place in zip(structure.numbers, structure.positions, strict=True)]
    mol.unit, mol.verbose, mol.basis = "Angstrom", 0, {"default": [[0, [1.0, 1.0]]]}  # PySCF insists on some basis
    mol.spin = int(structure.numbers.sum() % 2)
    mol.build(dump_input=False, parse_arg=False)
    grids = dft.Grids(mol)
    grids.level = level
    points, volumes = grids.get_partition(mol, grids.gen_atomic_grids(mol))
    return points * BOHR, volumes * BOHR**3
