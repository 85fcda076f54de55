"""One contract for every model, with the weights of a fresh network and statistics of real densities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest
import torch
from scipy.spatial.transform import Rotation

from orbdens.checkpoint import build_model, load_model, model_class, save_model
from orbdens.config import Config, parse_config
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.models.interface import DensityModel
from orbdens.store import Store
from orbdens.structure import Structure

GOLDEN = places.GOLDEN / "ethanol"
MODELS: dict[str, dict[str, Any]] = {
    "orbital": {"kind": "orbital", "channels": 8, "layers": 2, "basis": {"beta": 2.5, "l_max": 3}, "l_max": 3},
    "orbital with all options": {
        "kind": "orbital",
        "channels": 8,
        "layers": 2,
        "l_max": 3,
        "basis": {"beta": 2.5, "l_max": 3, "virtual": {"l_max": 2, "min_exponent": 0.5}},
        "sites": "bond-pairs",
        "points_stage": 1.0,
        "points_per_structure": 300,
        "learn_exponents": True,
        "scaling_limit": 1.5,
        "displacement_limit": 0.2,
    },
    "orbital with tensor products": {
        "kind": "orbital",
        "convolution": "tensor-product",
        "channels": 8,
        "layers": 2,
        "l_max": 3,
        "basis": {"beta": 2.5, "l_max": 3},
    },
    "unet3d": {"kind": "unet3d", "features": 2, "depth": 2, "spacing": 0.6, "margin": 2.0},
}


def _config(kind: str) -> Config:
    tree = {"data": {"store": str(GOLDEN)}, "model": MODELS[kind], "training": {"steps": 2, "batch_size": 2}}
    return parse_config(tree, "the test")


@pytest.fixture(scope="module", params=sorted(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DensityModel:
    torch.manual_seed(0)
    config = _config(request.param)
    store = Store(GOLDEN)
    keys = store.keys()
    facts = model_class(config).facts_from(config.model, store, keys)
    model = build_model(config, facts)
    model.prepare(store, keys, tmp_path_factory.mktemp("cache"), lambda *_: None)
    with torch.no_grad():
        for parameter in model.parameters():  # options that start at zero would hide
            parameter += 0.1 * torch.randn_like(parameter) * (parameter == 0).all()
    batch = model.collate([model.example(key, store[key], np.random.default_rng(0), 1.0) for key in keys])
    model.loss(batch).backward()
    return model.eval()


@pytest.fixture(scope="module")
def ethanol() -> Structure:
    store = Store(GOLDEN)
    return store[store.keys()[0]].structure


WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]]))
POINTS = np.random.default_rng(1).normal(size=(300, 3)) * 1.5


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


CHIRAL = Structure(
    np.array([6, 1, 6, 8, 8, 1, 1, 1]),
    np.array(
        [
            [0.0, 0.0, 0.0],
            [-0.6, -0.6, -0.6],
            [0.9, 0.9, -0.9],
            [-0.8, 0.8, 0.8],
            [0.85, -0.85, 0.85],
            [1.6, 1.5, -0.4],
            [-0.3, 1.5, 1.2],
            [0.4, -1.6, 1.3],
        ]
    ),
)


def test_mirror_images_of_a_chiral_molecule_have_mirrored_densities(model: DensityModel) -> None:
    if not model.equivariant:
        pytest.skip("makes no such claim")
    mirror = np.array([-1.0, 1.0, 1.0])
    one, other = model.predict([CHIRAL, Structure(CHIRAL.numbers, CHIRAL.positions * mirror)])
    assert _relative(other.at(POINTS * mirror), one.at(POINTS)) < 1e-5
    assert _relative(other.at(POINTS), one.at(POINTS)) > 1e-3


def test_electrons_are_counted(model: DensityModel, ethanol: Structure) -> None:
    if not model.equivariant:
        pytest.skip("a model on a grid counts approximately")
    for field, electrons in zip(model.predict([ethanol, WATER]), (20, 8), strict=True):
        assert abs(field.n_electrons - electrons) < 1e-5


def test_values_have_the_grid_s_shape_and_are_finite(model: DensityModel, ethanol: Structure) -> None:
    (field,) = model.predict([ethanol])
    grid = Grid.around(ethanol, 0.5, 2.0)
    values = field.on(grid)
    assert values.shape == grid.shape and values.dtype == np.float32
    assert np.isfinite(values).all()
    assert _relative(values.reshape(-1), field.at(grid.points())) < 1e-5


def test_chunks_are_the_whole(model: DensityModel, ethanol: Structure) -> None:
    (field,) = model.predict([ethanol])
    whole = field.at(POINTS)
    parts = np.concatenate([field.at(POINTS[:7]), field.at(POINTS[7:8]), field.at(POINTS[8:])])
    assert _relative(parts, whole) < 1e-5  # blocks of points differ, and sums in single precision with them
    assert field.at(np.zeros((0, 3))).shape == (0,)


def test_batch_equals_singles(model: DensityModel, ethanol: Structure) -> None:
    together = model.predict([ethanol, WATER, ethanol])
    for field, structure in zip(together, [ethanol, WATER, ethanol], strict=True):
        (alone,) = model.predict([structure])
        assert _relative(field.at(POINTS), alone.at(POINTS)) < 1e-6


def test_order_of_atoms_does_not_matter(model: DensityModel, ethanol: Structure) -> None:
    order = np.random.default_rng(2).permutation(ethanol.n_atoms)
    shuffled = Structure(ethanol.numbers[order], ethanol.positions[order])
    (one,), (other,) = model.predict([ethanol]), model.predict([shuffled])
    assert _relative(other.at(POINTS), one.at(POINTS)) < 1e-5


def test_shift_of_the_molecule_shifts_its_density(model: DensityModel, ethanol: Structure) -> None:
    shift = np.array([3.7, -1.2, 0.4])
    moved = Structure(ethanol.numbers, ethanol.positions + shift)
    (one,), (other,) = model.predict([ethanol]), model.predict([moved])
    assert _relative(other.at(POINTS + shift), one.at(POINTS)) < 1e-4


@pytest.mark.parametrize("mirror", [1, -1], ids=["rotation", "inversion"])
def test_turned_and_mirrored_molecules(model: DensityModel, ethanol: Structure, mirror: int) -> None:
    if not model.equivariant:
        pytest.skip("makes no such claim")
    turn = mirror * Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    turned = Structure(ethanol.numbers, ethanol.positions @ turn.T)
    (one,), (other,) = model.predict([ethanol]), model.predict([turned])
    assert _relative(other.at(POINTS @ turn.T), one.at(POINTS)) < 1e-5
    np.testing.assert_allclose(other.dipole, one.dipole @ turn.T, atol=1e-5)


def test_what_cannot_be_predicted_is_told(model: DensityModel) -> None:
    with pytest.raises(UserError, match="never saw F"):
        model.predict([Structure(np.array([9]), np.zeros((1, 3)))])
    with pytest.raises(UserError, match="not finite"):
        model.predict([Structure(np.array([8]), np.full((1, 3), np.nan))])
    with pytest.raises(UserError, match="on one spot"):
        model.predict([Structure(np.array([8, 1]), np.zeros((2, 3)))])


def test_checkpoint_gives_the_same_model(model: DensityModel, ethanol: Structure, tmp_path: Path) -> None:
    config = _config("orbital").model_copy(update={"model": model.config})
    save_model(tmp_path / "model.safetensors", model, config, {"steps": 0})
    again = load_model(tmp_path)
    (one,), (other,) = model.predict([ethanol]), again.predict([ethanol])
    np.testing.assert_array_equal(one.at(POINTS), other.at(POINTS))


def test_loss_reaches_every_weight(model: DensityModel) -> None:
    silent = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []
