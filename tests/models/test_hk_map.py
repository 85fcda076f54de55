"""The Hohenberg-Kohn map: structures laid over one reference, the kernel of potentials, coefficients taken there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import places
import pytest
import torch
from scipy.spatial.transform import Rotation

from orbdens.config import parse_config
from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.kernels import solid_harmonics
from orbdens.labels import stored_density
from orbdens.models.density_fitting import fit_label
from orbdens.models.hk_map.alignment import harmonics_turned, lay
from orbdens.models.hk_map.model import HKMapModel, squared_distances
from orbdens.models.hk_map.task import HKMapTask
from orbdens.models.kernel_ridge import choose, gaussian
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.store import Store
from orbdens.structure import Structure

OPTIONS: dict[str, Any] = {
    "data": {"store": str(places.GOLDEN / "ethanol")},
    "model": {"kind": "hk_map", "basis": {"beta": 2.5, "l_max": 2}},
    "objective": {"widths": [0.6], "lengths": [5.0], "ridges": [1e-8]},
}
WATER = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]])
"""As symmetric as it can be: turned by 180° and renumbered it is itself."""


def test_a_structure_is_laid_down_the_same_however_it_comes() -> None:
    rng = np.random.default_rng(0)
    numbers, positions = WATER
    reference = lay(numbers, positions, None)
    stretched = positions + 0.05 * rng.normal(size=(3, 3))
    laid = lay(numbers, stretched, reference)
    assert np.abs(np.linalg.norm(laid.positions[:, None] - laid.positions, axis=2)).max() < 2
    for sign in (1, -1):
        order, turn = rng.permutation(3), sign * Rotation.random(rng=rng).as_matrix()
        again = lay(numbers[order], stretched[order] @ turn.T + 3.0, reference)
        assert np.allclose(again.positions, laid.positions, atol=1e-9)
        assert (numbers[order][again.order] == [1, 1, 8]).all()


def test_harmonics_are_turned() -> None:
    turn = -Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    points = np.random.default_rng(2).normal(size=(5, 3))
    turned = solid_harmonics(3, torch.as_tensor(points @ turn.T)).numpy()
    here = solid_harmonics(3, torch.as_tensor(points)).numpy()
    for l, matrix in enumerate(harmonics_turned(turn, 3)):
        rows = slice(l * l, (l + 1) ** 2)
        assert np.allclose(here[:, rows] @ matrix.T, turned[:, rows])


def test_potentials_differ_by_their_integral() -> None:
    rng, width = np.random.default_rng(3), 0.5
    numbers, some = np.array([1, 3]), rng.normal(size=(2, 2, 3)) * 0.5
    axis = np.linspace(-4, 4, 61)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)

    def potential(positions: np.ndarray) -> np.ndarray:
        squares = ((points[..., None, :] - positions) ** 2).sum(axis=-1)
        return np.exp(-squares / (2 * width**2)) @ numbers

    integral = ((potential(some[0]) - potential(some[1])) ** 2).sum() * (axis[1] - axis[0]) ** 3
    found = squared_distances(numbers, some[:1], some[1:], width)[0, 0] * (np.sqrt(np.pi) * width) ** 3
    assert abs(found / integral - 1) < 1e-6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HKMapModel:
    store = Store(places.GOLDEN / "ethanol")
    data = TrainingData(store, store.keys(), tmp_path_factory.mktemp("cache"), silent)
    return HKMapTask.fit(parse_config(OPTIONS, "the test"), data).eval()


def test_coefficients_are_taken_up_as_they_were_laid_down(model: HKMapModel) -> None:
    store = Store(places.GOLDEN / "ethanol")
    structure = store.structure(store.keys()[-1])
    order = np.random.default_rng(4).permutation(structure.n_atoms)
    shuffled = replace(structure, numbers=structure.numbers[order], positions=structure.positions[order])
    laid = model.lay(shuffled)
    kinds = torch.as_tensor(model.basis.index(shuffled.numbers))
    flat = torch.randn(int(torch.tensor(model.basis.sizes)[kinds].sum()), dtype=torch.float64)
    back = model.taken_up(model.laid_down(flat, laid), laid)
    for found, expected in zip(back, model.basis.per_type(flat, kinds), strict=True):
        assert torch.allclose(found, expected)


def test_training_structures_are_met(model: HKMapModel) -> None:
    """With a small ridge the map passes through its training densities: only the exact electron count moves them."""
    store = Store(places.GOLDEN / "ethanol")
    label = stored_density(store, store.keys()[0])
    fit = fit_label(label, model.basis, "atoms")["coefficients"].double()
    kinds = torch.as_tensor(model.basis.index(label.structure.numbers))
    expected = model.basis.primitives(model.basis.per_type(fit, kinds), kinds).numpy()
    found = model.predict(label.structure)
    assert isinstance(found, OrbitalDensity)
    points = np.random.default_rng(5).normal(size=(200, 3)) + label.structure.positions.mean(axis=0)
    values = replace(found, coefficients=expected).at(points)
    assert np.abs(found.at(points) - values).max() < 0.01 * values.max()


def test_one_composition_alone(model: HKMapModel) -> None:
    with pytest.raises(UserError, match="knows C2H6O alone, but got H2O"):
        model.predict(Structure(*WATER))


def test_the_best_kernel_is_chosen() -> None:
    x = np.random.default_rng(6).uniform(-3, 3, size=(60, 1))
    squares, target = (x - x.T) ** 2, np.sin(2 * x)
    kernels = {length: gaussian(squares, length) for length in (0.01, 0.7, 100.0)}
    chosen = choose(kernels, target, [1e-8, 1.0], lambda found: float(((found - target) ** 2).mean()), seed=0)
    assert (chosen.name, chosen.ridge) == (0.7, 1e-8)
    assert chosen.error < 1e-4
    assert np.abs(kernels[0.7] @ chosen.dual - target).max() < 1e-3
