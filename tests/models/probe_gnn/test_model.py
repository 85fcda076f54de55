"""The probe-point network as a model, and how it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest
import torch
from safetensors.torch import load_file

from orbdens.config import load_config
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.metrics import nmae
from orbdens.models.probe_gnn.model import ProbeModel
from orbdens.models.probe_gnn.options import ProbeConfig, ProbeRun
from orbdens.models.probe_gnn.points import Surroundings
from orbdens.models.probe_gnn.task import ProbeTask
from orbdens.models.task import TrainingData
from orbdens.observables.free_atoms import promolecule
from orbdens.progress import silent
from orbdens.store import GridRecord, Manifest, Store, StoreWriter, open_store
from orbdens.structure import Structure
from orbdens.training.run import train
from orbdens.training.schedule import Schedule

TINY = {"channels": 8, "layers": 2, "l_max": 2, "fields": 8, "hidden": 8, "beta": 3.0}


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store("lithium-oxide")


def task_of(store: Store, keys: list[str], **objective: Any) -> ProbeTask:
    run = ProbeRun.model_validate(
        {"data": {"store": "any"}, "model": TINY, "objective": objective, "training": {"steps": 1}}
    )
    data = TrainingData(store, keys, Path(), silent)
    torch.manual_seed(0)
    return ProbeTask(ProbeModel(run.model, ProbeTask.facts(run, data)), run, data)


def silenced(task: ProbeTask) -> ProbeTask:
    """The network adds nothing."""
    with torch.no_grad():
        task.model.points.linear.weight.zero_()
        task.model.points.down.weight.zero_()
    return task


def test_the_loss_is_the_error_that_is_reported(store: Store) -> None:
    """Of free atoms alone, as points are drawn by importance: within three standard errors."""
    key = store.keys("train")[0]
    task = silenced(task_of(store, [key], points_per_structure=1000))
    with torch.no_grad():
        losses = [float(task.loss(task.collate([task.example(key, np.random.default_rng(i))]))) for i in range(40)]
    label = stored_density(store, key)
    density, grid = task.model.predict(label.structure), Grid.around(label.structure, 0.1, 5.0)
    expected = nmae(density.on(grid), label.on(grid)) / 100
    assert expected > 0.05
    assert np.mean(losses) == pytest.approx(expected, abs=3 * np.std(losses) / np.sqrt(len(losses)) + 5e-4)


def test_crystals_on_grids_are_learned(tmp_path: Path) -> None:
    """A label that is the free atoms' own leaves no error, whatever cells its points are in."""
    cell = np.array([[3.0, 0.0, 0.0], [0.8, 3.2, 0.0], [0.0, 0.5, 3.5]])
    crystal = Structure(np.array([8, 1]), np.array([[0.1, 0.1, -0.2], [0.1, 0.2, 3.9]]), cell, (True, True, True))
    grid = Grid.around(crystal, 0.25, 0.0)
    grid = Grid(grid.origin - 2 * cell[0] + cell[2], grid.steps, grid.shape)
    with StoreWriter(tmp_path / "store", Manifest({}, "valence", {"H": 1, "O": 6})) as writer:
        writer.put("one", GridRecord(crystal, grid.origin, grid.steps, promolecule(crystal, "valence").on(grid)))
        writer.finish({"train": ["one"]})
    crystals = Store(tmp_path / "store")
    task = silenced(task_of(crystals, ["one"]))
    example = task.example("one", np.random.default_rng(0))
    assert len(example.centres.atoms) > 2, "points hear from images"
    with torch.no_grad():
        assert task.loss(task.collate([example])) < 1e-4
        task.model.points.linear.weight.fill_(1.0)
        weights = task.model.spread(example.graph)
        heard = task.model.points(example.points, example.centres, weights).numpy()
    points = example.points.double().numpy() + Surroundings.of(crystal, task.model.points.cutoff).middle
    known = task.model.points.at(crystal, points, weights)
    np.testing.assert_allclose(heard, known, atol=1e-5 * np.abs(known).max())
    assert task.loss(task.collate([example])) > 1e-3


def test_loss_falls(store: Store) -> None:
    keys = store.keys("train")[::60]
    task = task_of(store, keys, points_per_structure=500)
    optimizer = torch.optim.Adam(task.model.parameters(), lr=5e-3)
    losses = []
    for step in range(25):
        examples = [task.example(key, np.random.default_rng((step, i))) for i, key in enumerate(keys)]
        optimizer.zero_grad()
        loss = task.loss(task.collate(examples))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 0.5, "it starts near the free atoms"
    assert losses[-1] < 0.5 * losses[0]


def test_integrals_are_those_of_a_fine_grid(store: Store) -> None:
    key = store.keys("train")[0]
    task = task_of(store, [key])
    structure = store.structure(key)
    density = task.model.predict(structure)
    grid = Grid.around(structure, 0.1, 6.0)
    values = density.on(grid).astype(np.float64) * grid.volume_element
    added = density.added_at(grid.points()).astype(np.float64) * grid.volume_element  # type: ignore[attr-defined]
    assert abs(added).sum() > 0.1
    assert density.n_electrons == pytest.approx(values.sum(), abs=0.01)
    np.testing.assert_allclose(density.dipole, -values.reshape(-1) @ grid.points(), atol=0.02)


def test_a_crystal_s_electrons_are_those_of_its_cell(store: Store) -> None:
    task = task_of(store, store.keys("train")[:2])
    cell = np.diag([4.0, 4.2, 4.4])
    one = Structure(np.array([3, 8]), np.array([[0.0, 0.0, 0.0], [1.7, 0.2, 0.0]]), cell, (True, True, True))
    double = Structure(
        np.tile(one.numbers, 2),
        np.concatenate([one.positions, one.positions + cell[0]]),
        cell * np.array([[2], [1], [1]]),
        one.pbc,
    )
    few, many = (density.n_electrons for density in task.model.predict([one, double]))
    assert abs(few - 9) > 1e-3
    assert many == pytest.approx(2 * few, rel=1e-4)


def test_a_charge_changes_the_density(store: Store) -> None:
    task = task_of(store, store.keys("train")[:2])
    structure = store.structure(store.keys("train")[0])
    cation = replace(structure, charge=1, multiplicity=2)
    points = np.random.default_rng(0).normal(size=(50, 3))
    neutral, other = (density.at(points) for density in task.model.predict([structure, cation]))
    np.testing.assert_allclose(other, neutral, atol=1e-6 * np.abs(neutral).max())
    with torch.no_grad():
        task.model.atoms.state.weight += 0.5
    assert np.abs(task.model.predict(cation).at(points) - neutral).max() > 1e-3


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what e3nn's modules hold survives the copy that averages weights."""
    training = {"steps": 4, "batch_size": 2, "validation_spacing": 0.8, "warmup_steps": 1, "threads": 1}
    config = ProbeRun.model_validate(
        {
            "data": {"store": "lithium-oxide", "n_train": 8, "n_validation": 2},
            "model": TINY,
            "objective": {"points_per_structure": 50},
            "training": {**training, "device": "cpu"},
        }
    )
    train(config, tmp_path / "whole")
    original = Schedule.on_train_batch_end

    def stop(self: Schedule, trainer: Any, *args: Any) -> None:
        self.interrupted = trainer.global_step >= 2
        original(self, trainer, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Schedule, "on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    weights, others = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_elements_without_a_free_atom_are_told(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", Manifest({}, "valence", {"U": 14})) as writer:
        atom = Structure(np.array([92]), np.zeros((1, 3)))
        writer.put("one", GridRecord(atom, np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=np.float32)))
        writer.finish({"train": ["one"]})
    with pytest.raises(UserError, match="no free atom of U"):
        task_of(Store(tmp_path / "store"), ["one"])


@pytest.mark.parametrize("name", ["lithium-oxide-probe", "ethanol-probe"])
def test_shipped_configs(name: str) -> None:
    assert isinstance(load_config(places.ROOT / "configs" / f"{name}.yaml").model, ProbeConfig)
