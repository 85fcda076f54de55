"""How orbitals answer to a change of their potential, and where that change would come to rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import scf

from orbdens.pyscf.first_fock import CoulombFit

SMALLEST_GAP = 1e-2
"""Hartree; smaller differences of orbital energies than this are taken for this in estimates of second order."""

REST = 0.03
"""What conjugate gradients leave of a change of the density, relative."""

STEPS = 8
"""Of conjugate gradients, at most; three to five are usual."""

Orbitals = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Energies in Hartree, coefficients and occupations, as PySCF has them: [n], [n_ao, n], [n], of two spins [2, ...]."""


def diagonalised(mf: Any, fock: NDArray[np.float64]) -> Orbitals:
    """The orbitals in a potential [n, n] for all spins, or [2, n, n] of two."""
    if isinstance(mf, scf.uhf.UHF) and fock.ndim == 2:
        fock = np.array([fock, fock])
    energies, coefficients = mf.eig(fock, mf.get_ovlp())
    return energies, coefficients, mf.get_occ(energies, coefficients)


def response(orbitals: Orbitals, potential: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """What independent electrons do when a potential v [n, n] or [2, n, n] is added to theirs.

    Returns:
        −⟨v|χ₀|v⟩ in Hartree, twice what they gain, and the change of their density matrix [n_ao, n_ao], spins together.
    """
    energies, coefficients, occupations = orbitals
    n_ao, n = coefficients.shape[-2:]
    gain, change = 0.0, np.zeros((n_ao, n_ao))
    spins = energies.reshape(-1, n), coefficients.reshape(-1, n_ao, n), occupations.reshape(-1, n)
    for index, (e, c, occupied) in enumerate(zip(*spins, strict=True)):
        v = potential if potential.ndim == 2 else potential[index]
        full = occupied > 0
        mixed = c[:, full].T @ v @ c[:, ~full]
        rotation = occupied[full][:, None] * mixed / np.maximum(e[~full] - e[full][:, None], SMALLEST_GAP)
        gain += 2 * float((rotation * mixed).sum())
        part = c[:, full] @ rotation @ c[:, ~full].T
        change -= part + part.T
    return gain, change


def at_rest(mf: Any, fit: CoulombFit, fock: NDArray[np.float64], fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Fock matrix F[ρ] with the Coulomb potential of the density at which the orbitals come to rest, to first order.

    The orbitals of F[ρ] have another density, ρ + R. Electrons repel each other, so that they do not keep to R, but
    to the y = R + χ₀ v y that they would make themselves, v the Coulomb potential. In the orthonormal auxiliary basis
    1 − χ₀ v is symmetric and positive; a few steps of conjugate gradients solve it. Exchange and correlation do not
    change with y.

    Args:
        mf: the calculation.
        fit: its Coulomb potentials.
        fock: F[ρ], [n, n], or [2, n, n] of two spins.
        fitted: ρ [n_auxiliary].

    Returns:
        F[ρ] + v y, in the shape of fock.
    """
    orbitals = diagonalised(mf, fock)
    matrix = mf.make_rdm1(*orbitals[1:])
    rest = fit.of_matrix(matrix.sum(axis=0) if matrix.ndim == 3 else matrix) - fitted
    found, direction, size = np.zeros_like(rest), rest, float(rest @ rest)
    enough = max(REST**2 * size, np.finfo(float).tiny)
    for _ in range(STEPS):
        if size <= enough:
            break
        image = direction - fit.of_matrix(response(orbitals, fit.potential(direction))[1])
        step = size / float(direction @ image)
        found, rest = found + step * direction, rest - step * image
        before, size = size, float(rest @ rest)
        direction = rest + size / before * direction
    return fock + fit.potential(found)
