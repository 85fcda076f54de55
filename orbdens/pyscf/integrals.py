"""Analytic integrals over Gaussian functions on sites by libcint, in Å and in our order: electrons, dipoles, overlaps.

The tables of libcint are filled by hand, as ``gto.M`` would sort and normalise the shells again. Neighbouring shells of
one l and the same exponents become one shell of several contractions, for which libcint works out primitives only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import gto
from pyscf.gto import moleintor

from orbdens.electrons import core_charges
from orbdens.kernels import Gaussians, Metric, density_projections
from orbdens.pyscf.order import ao_order
from orbdens.store.manifest import Manifest
from orbdens.store.records import LabelBasis, LabelShell, OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

BLOCK = 1 << 23
"""Three-centre integrals held at once (64 MiB)."""

Tables = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]
"""Atoms, shells and numbers as libcint takes them."""


@dataclass(frozen=True, eq=False)
class Functions:
    """Gaussian functions on sites, in the order of the sites, of the shells of each, and of m = −l..l.

    Attributes:
        positions: positions of the sites, Å [n_sites, 3].
        shells: those of each site.
    """

    positions: NDArray[np.float64]
    shells: Sequence[Sequence[LabelShell]]

    @classmethod
    def of(cls, structure: Structure, basis: LabelBasis) -> Functions:
        """The orbitals (AOs) of a structure, as a record has them in its rows."""
        return cls(structure.positions, [basis.elements[chemical_symbols[z]] for z in structure.numbers])

    @property
    def gaussians(self) -> Gaussians:
        """As our own kernels take them; sites that share a list of shells are of one kind."""
        kinds = {id(shells): shells for shells in self.shells}
        places = {key: place for place, key in enumerate(kinds)}
        groups = [
            [
                (l, np.array(exponents), np.array([shell.weights for shell in contractions]))
                for (l, exponents), contractions in groupby(shells, key=lambda shell: (shell.l, shell.exponents))
            ]
            for shells in kinds.values()
        ]
        return Gaussians(self.positions, np.array([places[id(shells)] for shells in self.shells]), groups)

    @property
    def order(self) -> NDArray[np.int64]:
        """Index [n] that brings PySCF's rows into our order, see ``ao_order``."""
        return ao_order(shell.l for site in self.shells for shell in site)

    def tables(self) -> Tables:
        """The tables of libcint, in Bohr."""
        atoms, shells = [], []
        env = [0.0] * gto.PTR_ENV_START
        for position in self.positions / BOHR:
            atoms.append([1, len(env), gto.NUC_POINT, 0, 0, 0])
            env += position.tolist()
        for site, its_shells in enumerate(self.shells):
            for (l, exponents), contractions in groupby(its_shells, key=lambda shell: (shell.l, shell.exponents)):
                weights = np.array([shell.weights for shell in contractions]) * BOHR ** (l + 1.5)
                used = (weights != 0).any(axis=0)
                n = int(used.sum())
                shells.append([site, l, n, len(weights), 0, len(env), len(env) + n, 0])
                env += (np.array(exponents)[used] * BOHR**2).tolist()
                env += weights[:, used].reshape(-1).tolist()
        return np.array(atoms, dtype=np.int32), np.array(shells, dtype=np.int32), np.array(env)


def overlaps(functions: Functions) -> NDArray[np.float64]:
    """⟨χ_k|χ_l⟩ [n, n]."""
    return _one_electron("int1e_ovlp_sph", functions)


def coulomb_integrals(functions: Functions) -> NDArray[np.float64]:
    """∫∫χ_k(r) χ_l(r') / |r − r'| dr dr', Å² [n, n]."""
    return _one_electron("int2c2e_sph", functions) * BOHR**2


def projections(
    record: OrbitalRecord, basis: LabelBasis, functions: Functions, metric: Metric = "overlap"
) -> NDArray[np.float64]:
    """⟨χ_k|ρ⟩ of the density of an orbital record, Å^(−3/2) [n], or ∫∫χ_k(r) ρ(r') / |r − r'| dr dr', Å^(1/2).

    Args:
        record: the density.
        basis: that of its orbitals.
        functions: the χ, on any sites.
        metric: ``overlap`` or ``coulomb``.
    """
    orbitals = Functions.of(record.structure, basis)
    ours = record.orbitals.astype(np.float64)
    if metric == "overlap":  # ten times as fast as three-centre integrals by libcint, which has no use for D
        return density_projections(orbitals.gaussians, (ours * record.occupations) @ ours.T, functions.gaussians)
    coefficients = ours[np.argsort(orbitals.order)]
    density_matrix = (coefficients * record.occupations) @ coefficients.T
    row, column = np.tril_indices(len(coefficients))
    weights = np.where(row == column, 1.0, 2.0) * density_matrix[row, column]
    first, second = orbitals.tables(), functions.tables()
    atoms, shells, env = gto.conc_env(*first, *second)
    optimiser = moleintor.make_cintopt(atoms, shells, env, "int3c2e_sph")
    n, parts = len(first[1]), []
    for begin, end in _blocks(second[1], len(weights)):
        integrals = moleintor.getints(
            "int3c2e_sph",
            atoms,
            shells,
            env,
            shls_slice=(0, n, 0, n, n + begin, n + end),
            comp=1,
            aosym="s2ij",
            cintopt=optimiser,
        )
        parts.append(weights @ integrals)
    result: NDArray[np.float64] = np.concatenate(parts)[functions.order] * BOHR**0.5
    return result


def _blocks(shells: NDArray[np.int32], n_pairs: int) -> list[tuple[int, int]]:
    """Ranges of shells whose integrals with so many pairs of orbitals fit into ``BLOCK``, or of one shell."""
    sizes = (2 * shells[:, gto.ANG_OF] + 1) * shells[:, gto.NCTR_OF]
    block = (np.cumsum(sizes) - 1) // max(1, BLOCK // n_pairs)
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(shells)]
    return list(pairwise(edges))


def electron_count(record: OrbitalRecord, basis: LabelBasis) -> float:
    """The analytic integral of an orbital record's density, Σ_i n_i C_iᵀ S C_i."""
    orbitals = record.orbitals.astype(np.float64)
    norms = (orbitals * (overlaps(Functions.of(record.structure, basis)) @ orbitals)).sum(axis=0)
    return float(record.occupations @ norms)


def dipole(record: OrbitalRecord, manifest: Manifest) -> NDArray[np.float64]:
    """The analytic dipole of an orbital record, cores included, in e·Å [3], about the origin of the coordinates."""
    structure, orbitals = record.structure, record.orbitals.astype(np.float64)
    moments = _one_electron("int1e_r_sph", Functions.of(structure, manifest.orbital_basis)) * BOHR
    electronic = np.einsum("mi,i,xmn,ni->x", orbitals, record.occupations, moments, orbitals, optimize=True)
    cores = core_charges(structure, manifest.valence_electrons)
    result: NDArray[np.float64] = cores @ structure.positions - electronic
    return result


def _one_electron(name: str, functions: Functions) -> NDArray[np.float64]:
    """Integrals [..., n, n] in atomic units, rows and columns in our order."""
    integrals: NDArray[Any] = moleintor.getints(name, *functions.tables(), hermi=1)
    order = functions.order
    result: NDArray[np.float64] = integrals[..., order[:, None], order]
    return result
