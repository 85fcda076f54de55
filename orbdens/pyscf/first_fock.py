"""What a density gives of a Fock matrix: Coulomb and exchange-correlation potentials, in atomic units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pyscf import df, dft, gto, lib, scf
from pyscf.dft import numint
from pyscf.gto import moleintor

from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.pyscf.integrals import Functions
from orbdens.store.records import LabelShell
from orbdens.units import BOHR

AUXILIARY_BASIS = "def2-universal-jfit"
"""Where the calculation has no density fitting of its own."""

SHELLS = 500
"""Shells of a density whose integrals are held at once."""

SEMILOCAL = "pbe"
"""The functional in place of one that needs orbitals: hybrids, Hartree-Fock, meta-GGAs, non-local correlation."""


class CoulombFit:
    """Densities in the auxiliary basis of a calculation, made orthonormal: half their square is a Coulomb energy.

    Three-centre integrals of the thousands of functions of a predicted density would be exact; the two-centre ones
    with some hundred auxiliary functions take a twentieth of the time, and the calculation knows no other repulsion.
    """

    def __init__(self, mf: Any) -> None:
        own = getattr(mf, "with_df", None)
        self.fit = own if isinstance(own, df.DF) else df.DF(mf.mol, AUXILIARY_BASIS)
        if self.fit._cderi is None:
            self.fit.build()

    def of_densities(self, densities: Sequence[OrbitalDensity]) -> NDArray[np.float64]:
        """The sum of densities [n_auxiliary]."""
        total = sum(_repulsions(self.fit.auxmol, density) for density in densities)
        factor = scipy.linalg.cholesky(self.fit.auxmol.intor("int2c2e"), lower=True)
        result: NDArray[np.float64] = scipy.linalg.solve_triangular(factor, total, lower=True)
        return result

    def of_matrix(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """The density of a density matrix [n, n]: [n_auxiliary]."""
        pairs = lib.pack_tril(2 * matrix - np.diag(np.diag(matrix)))
        return np.concatenate([integrals @ pairs for integrals in self.fit.loop()])

    def potential(self, fitted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrix [n, n] of the potential of a density [n_auxiliary]."""
        total, start = np.zeros(self.fit.mol.nao * (self.fit.mol.nao + 1) // 2), 0
        for integrals in self.fit.loop():
            total += fitted[start : start + len(integrals)] @ integrals
            start += len(integrals)
        matrix: NDArray[np.float64] = lib.unpack_tril(total)
        return matrix


def exchange_correlation(
    mol: Any, xc: str, densities: Sequence[OrbitalDensity], grids: dft.Grids
) -> tuple[NDArray[np.float64], float]:
    """The matrix [n, n] of the potential v of the sum of densities, and ∫v ρ dr in Hartree; spins paired.

    Args:
        mol: PySCF's molecule.
        xc: a functional whose semilocal part is an LDA or GGA.
        densities: with analytic gradients.
        grids: a quadrature that is built.
    """
    integrator, kind = numint.NumInt(), dft.libxc.xc_type(xc)
    bins = numint.NBINS * 2 - int(numint.NBINS * np.log(grids.cutoff * 1e2) / np.log(grids.cutoff))
    pairs, places = mol.get_overlap_cond() < -np.log(integrator.cutoff), mol.ao_loc_nr()
    half, of_potential = np.zeros((mol.nao, mol.nao)), 0.0
    for orbitals, mask, volumes, points in integrator.block_loop(mol, grids, mol.nao, 1):
        fields = _fields(densities, points)[: 4 if kind == "GGA" else 1]
        weighted = volumes * _evaluated(integrator, xc, fields)[1]
        of_potential += float((weighted * fields).sum())
        weighted[0] *= 0.5  # the other half comes with the transposed matrix
        part = numint._scale_ao_sparse(orbitals[: len(weighted)], weighted, mask, places)
        numint._dot_ao_ao_sparse(orbitals[0], part, None, bins, mask, pairs, places, hermi=0, out=half)
    return half + half.T, of_potential


def exchange_correlation_energy(xc: str, densities: Sequence[OrbitalDensity], grids: dft.Grids) -> float:
    """Hartree, of the sum of densities; arguments as ``exchange_correlation`` has them."""
    fields = _fields(densities, grids.coords)[: 4 if dft.libxc.xc_type(xc) == "GGA" else 1]
    return float((_evaluated(numint.NumInt(), xc, fields)[0] * fields[0]) @ grids.weights)


def exact_exchange(mf: Any, matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The matrix of exact exchange, as much as a functional has of it; None where the rest is no LDA or GGA.

    Args:
        mf: an RHF, UHF, RKS or UKS calculation.
        matrix: density matrix [n, n], or [2, n, n] of open shells; the result has its shape.
    """
    xc = functional(mf)
    if dft.libxc.xc_type(xc) not in ("LDA", "GGA", "HF") or not (is_hartree_fock(xc) or dft.libxc.is_hybrid_xc(xc)):
        return None
    omega, long_range, share = numint.NumInt().rsh_and_hybrid_coeff(xc)
    potential = share * mf.get_k(mf.mol, matrix)
    if omega:
        potential = potential + (long_range - share) * mf.get_k(mf.mol, matrix, omega=omega)
    result: NDArray[np.float64] = -potential if matrix.ndim == 3 else -0.5 * potential
    return result


def check_kind(mf: Any) -> None:
    """Raise UserError unless a calculation is RHF, UHF, RKS or UKS, of a molecule."""
    known = isinstance(mf, scf.hf.RHF | scf.uhf.UHF) and not isinstance(mf, scf.rohf.ROHF)
    if not known or hasattr(type(mf.mol), "lattice_vectors"):
        raise UserError(f"expected an RHF, UHF, RKS or UKS calculation of a molecule, but got {type(mf).__name__}")


def functional(mf: Any) -> str:
    """The functional of a calculation."""
    return str(getattr(mf, "xc", "hf"))


def is_hartree_fock(xc: str) -> bool:
    """Whether a functional has no other exchange and correlation than the exact exchange."""
    return bool(dft.libxc.xc_type(xc) == "HF")


def is_semilocal(mf: Any) -> bool:
    """Whether a calculation is of an LDA or GGA, with nothing beside it."""
    xc = functional(mf)
    plain = dft.libxc.xc_type(xc) in ("LDA", "GGA") and not getattr(mf, "disp", None) and not getattr(mf, "nlc", "")
    return bool(plain and not dft.libxc.is_hybrid_xc(xc) and not dft.libxc.is_nlc(xc))


def _repulsions(auxiliary: Any, density: OrbitalDensity) -> NDArray[np.float64]:
    """∫∫P(r)ρ(r')/|r − r'| dr dr' of all auxiliary functions P [n_auxiliary]."""
    functions = _functions(density)
    coefficients = np.empty(len(density.coefficients))
    coefficients[functions.order] = density.coefficients.cpu().numpy() * BOHR**1.5
    own = functions.tables()
    starts = np.cumsum([0, *((2 * own[1][:, gto.ANG_OF] + 1) * own[1][:, gto.NCTR_OF])])
    atoms, shells, env = gto.conc_env(auxiliary._atm, auxiliary._bas, auxiliary._env, *own)
    n, total = auxiliary.nbas, np.zeros(auxiliary.nao)
    for begin in range(0, len(own[1]), SHELLS):
        end = min(begin + SHELLS, len(own[1]))
        slices = (0, n, n + begin, n + end)
        integrals = moleintor.getints("int2c2e_sph", atoms, shells, env, shls_slice=slices)
        total += integrals @ coefficients[starts[begin] : starts[end]]
    return total


def _functions(density: OrbitalDensity) -> Functions:
    """The orbitals of a density as libcint takes them."""
    table = density.shells
    exponents, weights = table.exponents.tolist(), table.weights.tolist()
    ends = table.primitive_ptr.tolist()
    shells = [
        LabelShell(l, tuple(exponents[begin:end]), tuple(weights[begin:end]))
        for l, begin, end in zip(table.shell_l.tolist(), ends[:-1], ends[1:], strict=True)
    ]
    firsts = table.shell_ptr.tolist()
    return Functions(density.site_positions, [shells[firsts[t] : firsts[t + 1]] for t in density.site_types])


def _fields(densities: Sequence[OrbitalDensity], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values and gradients [4, n_points] of the sum of densities at points in Bohr, in atomic units."""
    total = np.zeros((4, len(points)))
    for density in densities:
        values, gradients, _ = density.derivatives_at(points * BOHR)
        total[0] += values * BOHR**3
        total[1:] += gradients.T * BOHR**4
    return total


def _evaluated(
    integrator: Any, xc: str, fields: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energy of an electron [n_points] and derivatives by the fields, in their shape."""
    kind = dft.libxc.xc_type(xc)
    given = fields if kind == "GGA" else fields[0]
    energies, derivatives = integrator.eval_xc_eff(xc, given, deriv=1, xctype=kind, spin=0)[:2]
    return energies, np.reshape(derivatives, fields.shape)
