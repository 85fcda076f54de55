"""Bond midpoints: of molecules, of crystals through their faces, and of bonds that form."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule

from orbdens.neighbours import neighbours
from orbdens.sites import (
    BOND,
    FADE_END,
    FADE_START,
    SLACK_END,
    SLACK_START,
    bonds_of,
    place_sites,
    type_from_name,
    type_name,
)
from orbdens.structure import Structure


def test_midpoints_of_a_molecule() -> None:
    ethanol = Structure.from_ase(molecule("CH3CH2OH"))
    sites = place_sites(ethanol, "bonds")
    assert len(sites.types) == 9 + 8
    np.testing.assert_array_equal(sites.types[9:], BOND)
    np.testing.assert_array_equal(sites.positions[:9], ethanol.positions)
    np.testing.assert_array_equal(sites.weights, 1)
    pairs = place_sites(ethanol, "bond-pairs")
    assert sorted(map(type_name, pairs.types[9:])) == sorted(["H-C"] * 5 + ["C-C", "C-O", "H-O"])


@pytest.mark.parametrize("cell", [np.eye(3), [[1, 0, 0], [1, 1, 0], [0, 0, 1]]], ids=["cubic", "skew"])
@pytest.mark.parametrize("shift", [0.0, 0.26])
def test_midpoints_of_a_crystal_see_the_right_images(cell: np.ndarray, shift: float) -> None:
    """Four bonds for each pair of boron nitride, and every midpoint half-way between two atoms of the lattice.

    A published code keeps the offset of the image when it turns an edge around, which puts midpoints elsewhere.
    """
    atoms = bulk("BN", "zincblende", a=3.615, cubic=True)
    atoms.positions += shift * 3.615
    atoms.set_cell(np.asarray(cell) @ atoms.cell[:])  # another cell of the same crystal
    structure = Structure.from_ase(atoms)
    sites = place_sites(structure, "bonds")
    midpoints = sites.positions[8:]
    assert len(midpoints) == 4 * 4
    images = np.concatenate([structure.positions + np.array(n) @ structure.cell for n in np.ndindex(5, 5, 5)])
    images = images - 2 * np.ones(3) @ structure.cell
    for midpoint in midpoints:
        distances = np.sort(np.linalg.norm(images - midpoint, axis=1))
        np.testing.assert_allclose(distances[:2], 3.615 * np.sqrt(3) / 8, atol=1e-6)


def test_an_atom_bonds_to_its_own_images_once() -> None:
    """A simple cubic crystal of one atom has three bonds for each atom, not six."""
    sites = place_sites(Structure(np.array([84]), np.zeros((1, 3)), 3.35 * np.eye(3), (True, True, True)), "bonds")
    np.testing.assert_allclose(
        sorted(map(tuple, np.abs(sites.positions[1:]))), sorted(map(tuple, 3.35 / 2 * np.eye(3)))
    )


@pytest.mark.parametrize(
    ("number", "radius", "start", "end"),
    [(6, 0.76, FADE_START * 1.52, FADE_END * 1.52), (1, 0.31, 0.62 + SLACK_START, 0.62 + SLACK_END)],
)
def test_a_bond_fades(number: int, radius: float, start: float, end: float) -> None:
    """From full weight to none without a jump, in proportion to the radii or, between small atoms, later."""
    lengths = np.linspace(2 * radius, 4 * radius, 501)
    weights = []
    for length in lengths:
        sites = place_sites(Structure(np.array([number] * 2), np.array([[0.0, 0, 0], [0, 0, length]])), "bonds")
        weights.append(sites.weights[2] if len(sites.weights) == 3 else 0.0)
    assert weights[0] == 1.0 and weights[-1] == 0.0
    assert np.abs(np.diff(weights)).max() < 0.03
    assert (np.diff(weights) <= 0).all()
    assert weights[np.searchsorted(lengths, start) - 1] == 1.0 and weights[np.searchsorted(lengths, end)] == 0.0


def test_a_stretched_bond_of_small_atoms_keeps_its_midpoint() -> None:
    for name in ("H2", "F2"):
        atoms = molecule(name)
        atoms.positions *= 1.05
        assert place_sites(Structure.from_ase(atoms), "bonds").weights.min() > 0.85


def test_no_midpoint_on_an_atom() -> None:
    """Between the lithium atoms of Li-O-Li lies the oxygen: their midpoint fades as it nears, without a jump."""
    weights = []
    for angle in np.linspace(120, 180, 301):
        half = np.radians(angle / 2)
        lithium = 1.45 * np.array([[np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
        sites = place_sites(Structure(np.array([8, 3, 3]), np.concatenate([np.zeros((1, 3)), lithium])), "bonds")
        between = [w for w, bond in zip(sites.weights[3:], sites.bonds, strict=True) if set(bond) == {1, 2}]
        weights.append(between[0] if between else 0.0)
    assert weights[-1] == 0.0 and max(weights) > 0.5
    assert np.abs(np.diff(weights)).max() < 0.03


def test_diagonals_of_four_membered_rings_are_no_bonds() -> None:
    sites = place_sites(Structure.from_ase(molecule("cyclobutane")), "bond-pairs")
    assert sorted(map(type_name, sites.types[12:])) == ["C-C"] * 4 + ["H-C"] * 8


@pytest.mark.parametrize("name", ["C", "bond", "H-C", "Li-O"])
def test_names_of_types(name: str) -> None:
    assert type_name(type_from_name(name)) == name


@pytest.mark.parametrize("periodic", [False, True], ids=["molecule", "crystal"])
def test_the_order_of_sites_does_not_depend_on_who_asks(periodic: bool) -> None:
    """Fits place sites by themselves, graphs by their longer lists of neighbours: coefficients must mean the same."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = 1.45 * grid + rng.normal(scale=0.05, size=(64, 3))
    cell = 5.8 * np.eye(3) if periodic else None
    structure = Structure(rng.choice([1, 6, 8], size=64), positions, cell, (periodic, periodic, periodic))
    alone = place_sites(structure, "bond-pairs")
    assert len(alone.bonds) > 50
    for cutoff in (2.5, 4.0, 7.06, 9.0):
        sites = place_sites(structure, "bond-pairs", bonds_of(structure, neighbours(structure, cutoff)))
        np.testing.assert_array_equal(sites.types, alone.types)
        np.testing.assert_allclose(sites.positions, alone.positions, atol=1e-12)
