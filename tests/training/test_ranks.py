"""Training on several processes: the same optimisation as on one, one that writes, and none that hangs."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import places
import pytest
import torch
import yaml
from safetensors.torch import load_file

from orbdens.config import Config, TrainingConfig, parse_config
from orbdens.errors import UserError
from orbdens.training.batches import EndlessBatches
from orbdens.training.launch import Place, launched, started
from orbdens.training.ranks import Ranks
from orbdens.training.run import train

SMALL: dict[str, dict[str, Any]] = {
    "orbital": {"kind": "orbital", "channels": 8, "layers": 1, "l_max": 2, "basis": {"beta": 3.0, "l_max": 2}},
    "unet3d": {"kind": "unet3d", "features": 2, "depth": 1, "spacing": 0.8, "margin": 2.0},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "orbital": {"points_stage": 0.4, "points_per_structure": 100},
    "unet3d": {"dropout": 0.0},
}


def _sections(kind: str, **training: Any) -> dict[str, Any]:
    return {
        "data": {"store": "lithium-oxide", "n_train": 10, "n_validation": 3},
        "model": SMALL[kind],
        "objective": OBJECTIVES[kind],
        "training": {
            "steps": 20,
            "batch_size": 5,
            "validate_every": 10,
            "checkpoint_every": 10,
            "validation_spacing": 0.8,
            "warmup_steps": 3,
            "threads": 1,
            "device": "cpu",
            **training,
        },
    }


def _config(kind: str, **training: Any) -> Config:
    return parse_config(_sections(kind, **training), "the test")


def _metrics(run: Path) -> list[tuple[int, float, float]]:
    rows = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return [(int(row["step"]), float(row["loss"]), float(row["validation_nmae"])) for row in rows]


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_two_processes_learn_what_one_learns(kind: str, tmp_path: Path) -> None:
    """Batches of five are shared out as three and two, validation as two structures and one."""
    one, two = (train(_config(kind, devices=n), tmp_path / str(n)) for n in (1, 2))
    for (step, *expected), (at, *found) in zip(_metrics(one), _metrics(two), strict=True):
        assert at == step
        assert found == pytest.approx(expected, rel=1e-4)
    assert len(list((two / "tensorboard").glob("events*"))) == 1
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    weights, others = (load_file(run / "model.safetensors") for run in (one, two))
    for name, weight in weights.items():
        if not name.startswith("uncertainty"):
            assert torch.allclose(weight.double(), others[name].double(), rtol=1e-2, atol=1e-3), name


def test_shares_of_a_batch_are_the_batch() -> None:
    keys = [f"k{i}" for i in range(7)]

    def first(ranks: Ranks) -> list[Any]:
        return next(iter(EndlessBatches(keys, 5, seed=1, start=3, stage_at=lambda step: 0, ranks=ranks)))

    parts = [first(Ranks(Place(rank, 2))) for rank in range(2)]
    assert [len(part) for part in parts] == [3, 2]
    assert sorted(parts[0] + parts[1]) == sorted(first(Ranks()))


def test_what_the_first_has_made_is_not_made_again() -> None:
    held: dict[str, str] = {}
    board = SimpleNamespace(set=held.__setitem__, get=held.__getitem__)
    facts = {"exponents": [0.1, 1 / 3]}
    assert Ranks(Place(0, 2), board).from_first("facts", lambda: facts) == facts
    assert Ranks(Place(1, 2), board).from_first("facts", pytest.fail) == facts


def _command(tmp_path: Path, out: str, *options: str, **training: Any) -> list[str]:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(_sections("orbital", **training)))
    return ["-m", "orbdens.cli", "train", str(config), "--out", str(tmp_path / out), *options]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(places.ROOT), "OMP_NUM_THREADS": "1"}


def test_torchrun_starts_a_run_that_one_process_goes_on_with(tmp_path: Path) -> None:
    """After the death of a process, in the middle of a step."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = _command(tmp_path, "run", steps=200_000, checkpoint_every=100_000, validate_every=100_000)
    log = tmp_path / "log"
    with log.open("w") as file:
        run = subprocess.Popen([*launcher, *command], env=ENVIRONMENT, stderr=file, stdout=file)
    try:
        _wait_for(lambda: "step" in log.read_text() and (tmp_path / "run" / "tensorboard").is_dir())
        victim = max(_children(run.pid))
        os.kill(victim, signal.SIGKILL)
        assert run.wait(120) != 0
    finally:
        run.kill()
    assert "one of the 2 processes has ended or fallen silent" in log.read_text()
    state = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)
    assert 0 < state["global_step"] < 100_000
    more = _command(tmp_path, "run", "--resume", steps=state["global_step"] + 3, checkpoint_every=100_000)
    subprocess.run([sys.executable, *more], env=ENVIRONMENT, check=True, timeout=120)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def _wait_for(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_no_process_stays_when_the_first_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, *_command(tmp_path, "run", steps=100_000, devices=2)]
        run = subprocess.Popen(command, env=ENVIRONMENT, stderr=file, stdout=file)
    try:
        _wait_for(lambda: "step" in log.read_text())
        children = _children(run.pid)
        assert children
    finally:
        run.kill()
    run.wait()
    _wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 30)


def test_what_was_started_must_be_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(**training: Any) -> None:
        options = _config("orbital", **training).training
        assert isinstance(options, TrainingConfig)
        with started(options, print):
            pass

    with pytest.raises(UserError, match="start the run with torchrun or srun"):
        enter(nodes=2)
    for name, value in {"RANK": 3, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29999")
    enter(nodes=2, devices=2)
    with pytest.raises(UserError, match="devices is 4, but torchrun has started 2"):
        enter(devices=4)
    with pytest.raises(UserError, match="nodes is 1, but torchrun has started 2"):
        enter(nodes=1)


def test_srun_tells_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "77"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert launched() == Place()  # a batch script, which runs once
    for name, value in {"TASKS": "8", "NODES": "2"}.items():
        monkeypatch.setenv(f"SLURM_STEP_NUM_{name}", value)
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[07-08]")
    place = launched()
    assert (place.rank, place.size, place.local_rank, place.local_size) == (5, 8, 1, 4)
    assert place.meeting == "tcp://node07:15077?rank=5&world_size=8"
