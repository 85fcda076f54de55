"""Exact electrons where they are missing: molecules apart keep their own, whatever the network says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import places
import pytest
import torch

from orbdens.models.basis import Basis
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.store import Store
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]]))
POINTS = np.array([[0.2, 0.1, 0.5], [0.0, 0.3, 1.0], [0.4, 0.0, -0.3]])
Maker = Callable[[str], OrbitalModel]


@pytest.fixture(scope="module")
def model() -> Maker:
    """Networks of random weights, which miss electrons everywhere."""
    exponents = {"H": [[0.6, 2.0], [1.0]], "C": [[0.4, 1.5], [0.8]], "O": [[0.6, 2.5], [1.2]], "bond": [[1.0], [1.0]]}
    valence = {"H": 1, "C": 4, "O": 6}

    def make(electrons: str) -> OrbitalModel:
        torch.manual_seed(0)
        config = OrbitalConfig.model_validate(
            {"electrons": electrons, "sites": "bonds", "channels": 8, "layers": 2, "l_max": 2, "basis": {"l_max": 1}}
            | {"basis": {"l_max": 1, "virtual": {"l_max": 1}}}
        )
        made = OrbitalModel(config, {"valence_electrons": valence, "basis": exponents})
        assert made.basis.types == Basis.from_json(exponents).types
        return made.eval()

    return make


def ethanol() -> Structure:
    store = Store(places.GOLDEN / "ethanol")
    return store.structure(store.keys()[0])


def together(one: Structure, other: Structure, charge: int = 0) -> Structure:
    return Structure(
        np.concatenate([one.numbers, other.numbers]), np.concatenate([one.positions, other.positions]), charge=charge
    )


@pytest.mark.parametrize("distance", [10.0, 40.0])
@pytest.mark.parametrize("electrons", ["local", "global"])
def test_molecules_apart_are_the_sum_of_the_parts(model: Maker, electrons: str, distance: float) -> None:
    far = replace(WATER, positions=WATER.positions + np.array([distance, 1.0, -2.0]))
    one, other, both = model(electrons).predict([ethanol(), far, together(ethanol(), far)])
    error = np.linalg.norm(both.dipole - one.dipole - other.dipole)
    assert (error < 1e-4) == (electrons == "local"), error
    if electrons == "local":
        points = np.concatenate([POINTS, POINTS + far.positions[0]])
        np.testing.assert_allclose(both.at(points), one.at(points) + other.at(points), atol=1e-5)


@pytest.mark.parametrize("distance", [10.0, 40.0])
def test_a_molecule_far_from_an_ion_is_that_of_a_neutral_structure(model: Maker, distance: float) -> None:
    """The charge is told to the ion alone, and the ion holds it whole."""
    network = model("local")
    torch.nn.init.normal_(network.backbone.state.weight)
    hydroxide = replace(WATER, numbers=WATER.numbers[:2], positions=WATER.positions[:2], charge=-1)
    far = replace(hydroxide, positions=hydroxide.positions + np.array([distance, 1.0, -2.0]))
    one, other, both = network.predict([ethanol(), far, together(ethanol(), far, charge=-1)])
    points = np.concatenate([POINTS, POINTS + far.positions[0]])
    np.testing.assert_allclose(both.at(points), one.at(points) + other.at(points), atol=1e-5)
    assert other.n_electrons == pytest.approx(8, abs=1e-4)


def test_a_linear_molecule_with_an_atom_amid_a_bond_is_finite_and_smooth(model: Maker) -> None:
    """C-O-C so short that the ends count as bonded, over the angle: their midpoint would lie on the oxygen."""
    network, values = model("local"), []
    for angle in np.linspace(174, 186, 25):
        half = np.radians(angle / 2)
        ends = [[np.sin(half), np.cos(half), 0.0], [-np.sin(half), np.cos(half), 0.0]]
        values.append(network.predict(Structure(np.array([8, 6, 6]), np.array([[0.0] * 3, *ends]))).at(POINTS))
    assert np.isfinite(values).all()
    first = np.diff(values, axis=0)
    assert np.abs(np.diff(first, axis=0)).max() < 0.01 * np.abs(values).max()


@pytest.mark.parametrize("charge", [-2, -1, 1, 3])
@pytest.mark.parametrize("distance", [3.0, 30.0])
def test_ions_hold_their_electrons(model: Maker, charge: int, distance: float) -> None:
    pair = together(ethanol(), replace(WATER, positions=WATER.positions + np.array([0.0, 0.0, distance])), charge)
    assert model("local").predict(pair).n_electrons == pytest.approx(28 - charge, abs=1e-4)


def test_one_atom_and_many_structures_at_once(model: Maker) -> None:
    structures = [replace(WATER, numbers=WATER.numbers[:1], positions=WATER.positions[:1]), ethanol(), WATER]
    for density, electrons in zip(model("local").predict(structures), (6, 20, 8), strict=True):
        assert density.n_electrons == pytest.approx(electrons, abs=1e-4)


def test_density_is_smooth_where_molecules_lose_touch(model: Maker) -> None:
    """Charge flows over less than 4 Å; values change without a jump or a kink where it ceases."""
    network, values = model("local"), []
    for gap in np.arange(3.9, 4.1, 0.01):
        far = replace(WATER, positions=WATER.positions + np.array([0.0, 0.0, gap + 0.6]))
        values.append(network.predict(together(WATER, far)).at(POINTS))
    first = np.diff(values, axis=0)
    assert np.abs(first).max() < 0.01 * np.abs(values).max()
    assert np.abs(np.diff(first, axis=0)).max() < 0.002 * np.abs(values).max()
