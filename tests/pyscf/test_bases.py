"""Bases of PySCF in Å."""

from __future__ import annotations

import numpy as np
import pytest
from pyscf import gto
from pyscf.gto import basis as pyscf_basis

from orbdens.errors import UserError
from orbdens.pyscf.bases import even_tempered, label_basis, named_basis
from orbdens.units import BOHR


def test_unknown_basis() -> None:
    with pytest.raises(UserError, match="PySCF has no basis 'gth-nonsense'"):
        named_basis(["H"], "gth-nonsense", "gth-pbe")
    with pytest.raises(UserError, match="for U"):
        named_basis(["H", "U"], "gth-dzvp", "gth-pbe")
    with pytest.raises(UserError, match="PySCF has no basis 'nonsense' for C"):
        even_tempered("C", "nonsense", 2.0)


def test_one_basis_per_element() -> None:
    mol = gto.M(atom="H1 0 0 0; H2 0 0 1", basis={"H1": "sto-3g", "H2": "6-31g"}, verbose=0)
    with pytest.raises(UserError, match="the H atoms of the PySCF molecule have different bases"):
        label_basis(mol)


@pytest.mark.parametrize(("symbol", "counts"), [("H", [9, 7, 5]), ("O", [16, 14, 13, 9, 5])])
def test_even_tempered_exponents_cover_the_products_of_the_source(symbol: str, counts: list[int]) -> None:
    """PySCF's numbers of shells; those of l = 0 cover the products of two s functions (Å⁻², primitives that count)."""
    exponents = even_tempered(symbol, "def2-qzvppd", 2.0)
    assert [len(one) for one in exponents] == counts
    for one in exponents:
        np.testing.assert_allclose(one[1:] / one[:-1], 2.0)
    shells = [primitives for l, *primitives in pyscf_basis.load("def2-qzvppd", symbol) if l == 0]
    source = [exponent / BOHR**2 for primitives in shells for exponent, weight in primitives if weight > 1e-3]
    assert exponents[0][0] == pytest.approx(2 * min(source), rel=1e-12)
    assert max(source) < exponents[0][-1] < 2.1 * max(source)
