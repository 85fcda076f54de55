"""Conversion factors against an outside source."""

import pytest
from ase import units

from orbdens.units import BOHR, DEBYE


def test_bohr_and_debye_agree_with_ase() -> None:
    assert pytest.approx(units.Bohr, rel=1e-8) == BOHR
    assert pytest.approx(units.Debye, rel=1e-8) == DEBYE
