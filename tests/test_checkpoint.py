"""Model files: what older versions wrote is read, fine-tuned and predicts what it did; foreign files are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import places
import pytest
import torch
from safetensors.torch import load_file, save_file

from orbdens import shipped
from orbdens.checkpoint import FORMAT, find_model, load_model, read_header
from orbdens.config import TrainingConfig, load_config
from orbdens.errors import UserError
from orbdens.shipped import model_path
from orbdens.structure import Structure
from orbdens.training.run import train

MODELS = places.GOLDEN / "models"
"""Run folders written by each version of the model file, and densities the version that wrote them predicted."""


@pytest.mark.parametrize("name", ["v1-orbital", "v1-unet3d", "organics"])
def test_models_of_older_versions_predict_what_they_did(name: str) -> None:
    model = load_model(name if name == "organics" else MODELS / name)
    expected = np.load(MODELS / ("organics_expected.npz" if name == "organics" else f"{name}/expected.npz"))
    density = model.predict(Structure(expected["numbers"], expected["positions"]))
    values = density.at(expected["points"])
    np.testing.assert_allclose(values, expected["density"], rtol=0, atol=1e-6 * np.abs(expected["density"]).max())
    assert density.n_electrons == pytest.approx(float(expected["n_electrons"]), rel=1e-6)
    np.testing.assert_allclose(density.dipole, expected["dipole"], atol=1e-5)
    assert density.expected_error is None  # orbital models before version 3 were far too sure of themselves


@pytest.mark.parametrize(("name", "store"), [("v1-orbital", places.GOLDEN / "ethanol"), ("v1-unet3d", "lithium-oxide")])
def test_runs_of_older_versions_are_fine_tuned_with_their_own_config(name: str, store: str, tmp_path: Path) -> None:
    run = shutil.copytree(MODELS / name, tmp_path / "old")
    if name == "v1-orbital":  # its cache comes to lie beside it
        store = str(shutil.copytree(store, tmp_path / "ethanol.store"))
    changes = ["training.steps=2", f"training.start_from={run}", "training.warmup_steps=0", "training.device=cpu"]
    points = ["objective.points_stage=1"] if name == "v1-orbital" else []
    config = load_config(run / "config.yaml", [f"data.store={store}", *changes, *points])
    out = train(config, tmp_path / "new")
    before, after = load_file(run / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name for name in before if "familiarity" not in name} <= set(after)
    assert any(name in before and not torch.equal(tensor, before[name]) for name, tensor in after.items())
    header = read_header(out / "model.safetensors")
    assert header.training["start"]["steps"] > 1


def test_options_of_old_runs_are_found_where_they_stand_now() -> None:
    config = read_header(MODELS / "v1-orbital" / "model.safetensors").config
    assert config.objective.model_dump() == {
        "metric": "overlap",
        "points_stage": 0.5,
        "points_per_structure": 64,
        "dipole_weight": 0.0,
    }
    assert isinstance(config.training, TrainingConfig)


def _rewritten(path: Path, **changes: str | None) -> Path:
    """A model file with other entries in its header; None takes one out."""
    from safetensors import safe_open

    source = MODELS / "v1-orbital" / "model.safetensors"
    with safe_open(source, framework="numpy") as file:
        header = {**file.metadata(), **changes}
    save_file(load_file(source), path, {name: text for name, text in header.items() if text is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": str(FORMAT + 1)}, f"has format version {FORMAT + 1}, this orbdens reads 1 to {FORMAT}"),
        ({"format": "x"}, "has format version x"),
        ({"facts": None}, "not a model of orbdens"),
        ({"config": None}, "not a whole model of orbdens"),
        ({"training": None}, "not a whole model of orbdens"),
        ({"config": "{"}, "not a whole model of orbdens"),
        ({"config": json.dumps({"model": {"kind": "orbital"}})}, "option 'data' is missing"),
        ({"config": json.dumps({"model": {"kind": "gone"}})}, "there is no model 'gone'"),
    ],
)
def test_headers_that_will_not_do_are_told(changes: dict[str, str | None], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read_header(_rewritten(tmp_path / "model.safetensors", **changes))


def test_the_default_is_what_ships_whatever_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general").mkdir()
    assert find_model(None).parent == model_path()
    assert load_model().config.kind == "orbital"


@pytest.mark.parametrize("name", shipped.MODELS)
def test_headers_name_no_folders(name: str) -> None:
    """What ships says which stores it is from, and nothing of the machine it was trained on."""
    from safetensors import safe_open

    with safe_open(model_path(name) / "model.safetensors", framework="numpy") as file:
        text = json.dumps(file.metadata())
    assert "/tmp" not in text
    assert f'"format": "{3 if name == "general" else 2}"' in text
