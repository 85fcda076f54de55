"""The label basis is PySCF's, in Å and in the order m = -l..l."""

from __future__ import annotations

import json
from math import factorial, pi, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from places import GOLDEN
from pyscf import gto
from scipy.special import lpmv

from orbdens.errors import UserError
from orbdens.labels import label_shells
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.order import ao_order, shell_l
from orbdens.store import LabelBasis, OrbitalRecord, Store
from orbdens.structure import Structure
from orbdens.units import BOHR

Array = NDArray[np.float64]


def harmonic(l: int, m: int, r: Array) -> Array:
    """r^l Y_lm at r [n, 3], written out from the associated Legendre functions."""
    length = np.linalg.norm(r, axis=1)
    azimuth = np.arctan2(r[:, 1], r[:, 0])
    norm = sqrt((2 * l + 1) / (4 * pi) * factorial(l - abs(m)) / factorial(l + abs(m))) * (sqrt(2) if m else 1)
    angular = np.cos(m * azimuth) if m >= 0 else np.sin(-m * azimuth)
    # scipy's functions carry the Condon-Shortley phase, ours do not
    return np.asarray((-1) ** m * norm * length**l * lpmv(abs(m), l, r[:, 2] / length) * angular)


def orbital_values(basis: LabelBasis, structure: Structure, points: Array) -> Array:
    """All AOs [n_points, n_ao] in Å^(-3/2), as their definition says."""
    from ase.data import chemical_symbols

    columns = []
    for z, position in zip(structure.numbers, structure.positions, strict=True):
        r = points - position
        square = (r**2).sum(axis=1)
        for shell in basis.elements[chemical_symbols[z]]:
            radial = np.exp(-np.outer(square, shell.exponents)) @ np.array(shell.weights)
            columns += [harmonic(shell.l, m, r) * radial for m in range(-shell.l, shell.l + 1)]
    return np.stack(columns, axis=1)


WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0.1], [0.76, 0.02, -0.5], [-0.76, 0, -0.5]]))


def water(**options: Any) -> Any:
    atoms = list(zip(WATER.to_ase().get_chemical_symbols(), WATER.positions, strict=True))
    return gto.M(atom=atoms, verbose=0, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"basis": "gth-dzvp", "pseudo": "gth-pbe"},
        {"basis": "gth-dzvp-molopt-sr", "pseudo": "gth-pbe"},
        {"basis": "cc-pvqz"},
        {"basis": {"O": [[6, [0.8, 1]], [5, [1.1, 1]], [1, [3, 0.4, 1], [1, 0.7, 2]]], "H": [[4, [0.6, 1]]]}},
    ],
    ids=["gth", "general-contraction", "l-to-4", "unsorted-to-l-6"],
)
def test_label_basis_is_pyscf(options: dict[str, Any]) -> None:
    mol = water(**options)
    basis = label_basis(mol)
    points = np.random.default_rng(0).normal(size=(50, 3))
    theirs = mol.eval_gto("GTOval_sph", points / BOHR) * BOHR**-1.5
    ours = orbital_values(basis, WATER, points)
    assert basis.n_ao(WATER.numbers) == mol.nao
    np.testing.assert_allclose(ours, theirs[:, ao_order(shell_l(basis, WATER.numbers))], atol=1e-6)


def test_json_keeps_every_digit() -> None:
    basis = label_basis(water(basis="cc-pvdz"))
    assert LabelBasis.from_json(json.loads(json.dumps(basis.to_json()))) == basis


def test_types_and_shells() -> None:
    basis = label_basis(water(basis="gth-dzvp", pseudo="gth-pbe"))
    assert basis.symbols == ("H", "O")
    assert basis.type_of_element == {1: 0, 8: 1}
    assert basis.types(WATER.numbers).tolist() == [1, 0, 0]
    assert basis.n_ao(np.array([], dtype=np.int64)) == 0
    with pytest.raises(UserError, match="the label basis has no Fe, only H, O"):
        basis.types(np.array([8, 26]))
    shells = label_shells(basis)
    assert shells.shell_l.tolist() == [0, 0, 1, 0, 0, 1, 1, 2]
    assert shells.shell_ptr.tolist() == [0, 3, 8]
    assert shells.primitive_ptr[-1] == len(shells.exponents) == len(shells.weights)


def test_golden_densities() -> None:
    """A stored record, evaluated by the manifest alone, is the density that PySCF's own orbitals give."""
    expected = json.loads((GOLDEN / "ethanol_expected.json").read_text())
    points = np.array(expected["points"])
    store = Store(GOLDEN / "ethanol")
    basis = store.manifest.label_basis
    assert basis is not None
    for key, values in expected["records"].items():
        record = store[key]
        assert isinstance(record, OrbitalRecord)
        orbitals = orbital_values(basis, record.structure, points) @ record.orbitals.astype(float)
        np.testing.assert_allclose(orbitals**2 @ record.occupations, values["density"], rtol=1e-5, atol=1e-7)
