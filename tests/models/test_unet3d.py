"""The 3D U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest
import torch
from numpy.typing import NDArray

from orbdens.config import load_config
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.labels import label_density
from orbdens.models.grids import network_grid
from orbdens.models.task import TrainingData
from orbdens.models.unet3d.model import UNetModel
from orbdens.models.unet3d.network import UNet3d
from orbdens.models.unet3d.options import UNetConfig, UNetRun
from orbdens.models.unet3d.task import UNetTask
from orbdens.progress import silent
from orbdens.store import GridRecord, Manifest, Store, StoreWriter, open_store
from orbdens.structure import Structure

CONFIGS = places.ROOT / "configs"
TINY = UNetConfig(spacing=0.5, margin=1.5, features=4, depth=2)
FACTS: dict[str, Any] = {"valence_electrons": {"H": 1, "Li": 3, "O": 6}, "channels": ["H", "Li", "O"], "scale": 0.2}


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store("lithium-oxide")


def tiny_model(config: UNetConfig = TINY, facts: dict[str, Any] = FACTS) -> UNetModel:
    """Random weights, and batch statistics as if it had been trained."""
    torch.manual_seed(0)
    model = UNetModel(config, facts)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean = 0.1 * torch.randn(module.num_features)
            module.running_var = 0.5 + torch.rand(module.num_features)
    return model.eval()


def water(stretch: float = 1.0) -> Structure:
    positions = np.array([[0.0, 0.0, 0.1], [0.76, 0.1, -0.5], [-0.76, 0.0, -0.5]])
    return Structure(np.array([8, 1, 1]), stretch * positions)


def values_of(model: UNetModel, structures: Sequence[Structure]) -> list[NDArray[np.float32]]:
    fields = model.predict(structures)
    assert all(isinstance(field, GridDensity) for field in fields)
    return [field.values for field in fields if isinstance(field, GridDensity)]


def run_of(config: UNetConfig, dropout: float = 0.0) -> UNetRun:
    sections = {"model": config, "objective": {"dropout": dropout}, "training": {"steps": 1}}
    return UNetRun.model_validate({"data": {"store": "any"}, **sections})


def task_of(model: UNetModel, store: Store, keys: Sequence[str], cache: Path, dropout: float = 0.0) -> UNetTask:
    return UNetTask(model, run_of(model.config, dropout), TrainingData(store, keys, cache, silent))


def facts_of(config: UNetConfig, store: Store, keys: Sequence[str]) -> dict[str, Any]:
    return UNetTask.facts(run_of(config), TrainingData(store, keys, Path(), silent))


def training_batch(task: UNetTask, keys: Sequence[str]) -> Any:
    return task.collate([task.example(key, np.random.default_rng(0)) for key in keys])


@pytest.mark.parametrize(("spacing", "margin", "depth"), [(0.5, 1.5, 2), (0.37, 1.1, 3), (0.41, 1.93, 1)])
def test_grid_is_widened_by_whole_steps(spacing: float, margin: float, depth: int) -> None:
    config = UNetConfig(spacing=spacing, margin=margin, depth=depth)
    plain, grid = Grid.around(water(), spacing, margin), network_grid(water(), config)
    assert all(n % 2**depth == 0 for n in grid.shape)
    before = (plain.origin - grid.origin) / spacing
    np.testing.assert_allclose(before, before.round(), atol=1e-9)
    assert (before > -1e-9).all()
    assert (before.round() + plain.shape <= grid.shape).all()


@pytest.mark.parametrize(("shape", "depth"), [((8, 16, 24), 3), ((2, 4, 6), 1), ((8, 4, 12), 2)])
def test_network_keeps_shape(shape: tuple[int, int, int], depth: int) -> None:
    assert UNet3d(2, 4, depth)(torch.rand(2, 2, *shape)).shape == (2, *shape)


def test_inputs_hold_valence_electrons() -> None:
    model = tiny_model(UNetConfig(spacing=0.3, margin=3.0, depth=1))
    grid = network_grid(water(), model.config)
    electrons = model.inputs(water(), grid, None).sum(dim=(1, 2, 3)).numpy() * FACTS["scale"] * grid.volume_element
    np.testing.assert_allclose(electrons, [2.0, 0.0, 6.0], atol=1e-4)


def test_batch_equals_singles() -> None:
    model, structures = tiny_model(), [water(), water(1.8), water(1.05), water(2.6)]
    together = values_of(model, structures)
    assert len({values.shape for values in together}) > 1
    for structure, values in zip(structures, together, strict=True):
        (alone,) = values_of(model, [structure])
        np.testing.assert_allclose(values, alone, atol=1e-6 * np.abs(alone).max())


def test_structures_on_different_grids_learn_as_if_alone(store: Store, tmp_path: Path) -> None:
    model, structures = tiny_model(), [water(2.6), water()]
    examples = []
    for structure in structures:
        grid = network_grid(structure, TINY)
        examples.append((model.inputs(structure, grid, None), torch.rand(grid.shape)))
    task = task_of(model, store, [], tmp_path)
    assert len(task.collate(examples)) == 2
    with torch.no_grad():
        losses = [task.loss(task.collate([example])) for example in examples]
        assert task.loss(task.collate(examples)).item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_translation_moves_the_density() -> None:
    model = tiny_model()
    moved = replace(water(), positions=water().positions + np.array([7.0, -3.0, 11.0]))
    here, there = values_of(model, [water(), moved])
    np.testing.assert_allclose(here, there, atol=1e-5 * np.abs(here).max())


def test_permutation_of_atoms() -> None:
    model, order = tiny_model(), [2, 0, 1]
    permuted = Structure(water().numbers[order], water().positions[order])
    one, other = values_of(model, [water(), permuted])
    np.testing.assert_allclose(one, other, atol=1e-6 * np.abs(one).max())


def test_electrons_are_not_corrected() -> None:
    (field,) = tiny_model().predict([water()])
    assert isinstance(field, GridDensity)
    assert field.n_electrons == pytest.approx(field.values.sum() * 0.5**3, rel=1e-5)
    assert abs(field.n_electrons - 8) > 1e-3


def test_loss_falls(store: Store, tmp_path: Path) -> None:
    config = UNetConfig(channels_per="atom", spacing=0.35, margin=1.5, features=4, depth=2)
    keys = store.keys("train")[::125]
    torch.manual_seed(0)
    model = UNetModel(config, facts_of(config, store, keys))
    task = task_of(model, store, keys, tmp_path)
    batch = training_batch(task, keys)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 3, "in- and outputs are scaled"
    assert losses[-1] < 0.4 * losses[0]


def test_labels_are_cached(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = store.keys("train")[:2]
    facts = facts_of(TINY, store, keys)
    assert facts["channels"] == ["Li", "O"]
    assert facts["valence_electrons"] == {"Li": 3, "O": 6}
    model = UNetModel(TINY, facts)
    first = training_batch(task_of(model, store, keys, tmp_path), keys)
    monkeypatch.setattr("orbdens.models.grid_task.stored_density", lambda *_: pytest.fail("computed anew"))
    again = UNetModel(TINY, facts)
    assert torch.equal(training_batch(task_of(again, store, keys, tmp_path), keys)[0].labels, first[0].labels)
    record = store[keys[0]]
    grid = network_grid(record.structure, TINY)
    labels = first[0].labels[0].numpy() * facts["scale"]
    np.testing.assert_allclose(labels, label_density(record, store.manifest).on(grid), rtol=1e-5)


def test_grid_records_are_interpolated(store: Store, tmp_path: Path) -> None:
    structure = water()
    own = Grid.around(structure, 0.2, 2.5)
    distances = np.linalg.norm(own.points()[:, None] - structure.positions, axis=-1)
    values = np.exp(-1.5 * distances**2).sum(axis=1).reshape(own.shape).astype(np.float32)
    with StoreWriter(tmp_path / "store", Manifest({}, "valence", {"H": 1, "O": 6})) as writer:
        writer.put("water", GridRecord(structure, own.origin, own.steps, values))
        writer.finish({"train": ["water"]})
    grids = Store(tmp_path / "store")
    facts = facts_of(TINY, grids, ["water"])
    batch = training_batch(task_of(UNetModel(TINY, facts), grids, ["water"], tmp_path / "cache"), ["water"])
    grid = network_grid(structure, TINY)
    distances = np.linalg.norm(grid.points()[:, None] - structure.positions, axis=-1)
    expected = np.exp(-1.5 * distances**2).sum(axis=1).reshape(grid.shape)
    np.testing.assert_allclose(batch[0].labels[0].numpy() * facts["scale"], expected, atol=2e-3)


def test_dropout_is_off_by_default_and_outside_training(store: Store, tmp_path: Path) -> None:
    dropping, plain = tiny_model(), tiny_model()
    task_of(dropping, store, [], tmp_path, dropout=0.5)
    task_of(plain, store, [], tmp_path)
    inputs = torch.rand(1, 3, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(dropping.network(inputs), plain.network(inputs))
        dropping.train()
        plain.train()
        assert not torch.equal(dropping.network(inputs), dropping.network(inputs))
        assert torch.equal(plain.network(inputs), plain.network(inputs))


def test_errors(store: Store) -> None:
    with pytest.raises(UserError, match="never saw C; it knows H, Li, O"):
        tiny_model().predict([Structure(np.array([6]), np.zeros((1, 3)))])
    crystal = Structure(np.array([3]), np.zeros((1, 3)), np.diag([4.0, 4.0, 4.0]), (True, True, True))
    with pytest.raises(UserError, match="periodic"):
        tiny_model().predict([crystal])
    per_atom = UNetConfig(channels_per="atom", spacing=0.5, margin=1.0, depth=1, features=4)
    facts = facts_of(per_atom, store, store.keys("train")[:3])
    assert facts["channels"] == ["Li", "O", "Li"]
    lithium_first = Structure(np.array([3, 3, 8]), np.eye(3))
    with pytest.raises(UserError, match="the atoms Li, O, Li in this order, not for Li, Li, O"):
        tiny_model(per_atom, facts).predict([lithium_first])


def test_channel_per_atom_needs_one_composition(tmp_path: Path) -> None:
    structures = [water(), Structure(np.array([1, 8, 1]), water().positions)]
    with StoreWriter(tmp_path / "store", Manifest({}, "valence", {"H": 1, "O": 6})) as writer:
        for key, structure in zip("ab", structures, strict=True):
            writer.put(key, GridRecord(structure, np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=np.float32)))
        writer.finish({"train": ["a", "b"]})
    config = TINY.model_copy(update={"channels_per": "atom"})
    with pytest.raises(UserError, match="'a' and 'b' differ in composition or order"):
        facts_of(config, Store(tmp_path / "store"), ["a", "b"])


@pytest.mark.parametrize("name", ["lithium-oxide-unet", "ethanol-unet"])
def test_shipped_configs(name: str) -> None:
    assert isinstance(load_config(CONFIGS / f"{name}.yaml").model, UNetConfig)
