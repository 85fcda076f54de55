"""Routes side by side: trained where they are not yet, measured alike, one report; and what becomes of failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orbdens.errors import UserError
from orbdens.evaluation.measure import evaluate
from orbdens.evaluation.result import Evaluation
from orbdens.routes import compare_routes
from orbdens.routes.plan import Plan, routes_of

TRAINING = {"steps": 2, "batch_size": 2, "validate_every": 1}
DATA = {"store": "lithium-oxide", "n_train": 6, "n_validation": 2}
CONFIGS = {
    "orbital": {"kind": "orbital", "channels": 4, "layers": 1, "l_max": 2, "basis": {"beta": 3.0, "l_max": 2}},
    "unet": {"kind": "unet3d", "features": 2, "depth": 1, "spacing": 0.6, "margin": 2.0},
    "promolecule": {"kind": "promolecule"},
}


def write_config(folder: Path, name: str, training: dict[str, object] | None = None) -> Path:
    gradient = {} if name == "promolecule" else {**TRAINING, **(training or {})}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"data": DATA, "model": CONFIGS[name], "training": gradient}))
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], Plan]:
    folder = tmp_path_factory.mktemp("routes")
    items = [write_config(folder, name) for name in CONFIGS]
    plan = Plan(n=3, sizes=(4,), processes=2)
    compare_routes(items, folder / "out", plan, lambda line: None, force=False)
    return folder / "out", items, plan


def test_report_has_all_routes(compared: tuple[Path, list[Path], Plan]) -> None:
    out, _, _ = compared
    report = json.loads((out / "report.json").read_text())
    assert {row[0] for row in report["rows"]} == set(CONFIGS)
    assert set(report["sizes"]) == set(CONFIGS) and set(report["sizes"]["orbital"]) == {
        "2",
        "4",
    }  # two of each are held out
    assert len(report["curves"]["unet"]["minutes"]) == 2
    assert report["failed"] == {}
    page = (out / "report.html").read_text()
    assert page.count("<iframe") == 2 and "http" not in page.replace("http://www.w3.org", "")
    assert len(page) < 15 << 20
    for name in ("errors", "regions", "slices", "time", "sizes"):
        assert (out / "pictures" / f"{name}.png").stat().st_size > 1000
        assert (out / "pictures" / f"{name}.svg").stat().st_size > 1000


def test_errors_off_the_grid_and_of_turned_molecules(compared: tuple[Path, list[Path], Plan]) -> None:
    """An equivariant model does not notice; a network on a coarse grid does."""
    out, _, _ = compared
    found = {name: Evaluation.read(out / "evaluations" / f"{name}.json") for name in CONFIGS}
    for name in ("orbital", "promolecule"):
        summary = found[name].summary()
        assert summary["off_grid"].mean == pytest.approx(summary["nmae"].mean, rel=0.03)
        assert summary["turned"].mean == pytest.approx(summary["nmae"].mean, rel=0.01)
    assert abs(found["unet"].summary()["turned"].mean / found["unet"].summary()["nmae"].mean - 1) > 1e-3
    assert found["promolecule"].cost.training_memory_mb is not None
    assert found["promolecule"].model.training_minutes is not None


def test_the_same_again_does_nothing_anew(compared: tuple[Path, list[Path], Plan]) -> None:
    out, items, plan = compared
    lines: list[str] = []
    compare_routes(items, out, plan, lines.append, force=False)
    assert lines == []
    figures = out / "evaluations" / "unet.json"
    figures.unlink()
    compare_routes(items, out, plan, lines.append, force=False)
    assert lines == ["measuring unet"]
    with pytest.raises(UserError, match="was begun with n = 3, not 5"):
        compare_routes(items, out, Plan(n=5, processes=2), lines.append, force=False)


def test_a_route_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    bad = write_config(tmp_path, "unet", {"device": "gpu"})
    good = write_config(tmp_path, "promolecule")
    with pytest.raises(UserError, match=r"1 of 2 routes failed \(unet: .*GPU.*\); the others stand in"):
        compare_routes([bad, good], tmp_path / "out", Plan(n=2), lambda line: None, force=False)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row[0] for row in report["rows"]] == ["promolecule"] and "unet" in report["failed"]


def test_plans_that_cannot_be_followed(tmp_path: Path) -> None:
    config = write_config(tmp_path, "unet")
    with pytest.raises(UserError, match="does not exist"):
        routes_of([tmp_path / "none"], Plan())
    with pytest.raises(UserError, match="two of these are called unet"):
        routes_of([config, config], Plan())
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(UserError, match="neither a config nor a run folder"):
        routes_of([tmp_path / "text.txt"], Plan())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a").write_text("x")
    with pytest.raises(UserError, match="holds something that is no comparison"):
        compare_routes([config], tmp_path / "other", Plan(), lambda line: None, force=True)
    assert "training.minutes=5" in routes_of([config], Plan(minutes=5))[1][0].overrides
    assert "training.steps=1234567" in routes_of([config], Plan(steps=1234567))[1][0].overrides


def test_robustness_is_asked_for(compared: tuple[Path, list[Path], Plan]) -> None:
    out, _, _ = compared
    plain = evaluate(out / "runs" / "promolecule", "lithium-oxide", n=2)
    assert plain.errors.off_grid is None and "turned" not in plain.summary()
