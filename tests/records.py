"""Records whose densities are known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from orbdens.density import OrbitalDensity
from orbdens.kernels import Shells
from orbdens.labels import LabelDensity, label_density
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.records import orbital_record
from orbdens.store import Manifest
from orbdens.store.records import LabelBasis, LabelShell, OrbitalRecord
from orbdens.structure import Structure

VALENCE = {"O": 6, "H": 1}
TRIANGLE = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.1, 0.1], [0.3, 0.76, -0.5], [0.0, -0.76, -0.6]]))


def water_label(water: tuple[Structure, Any]) -> LabelDensity:
    """The record of a calculation of water in gth-dzvp, the fixture of that name."""
    structure, mf = water
    manifest = Manifest({}, "valence", VALENCE, label_basis(mf.mol))
    density = label_density(orbital_record(mf, structure), manifest)
    assert isinstance(density, LabelDensity)
    return density


def exact_pair() -> tuple[LabelDensity, OrbitalDensity]:
    """A record of s orbitals, whose products are s orbitals between the atoms, and the same density as such a sum."""
    exponents = {"O": (3.0, 0.6), "H": (1.1, 0.4)}
    basis = LabelBasis({s: tuple(LabelShell(0, (a,), (1.0 + a,)) for a in exponents[s]) for s in exponents})
    orbitals = np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32)
    record = OrbitalRecord(TRIANGLE, orbitals, np.array([2.0, 1.5], dtype=np.float32))
    matrix = (orbitals.astype(np.float64) * record.occupations) @ orbitals.astype(np.float64).T
    functions = [
        (a, 1.0 + a, r) for s, r in zip(TRIANGLE.symbols, TRIANGLE.positions, strict=True) for a in exponents[s]
    ]
    sites, shells, coefficients = [], [], []
    for i, (a, weight, at) in enumerate(functions):
        for j, (b, weight2, at2) in enumerate(functions):
            sites.append((a * at + b * at2) / (a + b))
            shells.append([(0, [a + b], [1.0])])
            overlap = np.exp(-a * b / (a + b) * ((at - at2) ** 2).sum())
            coefficients.append(matrix[i, j] * weight * weight2 * overlap / np.sqrt(4 * np.pi))
    table = Shells.from_lists(shells)
    table = table.with_radial(table.exponents, torch.ones_like(table.weights))
    types = np.arange(len(sites))
    density = OrbitalDensity(
        TRIANGLE, np.array(sites), types, table, np.array(coefficients), 6.0, valence_electrons=VALENCE
    )
    return LabelDensity(TRIANGLE, record, Manifest({}, "valence", VALENCE, basis)), density
