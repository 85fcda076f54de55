"""From PySCF's calculations to orbital records: units, order of orbitals, spins, signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.order import ao_order, shell_l
from orbdens.store.records import OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import BOHR


def without_checkpoint(mf: Any) -> Any:
    """The same calculation, its temporary checkpoint file closed and not written to."""
    mf.chkfile = None
    mf._chkfile.close()
    return mf


def orbital_record(mf: Any, structure: Structure) -> OrbitalRecord:
    """The occupied orbitals of a converged RKS, RHF, UKS or UHF calculation (of the latter spin up, then spin down).

    Signs are fixed by the largest coefficient of each orbital, so that a repeated calculation gives the same record.

    Args:
        mf: the calculation.
        structure: what it was made of, stored as it is: PySCF's coordinates went through Bohr and back.
    """
    coefficients, occupations, spins = side_by_side(np.asarray(mf.mo_coeff), np.asarray(mf.mo_occ))
    return OrbitalRecord(
        structure=structure,
        orbitals=with_fixed_signs(coefficients[ao_order(shell_l(label_basis(mf.mol), structure.numbers))]),
        occupations=occupations.astype(np.float32),
        energy=float(mf.e_tot),
        dipole=mf.dip_moment(unit="AU", verbose=0) * BOHR,
        spins=spins,
    )


def side_by_side(
    coefficients: NDArray[np.float64], occupations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8] | None]:
    """The occupied orbitals of both spins beside each other, spin up first, as a record holds them.

    Args:
        coefficients: [n_ao, n_mo], or [2, n_ao, n_mo] of spin up and down.
        occupations: [n_mo] or [2, n_mo]; of a restricted open shell 2, 1 and 0.

    Returns:
        Coefficients [n_ao, n_occupied], occupations [n_occupied], and spins [n_occupied] or None for a closed shell.
    """
    if coefficients.ndim == 2:
        if not ((occupations == 1).any() and np.isin(occupations, (0, 1, 2)).all()):
            return coefficients[:, occupations > 0], occupations[occupations > 0], None
        coefficients = np.stack([coefficients, coefficients])
        occupations = np.stack([occupations > 0, occupations > 1]).astype(np.float64)
    return both_spins(list(coefficients), list(occupations))


def both_spins(
    coefficients: Sequence[NDArray[np.float64]], occupations: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8]]:
    """``side_by_side`` for orbitals [n_ao, n_mo] and occupations [n_mo] of spin up, and others of spin down."""
    occupied = [c[:, n > 0] for c, n in zip(coefficients, occupations, strict=True)]
    spins = np.repeat(np.array([1, -1], dtype=np.int8), [c.shape[1] for c in occupied])
    return np.concatenate(occupied, axis=1), np.concatenate([n[n > 0] for n in occupations]), spins


def with_fixed_signs(orbitals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Orbitals [n_ao, n_occupied] in float32, the largest coefficient of each positive."""
    largest = orbitals[np.argmax(np.abs(orbitals), axis=0), np.arange(orbitals.shape[1])]
    return (orbitals * np.sign(largest)).astype(np.float32)
