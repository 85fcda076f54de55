"""Integrals over functions on sites, against PySCF's own molecules and against quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyscf import df, dft, gto

from orbdens import kernels
from orbdens.kernels import Metric, normalisation
from orbdens.labels import LabelDensity
from orbdens.pyscf import integrals
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.integrals import Functions, coulomb_integrals, overlaps, projections
from orbdens.store import LabelBasis, Manifest, OrbitalRecord
from orbdens.store.records import LabelShell
from orbdens.structure import Structure
from orbdens.units import BOHR

SHELLS = {"He": [[0, [0.6, 1.0]], [1, [0.9, 0.3], [0.4, 0.8]], [2, [1.1, 1.0]], [3, [0.8, 1.0]]]}


def record(basis: str | dict[str, Any], symbols: str = "OHH") -> tuple[OrbitalRecord, LabelBasis, Any]:
    """Random orbitals of a molecule in a basis, and the same molecule of PySCF."""
    positions = np.array([[0.0, 0, 0], [0.1, 0.76, 0.59], [-0.3, -0.76, 0.4]])
    mol = gto.M(atom=list(zip(symbols, positions, strict=True)), basis=basis, verbose=0)
    structure = Structure(mol.atom_charges(), positions)
    rng = np.random.default_rng(0)
    orbitals = rng.normal(size=(mol.nao, 3)).astype(np.float32)
    return OrbitalRecord(structure, orbitals, np.array([2, 2, 0.5], dtype=np.float32)), label_basis(mol), mol


def fitting(mol: Any) -> Functions:
    """The functions of a PySCF molecule of helium atoms."""
    shells = label_basis(mol).elements["He"]
    return Functions(mol.atom_coords() * BOHR, [shells] * mol.natm)


@pytest.mark.parametrize("basis", ["gth-dzvp", "gth-dzvp-molopt-sr", "cc-pvtz"])
def test_overlaps_are_pyscf_s(basis: str) -> None:
    """Segmented and general contractions alike; zeros in them are left out."""
    labels, table, mol = record(basis)
    functions = Functions.of(labels.structure, table)
    order = functions.order
    np.testing.assert_allclose(overlaps(functions), mol.intor("int1e_ovlp")[np.ix_(order, order)], atol=1e-10)


@pytest.mark.parametrize("basis", ["gth-dzvp", "cc-pvqz"])
def test_overlaps_in_closed_form_are_pyscf_s(basis: str) -> None:
    """Up to g functions, on two kinds of sites, which may have weights; rows come before columns."""
    labels, table, mol = record(basis)
    functions = Functions.of(labels.structure, table)
    scales = np.array([0.5, 1.0, 0.0])
    sizes = [sum(2 * shell.l + 1 for shell in shells) for shells in functions.shells]
    weights = np.repeat(scales, sizes)
    expected = mol.intor("int1e_ovlp")[np.ix_(functions.order, functions.order)]
    found = kernels.overlaps(functions.gaussians)
    np.testing.assert_allclose(np.triu(found), np.triu(expected), atol=2e-12)
    found = kernels.overlaps(functions.gaussians, scales)
    np.testing.assert_allclose(np.triu(found), np.triu(weights[:, None] * expected * weights), atol=2e-12)


def test_coulomb_integrals_are_pyscf_s() -> None:
    labels, table, mol = record("cc-pvtz")
    functions = Functions.of(labels.structure, table)
    expected = mol.intor("int2c2e")[np.ix_(functions.order, functions.order)] * BOHR**2
    np.testing.assert_allclose(coulomb_integrals(functions), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("metric", "basis", "block"),
    [
        ("overlap", "gth-dzvp", 0),
        ("overlap", "cc-pvtz", 0),
        ("coulomb", "gth-dzvp", 1 << 23),
        ("coulomb", "gth-dzvp", 1000),
    ],
)
def test_projections_are_pyscf_s(monkeypatch: pytest.MonkeyPatch, metric: Metric, basis: str, block: int) -> None:
    """On sites of their own and on one of the atoms; libcint's in blocks of shells or all at once."""
    monkeypatch.setattr(integrals, "BLOCK", block)
    labels, table, mol = record(basis)
    sites = gto.M(atom="He .1 .2 .3; He -1 .4 0; He 0 0 0", basis=SHELLS, verbose=0)
    order = Functions.of(labels.structure, table).order
    theirs = labels.orbitals.astype(np.float64)[np.argsort(order)]
    matrix = (theirs * labels.occupations) @ theirs.T
    name, unit = {"overlap": ("int3c1e_sph", BOHR**-1.5), "coulomb": ("int3c2e_sph", BOHR**0.5)}[metric]
    expected = np.einsum("ij,ijk->k", matrix, df.incore.aux_e2(mol, sites, name)) * unit
    functions = fitting(sites)
    np.testing.assert_allclose(
        projections(labels, table, functions, metric), expected[functions.order], rtol=1e-8, atol=1e-10
    )


def test_projections_integrate_the_density_with_the_functions() -> None:
    """By quadrature: the density at points from the kernels, the functions from their definition."""
    labels, table, _ = record("gth-dzvp-molopt-sr")
    grid = dft.Grids(gto.M(atom=list(zip("OHH", labels.structure.positions, strict=True)), verbose=0))
    grid.level = 3
    grid.build()
    points, weights = grid.coords * BOHR, grid.weights * BOHR**3
    density = LabelDensity(labels.structure, labels, Manifest({}, "valence", {}, table)).at(points)
    exponents = np.array([0.5, 1.4])
    contraction = np.array([[0.7, 0.2], [-0.4, 1.1]]) * normalisation(1, torch.tensor(exponents)).numpy()
    shells = [LabelShell(1, tuple(exponents), tuple(row)) for row in contraction]
    centre = labels.structure.positions[1]
    distance = points - centre
    radial: NDArray[np.float64] = np.exp(-exponents * (distance**2).sum(axis=1)[:, None]) @ contraction.T
    # S_1m are y, z, x times the same factor
    angular = np.sqrt(3 / (4 * np.pi)) * distance[:, [1, 2, 0]]
    functions = np.einsum("pk,pm->pkm", radial, angular).reshape(len(points), -1)
    expected = (weights * density) @ functions
    found = projections(labels, table, Functions(centre[None], [shells]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
