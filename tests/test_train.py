"""Training: resumed runs equal uninterrupted ones bit for bit, and a run folder holds what it should."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orbdens.checkpoint import read_header
from orbdens.config import Config, parse_config
from orbdens.data.dataset import EndlessBatches
from orbdens.errors import UserError
from orbdens.train import train

SMALL: dict[str, dict[str, Any]] = {
    "orbital": {"kind": "orbital", "channels": 8, "layers": 1, "l_max": 2, "basis": {"beta": 3.0, "l_max": 2}},
    "unet3d": {"kind": "unet3d", "features": 2, "depth": 1, "spacing": 0.8, "margin": 2.0, "dropout": 0.2},
}


def _config(kind: str, steps: int) -> Config:
    training = {
        "steps": steps,
        "batch_size": 3,
        "validate_every": 5,
        "checkpoint_every": 10,
        "validation_spacing": 0.8,
        "warmup_steps": 3,
        "threads": 1,
        "device": "cpu",
    }
    data = {"store": "lithium-oxide", "n_train": 10, "n_validation": 2}
    return parse_config({"data": data, "model": SMALL[kind], "training": training}, "the test")


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_resumed_run_is_the_uninterrupted_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(_config(kind, 20), tmp_path / "whole")
    _stop_after(monkeypatch, 10)
    with pytest.raises(KeyboardInterrupt):
        train(_config(kind, 20), tmp_path / "parts")
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    monkeypatch.undo()
    train(_config(kind, 20), tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name
    rows = [
        list(csv.DictReader((tmp_path / run / "metrics.csv").read_text().splitlines())) for run in ("whole", "parts")
    ]
    assert [(r["step"], r["loss"], r["validation_nmae"]) for r in rows[0]] == [
        (r["step"], r["loss"], r["validation_nmae"]) for r in rows[1]
    ]


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """What Ctrl-C does, at a chosen step."""
    from orbdens.train import _Course

    original = _Course.on_train_batch_end

    def stop(self: _Course, trainer: Any, *args: Any) -> None:
        self.interrupted = trainer.global_step >= steps
        original(self, trainer, *args)

    monkeypatch.setattr(_Course, "on_train_batch_end", stop)


def test_run_folder_holds_config_model_and_metrics(tmp_path: Path) -> None:
    out = train(_config("orbital", 5), tmp_path / "run")
    config, facts, notes = read_header(out / "model.safetensors")
    assert config == _config("orbital", 5)
    assert set(facts["basis"]) == {"Li", "O"}
    assert notes["steps"] == 5
    assert (out / "metrics.csv").read_text().startswith("step,minutes,loss,learning_rate,validation_nmae")
    assert any((out / "tensorboard").iterdir())
    with pytest.raises(UserError, match="--force"):
        train(_config("orbital", 5), out)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        train(_config("orbital", 5), tmp_path / "none", resume=True)


def test_only_the_same_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(_config("orbital", 5), tmp_path)
    with pytest.raises(UserError, match="other options under model"):
        train(_config("unet3d", 5), tmp_path, resume=True)
    state = tmp_path / "resume.ckpt"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        train(_config("orbital", 5), tmp_path, resume=True)


def test_batches_depend_on_seed_and_step_alone() -> None:
    keys = [f"k{i}" for i in range(7)]
    whole = EndlessBatches(keys, 3, seed=5, start=0, fraction=lambda step: step / 10)
    later = EndlessBatches(keys, 3, seed=5, start=4, fraction=lambda step: step / 10)
    first = [batch for batch, _ in zip(whole, range(9), strict=False)]
    assert first[4:] == [batch for batch, _ in zip(later, range(5), strict=False)]
    drawn = [key for batch in first[:7] for key, _, _ in batch]
    assert sorted(drawn) == sorted(keys * 3)
