"""The table of SCF starts: what it counts, and what it complains of."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.scf import Run, settings_of, summary
from orbdens.units import KCAL_PER_MOL

USUAL = Run("a", "H2O", "minao", 12, 0, 4.0, -17.0, True)
OURS = Run("a", "H2O", "orbdens", 6, 1, 2.0, -17.0, True, (0.01, 0.03, None))
LEVEL = {"xc": "PBE", "basis": "gth-dzvp", "pseudo": "gth-pbe", "auxbasis": "def2-universal-jfit", "grid_level": 1}


def test_hidden_builds_are_counted() -> None:
    lines = summary([USUAL, OURS])
    assert lines[0] == "1 structures"
    assert lines[3].split() == ["orbdens", "6", "(-50", "%)", "7", "(-42", "%)", "2.0", "(0.50", "of", "minao's)"]
    assert "error of one-shot        mean 0.0100, largest 0.0100 kcal/mol" in lines
    assert not any("Harris" in line for line in lines)


def test_slow_lost_and_other_states_stand_in_lines_of_their_own() -> None:
    bad = replace(OURS, cycles=14, energy=-17.0 + 1 / KCAL_PER_MOL, converged=False)
    text = "\n".join(summary([USUAL, bad]))
    assert "H2O (a): 14 cycles, 12 from minao" in text
    assert "H2O (a) from orbdens: not converged" in text
    assert "H2O (a) from orbdens: another state, 0.001594 Hartree too high" in text
    assert "state" not in "\n".join(summary([USUAL, replace(OURS, cycles=13)]))


def test_level_is_that_of_the_store_unless_another_is_asked_for() -> None:
    own = settings_of(LEVEL, None, None)
    assert (own.xc, own.basis, own.pseudo, own.auxbasis, own.grid_level) == tuple(LEVEL.values())
    assert own.density_fit
    other = settings_of(LEVEL, "pbe0", "def2-tzvp")
    assert (other.xc, other.basis, other.pseudo, other.auxbasis) == ("pbe0", "def2-tzvp", None, None)
