"""Free atoms against published form factors, against numbers of electrons, and against a calculation made anew."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from data_tools.recipes.free_atoms import ELEMENTS, NUMBERS, RADII, radial_density, spherical_atom
from orbdens import shipped
from orbdens.errors import UserError
from orbdens.observables.free_atoms import (
    atoms_at,
    charged_promolecule,
    core,
    free_atom,
    hirshfeld_weights,
    promolecule,
)
from orbdens.structure import Structure
from orbdens.units import BOHR

SYMBOLS = [ELEMENTS[z] for z in NUMBERS]
WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.1, 0.1], [0.3, 0.76, -0.5], [0.0, -0.76, -0.6]]))
POINTS = WATER.positions[0] + np.random.default_rng(0).normal(size=(200, 3))
SPACING = np.array([0.0, 0.3, 0.6, 0.9, 1.5])
"""sinθ/λ in Å⁻¹."""

PUBLISHED = {
    "He": [2.0, 1.060, 0.353, 0.129, 0.026],
    "C": [5.997, 2.497, 1.539, 1.218, 0.658],
    "N": [6.996, 3.220, 1.693, 1.359, 0.841],
    "O": [8.0, 4.089, 1.946, 1.463, 0.997],
    "F": [9.0, 5.054, 2.309, 1.587, 1.120],
    "Si": [13.999, 8.230, 5.312, 3.163, 1.600],
    "Cl": [17.0, 9.576, 6.595, 4.605, 2.158],
    "Fe": [25.995, 16.742, 9.751, 7.031, 4.710],
    "Br": [34.996, 23.865, 15.967, 10.473, 6.230],
}
"""Form factors in e at ``SPACING`` by D. Waasmaier and A. Kirfel, Acta Cryst. A51, 416 (1995), as cctbx has them."""


def test_every_atom_has_its_electrons() -> None:
    content = json.loads(shipped.free_atoms_path().read_text(encoding="utf-8"))
    assert list(content["all-electron"]) == list(content["valence"]) == SYMBOLS
    for z, symbol in zip(NUMBERS, SYMBOLS, strict=True):
        assert free_atom(symbol).n_electrons == pytest.approx(z, abs=1e-6)
        valence = free_atom(symbol, "valence").n_electrons
        assert valence == pytest.approx(round(valence), abs=1e-6)
        assert core(symbol).n_electrons == pytest.approx(z - round(valence), abs=1e-6)


def test_form_factors_are_the_published_ones() -> None:
    """Of relativistic Hartree-Fock atoms: PBE is within a few hundredths of an electron of them."""
    for symbol, expected in PUBLISHED.items():
        np.testing.assert_allclose(free_atom(symbol).form_factor(4 * np.pi * SPACING), expected, atol=0.065)


def test_sizes_of_atoms() -> None:
    """⟨r²⟩ in Bohr² of the exact H atom is 3 (PBE makes it larger), of Ne 9.4, of Ar 26.0 (Hartree-Fock)."""
    for symbol, expected in (("H", 3.0), ("Ne", 9.37), ("Ar", 26.03)):
        assert free_atom(symbol).mean_square_radius / BOHR**2 == pytest.approx(expected, rel=0.09)


def test_a_calculation_made_anew_gives_the_density_of_the_file() -> None:
    radii = RADII[(RADII > 0.02) & (RADII < 4)]
    for symbol, pseudo in (("H", False), ("O", True)):
        kind = "valence" if pseudo else "all-electron"
        made = radial_density(spherical_atom(ELEMENTS.index(symbol), pseudo))[(RADII > 0.02) & (RADII < 4)]
        np.testing.assert_allclose(free_atom(symbol, kind).at(radii), made, rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_valence_and_all_electrons_agree_outside_the_core(symbol: str) -> None:
    radii = np.linspace(1.7, 3.0, 30)
    whole, valence = (free_atom(symbol, kind).at(radii) for kind in ("all-electron", "valence"))
    np.testing.assert_allclose(valence, whole, rtol=0.02, atol=2e-4)
    assert (free_atom(symbol).at(np.geomspace(1e-3, 12, 200)) > -1e-9).all()


def test_closed_forms_are_sums_over_shells() -> None:
    radii = np.linspace(0, 12, 60_001)[1:]
    shell = 4 * np.pi * radii**2 * (radii[1] - radii[0])
    for atom in (free_atom("N"), core("N"), free_atom("S", "valence")):
        density = atom.at(radii)
        assert (density * shell).sum() == pytest.approx(atom.n_electrons, abs=1e-4)
        assert (density * shell * radii**2).sum() == pytest.approx(atom.mean_square_radius, abs=1e-4)
        assert (density * shell * radii**3).sum() == pytest.approx(atom.volume, abs=1e-4)
        waves = np.sinc(3.0 * radii / np.pi)
        assert (density * shell * waves).sum() == pytest.approx(atom.form_factor(3.0), abs=1e-4)


def test_promolecule_is_the_sum_of_its_atoms() -> None:
    points = POINTS
    parts = atoms_at(WATER, points)
    np.testing.assert_allclose(promolecule(WATER).at(points), parts.sum(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(hirshfeld_weights(WATER, points), parts / parts.sum(axis=0), rtol=1e-9)
    assert promolecule(WATER).n_electrons == pytest.approx(10, abs=1e-6)
    assert promolecule(WATER, "valence").n_electrons == pytest.approx(8, abs=1e-6)


def test_promolecule_of_a_crystal_repeats() -> None:
    crystal = Structure(np.array([11, 17]), np.array([[0.0, 0, 0], [2.8, 0, 0]]), np.eye(3) * 5.6, (True, True, True))
    points = np.random.default_rng(0).normal(size=(50, 3))
    density = promolecule(crystal)
    np.testing.assert_allclose(density.at(points + 5.6), density.at(points), rtol=1e-3, atol=1e-5)
    alone = promolecule(Structure(crystal.numbers, crystal.positions)).at(points)
    assert (density.at(points) > alone + 1e-4).all()


@pytest.mark.parametrize("charge", [-1, 0, 1])
def test_a_charge_leaves_cores_whole_and_electrons_exact(charge: int) -> None:
    ion = replace(WATER, charge=charge)
    for kind, electrons in (("all-electron", 10), ("valence", 8)):
        density, neutral = charged_promolecule(ion, kind), promolecule(WATER, kind)
        assert density.n_electrons == pytest.approx(electrons - charge, abs=1e-6)
        moved = (density.at(POINTS) - neutral.at(POINTS)) * -charge
        assert (moved > 0).all() if charge else not moved.any()
        if kind == "all-electron":
            assert density.at(WATER.positions)[0] == pytest.approx(neutral.at(WATER.positions)[0], rel=1e-3)


def test_a_solvent_molecule_stays_neutral() -> None:
    """Ammonium and water far away: 8 and 8 valence electrons."""
    ammonium = np.array([[0.0, 0, 0], [0.6, 0.6, 0.6], [-0.6, -0.6, 0.6], [0.6, -0.6, -0.6], [-0.6, 0.6, -0.6]])
    numbers = np.array([7, 1, 1, 1, 1, *WATER.numbers])
    pair = Structure(numbers, np.concatenate([ammonium, WATER.positions + 30.0]), charge=1)
    near_water = WATER.positions[0] + np.random.default_rng(0).normal(size=(20, 3)) * 0.7
    density = charged_promolecule(pair, "valence")
    np.testing.assert_allclose(density.at(near_water + 30.0), promolecule(WATER, "valence").at(near_water), rtol=1e-3)
    assert density.n_electrons == pytest.approx(16, abs=1e-6)


def test_weights_far_away_are_numbers() -> None:
    weights = hirshfeld_weights(WATER, [[1e3, 0.0, 0.0], [3.0, 3.0, 3.0]])
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(axis=0), [0, 1])


def test_unknown_elements_are_refused() -> None:
    with pytest.raises(UserError, match="no free atom of Xe"):
        free_atom("Xe")
