"""Fewer cycles of self-consistency: PySCF's DIIS, and the Coulomb response of the orbitals within every cycle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import lib
from pyscf.scf import diis

from orbdens.pyscf.first_fock import CoulombFit, check_kind
from orbdens.pyscf.response import at_rest


class CoulombDIIS(diis.CDIIS):  # type: ignore[misc]  # PySCF has no types
    """PySCF's DIIS, whose Fock matrix takes the Coulomb potential at which its own orbitals come to rest.

    A new one begins with every calculation, since PySCF makes it; level shifts work as ever, damping does not.
    """

    def __init__(self, mf: Any, filename: str | None = None) -> None:
        super().__init__(mf, filename)
        self.mf, self.fit = mf, CoulombFit(mf)

    def update(
        self, s: NDArray[np.float64], d: NDArray[np.float64], f: NDArray[np.float64], *_: Any, **__: Any
    ) -> NDArray[np.float64]:
        """The Fock matrix to diagonalise, from overlap, density matrix and its Fock matrix."""
        fitted = self.fit.of_matrix(d.sum(axis=0) if d.ndim == 3 else d)
        error = diis.get_err_vec(s, d, f, self.Corth)
        mixed = lib.diis.DIIS.update(self, np.concatenate([f.ravel(), fitted]), xerr=error)
        return at_rest(self.mf, self.fit, mixed[: f.size].reshape(f.shape), mixed[f.size :])


def accelerate(mf: Any) -> Any:
    """Let a calculation converge in about half as many cycles, from whatever density it begins with.

    ``accelerate(mf).kernel(dm0=initial_guess(mf, density))`` is the shortest way from a prediction to an energy. Every
    cycle then takes one diagonalisation and a few Coulomb matrices by density fitting beside its Fock matrix.

    Calculations with unpaired electrons keep PySCF's own cycles: shorter ones leave an electron in the orbital where it
    began, which need not be that of the lowest energy.

    Args:
        mf: an RHF, UHF, RKS or UKS calculation of PySCF, not yet run; it is changed.

    Returns:
        mf.

    Raises:
        UserError: the calculation is periodic or of another kind.
    """
    check_kind(mf)
    if mf.mol.spin == 0:
        mf.DIIS, mf.diis, mf.diis_start_cycle = CoulombDIIS, True, 0
    return mf
