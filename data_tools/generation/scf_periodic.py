"""The density of a crystal from PySCF at the Γ point, on the mesh of its plane waves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf.pbc import dft, gto

from data_tools.generation.convergence import check_count, converge
from data_tools.generation.scf import atoms_of, with_limits
from data_tools.generation.settings import Settings
from orbdens.electrons import electrons_on_grid
from orbdens.pyscf.records import without_checkpoint
from orbdens.store.records import GridRecord
from orbdens.structure import Structure
from orbdens.units import BOHR


def calculate_cell(structure: Structure, settings: Settings) -> GridRecord:
    """The valence density of a crystal; of an unrestricted calculation the spin density too.

    Raises:
        CalculationError: no attempt converges, or the mesh is too coarse to hold all electrons.
    """
    assert structure.cell is not None
    cell = gto.M(
        a=structure.cell,
        atom=atoms_of(structure),
        basis=settings.basis,
        pseudo=settings.pseudo,
        charge=structure.charge,
        spin=structure.multiplicity - 1,
        ke_cutoff=settings.ke_cutoff,
        verbose=0,
    )
    mf = without_checkpoint((dft.UKS if cell.spin else dft.RKS)(cell, xc=settings.xc))
    if settings.density_fit or settings.auxbasis:
        mf = mf.density_fit(auxbasis=settings.auxbasis)
    mf = converge(with_limits(mf, settings))
    matrix = mf.make_rdm1()
    steps = structure.cell / np.array(cell.mesh)[:, None]
    if cell.spin:
        up, down = (_on_mesh(mf, cell, part) for part in matrix)
        values, spin_values = up + down, (up - down).astype(np.float32)
    else:
        values, spin_values = _on_mesh(mf, cell, matrix), None
    check_count(electrons_on_grid(values, steps), cell.nelectron)
    return GridRecord(structure, np.zeros(3), steps, values.astype(np.float32), spin_values, float(mf.e_tot))


def _on_mesh(mf: Any, cell: Any, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The density of a density matrix [n_ao, n_ao] in e/Å³ at (i/nx, j/ny, k/nz) of the cell."""
    # the points of the mesh come with the last index fastest; wrapping their coordinates does not change a density
    values: NDArray[np.float64] = mf.get_rho(matrix).reshape(tuple(cell.mesh)) / BOHR**3
    return values
