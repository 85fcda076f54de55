"""Atom-centred quadrature: Becke's cells, Lebedev's angles, Treutler's radii, as PySCF makes them for its functionals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyscf import dft, gto

from orbdens.structure import Structure
from orbdens.units import BOHR


def quadrature(
    structure: Structure, level: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Points and volumes for which Σ volume · f(point) is ∫ f dr over all space around a molecule.

    Args:
        structure: a molecule, or the atoms of one cell without their images.
        level: fineness from 0 to 9, PySCF's.

    Returns:
        Points in Å [n_points, 3], volumes in Å³ [n_points], and the atom in whose cell each point lies [n_points].
    """
    mol = gto.Mole()
    mol.atom = [(int(z), tuple(place)) for z, place in zip(structure.numbers, structure.positions, strict=True)]
    mol.unit, mol.verbose, mol.basis = "Angstrom", 0, {"default": [[0, [1.0, 1.0]]]}  # PySCF insists on some basis
    mol.spin = int(structure.numbers.sum() % 2)
    mol.build(dump_input=False, parse_arg=False)
    grids = dft.Grids(mol)
    grids.level = level
    tables = grids.gen_atomic_grids(mol)
    points, volumes = grids.get_partition(mol, tables)
    sizes = [len(tables[mol.atom_symbol(atom)][1]) for atom in range(mol.natm)]
    return points * BOHR, volumes * BOHR**3, np.repeat(np.arange(mol.natm), sizes)
