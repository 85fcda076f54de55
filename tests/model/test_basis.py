"""Bases: even-tempered tables, radial orthonormality, charges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orbdens.config import BasisConfig
from orbdens.errors import UserError
from orbdens.kernels import normalisation
from orbdens.model.basis import Basis, Radial, even_tempered


def test_even_tempered_ranges_are_pyscf_s() -> None:
    """H in def2-QZVPPD, beta 2: 9 s, 7 p and 5 d shells (PySCF's ``aug_etb``) before the window cuts."""
    basis = even_tempered([1], BasisConfig(beta=2.0, max_exponent=1e9))
    assert [len(r.exponents) for r in basis.radials[0]] == [9, 7, 5]
    ratios = basis.radials[0][0].exponents[1:] / basis.radials[0][0].exponents[:-1]
    np.testing.assert_allclose(ratios, 2.0)


def test_window_and_l_limit() -> None:
    basis = even_tempered([6], BasisConfig(beta=2.0, l_max=2, max_exponent=30.0))
    assert len(basis.radials[0]) == 3
    assert max(r.exponents.max() for r in basis.radials[0]) <= 30.0


def test_unknown_basis_and_empty_window_are_told() -> None:
    with pytest.raises(UserError, match="no basis 'nonsense' for C"):
        even_tempered([6], BasisConfig(source="nonsense"))
    with pytest.raises(UserError, match="leaves a shell of C empty"):
        even_tempered([6], BasisConfig(max_exponent=0.01))


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
    radial = Radial(0, np.array([0.4, 1.1, 3.0]))
    r, step = np.linspace(1e-4, 25.0, 200_001, retstep=True)
    norm = normalisation(0, torch.as_tensor(radial.exponents)).numpy()
    functions = (norm * np.exp(-radial.exponents * r[:, None] ** 2)) @ radial.to_primitive / np.sqrt(4 * np.pi)
    np.testing.assert_allclose(radial.charges, (4 * np.pi * r * r) @ functions * step, rtol=1e-6)
    assert not Radial(1, np.array([1.0])).charges.any()


def test_json_round_trip() -> None:
    basis = even_tempered([8, 1], BasisConfig())
    again = Basis.from_json(basis.to_json())
    assert again.types == (1, 8)
    assert again.sizes == basis.sizes
