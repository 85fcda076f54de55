"""The residual CNN goes on learning where elements are new, as its input is the density of free atoms alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest

from orbdens.checkpoint import load_model
from orbdens.config import parse_config
from orbdens.errors import UserError
from orbdens.structure import Structure
from orbdens.training.run import train

MODEL = {"kind": "residual_cnn", "channels": 4, "blocks": 1, "kernel": 3, "spacing": 0.5, "margin": 2.0}


def run(store: str, out: Path, model: dict[str, Any], **training: Any) -> Path:
    data = {"store": store, "train_split": "train", "n_train": 3, "n_validation": 1}
    options = {"steps": 2, "batch_size": 1, "threads": 1, **training}
    return train(parse_config({"data": data, "model": model, "training": options}, "the test"), out)


def test_elements_that_it_never_saw(tmp_path: Path) -> None:
    start = run("lithium-oxide", tmp_path / "first", MODEL)
    methane = Structure(np.array([6]), np.zeros((1, 3)))
    with pytest.raises(UserError, match="never saw C"):
        load_model(start).predict(methane)
    again = run(str(places.GOLDEN / "ethanol"), tmp_path / "second", MODEL, start_from=str(start))
    model = load_model(again)
    assert set(model.facts["valence_electrons"]) == {"C", "H", "Li", "O"}
    assert model.predict(methane).n_electrons == pytest.approx(4, abs=0.5)
    unet = {"kind": "unet3d", "features": 2, "depth": 1, "spacing": 0.6, "margin": 2.0}
    other = run("lithium-oxide", tmp_path / "unet", unet)
    with pytest.raises(UserError, match="never saw"):
        run(str(places.GOLDEN / "ethanol"), tmp_path / "unet2", unet, start_from=str(other))
