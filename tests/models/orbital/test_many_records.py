"""What a run learns of a store of very many records comes from some of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbdens.config import load_config
from orbdens.models.orbital import task
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.shipped import config_path, store_path
from orbdens.store import Store


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
