"""`orbdens tune` as a user has it: real trainings in processes of their own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from conftest import Mistake

from orbdens.cli.main import run

UNET = [
    "lithium-oxide-unet.yaml",
    "space.yaml",
    *("data.n_train=6", "data.n_validation=2", "training.validate_every=1", "training.precision=32-true"),
    *("model.features=2", "model.depth=1", "model.spacing=0.6"),
]


def test_from_ranges_to_the_best_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two at once; a learning rate that is too high ends with its sentence, and the best config trains."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text("training.learning_rate: [0.01, 1.e+30]")
    command = ["tune", *UNET, "--steps", "3", "--sampler", "grid", "--processes", "2", "--prune", "median"]
    assert run(command, debug=True) == 0
    out = Path("tuning/lithium-oxide-unet")
    trials = json.loads((out / "tune.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "failed"]
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"Trial 1 failed: the loss is (nan|inf) at step \d", shown), shown
    assert trials[0]["curve"].keys() == {f"{slot / 10:g}" for slot in range(1, 11)}
    assert trials[0]["curve"]["1"] == pytest.approx(trials[0]["error"], rel=1e-5)  # what validation says, too
    assert sorted(path.name for path in (out / "trials" / "000").iterdir()) == [
        *("config.yaml", "metrics.csv", "model.safetensors", "tensorboard")
    ]
    assert len(list((out / "cache").iterdir())) == 1  # both trials have the labels from there
    assert run(["train", str(out / "best.yaml"), "training.threads=1", "--out", "best"], debug=True) == 0
    last = Path("best/metrics.csv").read_text().splitlines()[-1]
    assert float(last.split(",")[-1]) == pytest.approx(trials[0]["error"], rel=1e-4)


def test_a_model_that_is_fitted_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text("training.seed: [0]")
    small = ["data.n_train=6", "data.n_validation=2", "--sampler", "grid", "--out", "out"]
    assert run(["tune", "promolecule.yaml", "space.yaml", *small], debug=True) == 0
    trial = json.loads(Path("out/tune.json").read_text())["trials"][0]
    assert 15 < trial["error"] < 20 and trial["curve"] == {} and trial["memory_mb"] > 50


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("none.yaml space.yaml", "cannot read the config none.yaml"),
        ("promolecule.yaml none.yaml", "cannot read the ranges none.yaml"),
        ("promolecule.yaml space.yaml --store none", "none"),
        ("promolecule.yaml space.yaml training.sed=1", "did you mean 'training.seed'"),
        ("promolecule.yaml space.yaml --minutes 1", "--minutes is for models that learn by steps"),
        ("lithium-oxide.yaml space.yaml --minutes 1 --steps 1", "--minutes and --steps exclude each other"),
        ("promolecule.yaml space.yaml --out space.yaml", "space.yaml"),
        ("promolecule.yaml space.yaml --sampler gird", "'gird'"),
        ("promolecule.yaml wrong.yaml", "did you mean 'training.seed'"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, mistake: Mistake, command: str, sentence: str) -> None:
    (tmp_path / "space.yaml").write_text("training.seed: [0, 1]")
    (tmp_path / "wrong.yaml").write_text("training.sed: [0, 1]")
    mistake(f"tune {command}", tmp_path, sentence)


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    mistake("tune promolecule.yaml space.yaml", tmp_path, r"pip install 'orbdens\[tune\]'")
