"""A model of 60 lines, without gradients, goes through all verbs after one registry line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orbdens.checkpoint import load_model
from orbdens.cli.main import run
from orbdens.config import load_config
from orbdens.errors import UserError
from orbdens.models import registry
from orbdens.shipped import store_path
from orbdens.store import Store
from orbdens.testing import check_model, check_saved_model

CONFIG = """
data: {store: lithium-oxide, n_train: 20, n_validation: 3}
model: {kind: mean-atoms, exponent: 5.0}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from mean_atoms import REGISTRATION

    monkeypatch.setitem(registry.MODELS, "mean-atoms", REGISTRATION)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mean.yaml"
    path.write_text(CONFIG)
    return path


def test_it_goes_through_all_verbs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "mean.yaml", "--out", "mean"], debug=True) == 0
    assert run(["evaluate", "mean", "lithium-oxide", "--n", "5", "--json", "mean.json"], debug=True) == 0
    assert run(["train", "mean.yaml", "model.exponent=0.6", "--out", "wide"], debug=True) == 0
    assert run(["evaluate", "wide", "lithium-oxide", "--n", "5", "--json", "wide.json"], debug=True) == 0
    capsys.readouterr()
    assert run(["compare", "mean.json", "wide.json"], debug=True) == 0
    table = capsys.readouterr().out
    assert "mean" in table and "wide" in table
    summary = json.loads(Path("mean.json").read_text())
    assert summary["model"]["kind"] == "mean-atoms"
    assert 40 < sum(summary["errors"]["nmae"]) / 5 < 80  # round atoms are no better
    Path("new.xyz").write_text("3\nLi-O-Li\nO 0 0 0\nLi 1.6 0.3 0\nLi -1.6 0.3 0\n")
    assert run(["predict", "mean", "new.xyz"], debug=True) == 0
    assert Path("new.cube").is_file()


def test_it_keeps_the_contract(config: Path) -> None:
    assert run(["train", "mean.yaml", "--out", "mean"], debug=True) == 0
    model = load_model("mean")
    store = Store(store_path())
    molecule = store.structure(store.keys("test")[0])
    check_model(model, molecule)
    check_saved_model(model, load_config(config), molecule)


def test_mistakes_are_told(config: Path) -> None:
    with pytest.raises(UserError, match=r"unknown option 'model.exponnent'; did you mean 'model.exponent'"):
        load_config(config, ["model.exponnent=2"])
    with pytest.raises(UserError, match=r"unknown option 'training.minutes'"):  # it takes no steps
        load_config(config, ["training.minutes=2"])
    assert run(["train", "mean.yaml", "--out", "mean", "--resume"], debug=False) == 2
    assert not Path("mean").exists()


def test_a_package_registers_models_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package does it, with its metadata on the path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    metadata = tmp_path / "others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[orbdens.models]\nmean-atoms = mean_atoms:REGISTRATION\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = registry.find("mean-atoms")
    assert found is not None and found.model_class().__name__ == "MeanAtoms"
    assert "mean-atoms" in registry.kinds()
    assert registry.find("nothing") is None
