"""Bases: even-tempered tables, radial orthonormality, charges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orbdens.errors import UserError
from orbdens.kernels import normalisation
from orbdens.models.basis import Basis, Radial, make_basis
from orbdens.models.basis_options import BasisConfig
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.models.orbital.orbital_shapes import OrbitalShapes
from orbdens.sites import BOND


def test_even_tempered_ranges_are_pyscf_s() -> None:
    """H in def2-QZVPPD, beta 2: 9 s, 7 p and 5 d shells (PySCF's ``aug_etb``) before the window cuts."""
    basis = make_basis([1], BasisConfig(beta=2.0, max_exponent=1e9))
    assert [len(r.exponents) for r in basis.radials[0]] == [9, 7, 5]
    ratios = basis.radials[0][0].exponents[1:] / basis.radials[0][0].exponents[:-1]
    np.testing.assert_allclose(ratios, 2.0)


def test_window_and_l_limit() -> None:
    basis = make_basis([6], BasisConfig(beta=2.0, l_max=2, max_exponent=30.0))
    assert len(basis.radials[0]) == 3
    assert max(r.exponents.max() for r in basis.radials[0]) <= 30.0


def test_each_l_has_a_limit_of_its_own() -> None:
    """The last limit serves all higher l; functions for cores are those of l = 0 alone."""
    one, each = (
        make_basis([6], BasisConfig(beta=2.0, l_max=3, max_exponent=limit)).radials[0]
        for limit in (72.0, [5000.0, 72.0, 20.0])
    )
    assert 2500 < each[0].exponents.max() <= 5000
    assert each[0].exponents[: len(one[0].exponents)].tolist() == one[0].exponents.tolist()
    assert each[1].exponents.tolist() == one[1].exponents.tolist()
    for l in (2, 3):
        assert each[l].exponents.tolist() == one[l].exponents[one[l].exponents <= 20].tolist()


def test_unknown_basis_and_empty_window_are_told() -> None:
    with pytest.raises(UserError, match="no basis 'nonsense' for C"):
        make_basis([6], BasisConfig(source="nonsense"))
    with pytest.raises(UserError, match="leaves a shell of C empty"):
        make_basis([6], BasisConfig(max_exponent=0.01))


@pytest.mark.parametrize("l", [0, 1, 4])
def test_radial_functions_are_orthonormal(l: int) -> None:
    radial = Radial(l, 0.3 * 1.6 ** np.arange(10))
    r, step = np.linspace(1e-4, 25.0, 200_001, retstep=True)
    norm = normalisation(l, torch.as_tensor(radial.exponents)).numpy()
    primitives = norm * r[:, None] ** l * np.exp(-radial.exponents * r[:, None] ** 2)
    functions = primitives @ radial.to_primitive
    overlap = (functions * (r * r)[:, None]).T @ functions * step
    np.testing.assert_allclose(overlap, np.eye(radial.n_radial), atol=2e-5)


def test_charges_are_integrals() -> None:
    basis = Basis.from_json({"C": [[0.4, 1.1, 3.0], [1.0]]})
    radial = basis.radials[0][0]
    r, step = np.linspace(1e-4, 25.0, 200_001, retstep=True)
    norm = normalisation(0, torch.as_tensor(radial.exponents)).numpy()
    functions = (norm * np.exp(-radial.exponents * r[:, None] ** 2)) @ radial.to_primitive / np.sqrt(4 * np.pi)
    (charges,) = OrbitalShapes(basis, [False], OrbitalConfig()).charges(torch.device("cpu"))
    np.testing.assert_allclose(charges, (4 * np.pi * r * r) @ functions * step, rtol=1e-6)


def test_virtual_sites_have_a_window_of_their_own_and_tables_win() -> None:
    config = BasisConfig(
        beta=2.0, virtual={"l_max": 1, "min_exponent": 1.0, "max_exponent": 10.0}, table={"H": [[1, 3]]}
    )
    basis = make_basis([1, 6, BOND], config)
    assert basis.to_json()["H"] == [[1.0, 3.0]]
    bond = basis.to_json()["bond"]
    assert len(bond) == 2
    assert all(1.0 <= exponent <= 10.0 for exponents in bond for exponent in exponents)
    assert Basis.from_json(basis.to_json()).types == (1, 6, BOND)
    assert make_basis([1006], BasisConfig(table={"C-H": [[2.0]]})).to_json() == {"H-C": [[2.0]]}


@pytest.mark.parametrize(
    "table", [{"H": [[-1.0]]}, {"H": [[np.inf]]}, {"H": [[]]}, {"Hh": [[1.0]]}, {"H-C-H": [[1.0]]}], ids=str
)
def test_bad_tables(table: dict[str, list[list[float]]]) -> None:
    with pytest.raises(UserError, match=rf"table\.{next(iter(table))}"):
        make_basis([1], BasisConfig(table=table))


def test_json_round_trip() -> None:
    basis = make_basis([8, 1], BasisConfig())
    again = Basis.from_json(basis.to_json())
    assert again.types == (1, 8)
    assert again.sizes == basis.sizes
