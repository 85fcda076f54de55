"""Densities straight from PySCF, at the level of theory of the shipped weights' training data."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import pyscf.dft
from numpy.typing import NDArray

from orbdens.units import BOHR


class Reference:
    """Valence density of a molecule: PBE, GTH-PBE pseudopotentials, gth-dzvp, density fitting.

    Args:
        atoms: ``info`` may hold ``charge`` (e) and ``multiplicity``; open shells are unrestricted.

    Raises:
        RuntimeError: the calculation does not converge.
    """

    def __init__(self, atoms: ase.Atoms) -> None:
        spin = atoms.info.get("multiplicity", 1) - 1
        self.molecule = pyscf.gto.M(
            atom=list(zip(atoms.symbols, atoms.positions, strict=True)),
            basis="gth-dzvp",
            pseudo="gth-pbe",
            charge=atoms.info.get("charge", 0),
            spin=spin,
            verbose=0,
        )
        method = pyscf.dft.UKS if spin else pyscf.dft.RKS
        self._field = method(self.molecule, xc="pbe").density_fit(auxbasis="def2-universal-jfit")
        self._field.grids.level = 1
        self._field.kernel()
        if not self._field.converged:
            raise RuntimeError(f"PBE does not converge for {atoms.symbols}")

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Density in e/Å³ [n_points] at points in Å [n_points, 3]."""
        return self._values(points, self._field.make_rdm1())

    def of_atoms_at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of the free, spherically averaged atoms at their places."""
        return self._values(points, self._field.init_guess_by_atom(self.molecule))

    def _values(self, points: NDArray[np.float64], matrix: Any) -> NDArray[np.float64]:
        matrix = matrix.sum(axis=0) if matrix.ndim == 3 else matrix
        parts = np.array_split(points, len(points) // 20_000 + 1)
        orbitals = (self.molecule.eval_gto("GTOval_sph", part / BOHR) for part in parts)
        return np.concatenate([((chi @ matrix) * chi).sum(axis=1) for chi in orbitals]) / BOHR**3
