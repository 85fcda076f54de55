"""What a run learns of a store of very many records comes from some of them."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbdens.config import load_config, parse_config
from orbdens.models import conditioning, density_fitting
from orbdens.models.orbital import task
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.shipped import config_path, store_path
from orbdens.store import Store
from orbdens.training.run import train


def test_facts_of_many_records_come_from_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(config_path("lithium-oxide.yaml"))
    assert isinstance(config, OrbitalRun)
    store = Store(store_path())
    data = TrainingData(store, store.keys("train")[:50], tmp_path, silent)
    facts = task.OrbitalTask.facts(config, data)
    placed = []
    place = task.place_sites
    monkeypatch.setattr(task, "place_sites", lambda *arguments: placed.append(1) or place(*arguments))
    monkeypatch.setattr(task, "MANY", 5)
    monkeypatch.setattr(task, "OF_EACH_KIND", 3)
    assert task.OrbitalTask.facts(config, data) == facts
    assert len(placed) <= 8


def _ends(child: BaseProcess) -> bool:
    """Asked of the system: the pool may have taken the exit status, and ``join`` would wait for nothing."""
    assert child.pid is not None
    for _ in range(300):
        try:
            os.kill(child.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_labels_are_fitted_as_they_come_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is that with all fits before its first step, and has made those that it needed."""
    config = parse_config(
        {
            "data": {"store": "lithium-oxide", "n_train": 63, "n_validation": 3},
            "model": {"kind": "orbital", "channels": 4, "layers": 1, "l_max": 1, "basis": {"beta": 3.0, "l_max": 1}},
            "objective": {"points_stage": 0.2, "points_per_structure": 50},
            "training": {
                "steps": 5,
                "batch_size": 3,
                "validate_every": 5,
                "validation_spacing": 0.8,
                "threads": 1,
                "device": "cpu",
            },
        },
        "the test",
    )
    monkeypatch.setattr(conditioning, "SAMPLE", 8)
    monkeypatch.setattr(conditioning, "LOOKED_THROUGH", 8)
    monkeypatch.setattr(density_fitting, "available_cores", lambda: 1)
    weights = []
    for many in (60, 59):
        monkeypatch.setattr(task, "MANY", many)
        run = train(config, tmp_path / str(many))
        weights.append(load_file(run / "model.safetensors"))
        assert [child.name for child in active_children() if not _ends(child)] == []
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name
    held = []
    for run in ("60", "59"):
        (fits,) = (tmp_path / run / "cache").glob("fits-*")
        with closing(sqlite3.connect(fits)) as cache:
            held += cache.execute("SELECT count(*) FROM entries").fetchone()
    assert held[0] == 60
    assert 12 <= held[1] <= 20  # four batches of three, and a sample of eight for the scales
