"""Stores of coefficients and of values at points: every verb works on them or refuses in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from places import GOLDEN

from orbdens.cli.main import run
from orbdens.labels import stored_density
from orbdens.store import CoefficientRecord, Manifest, PointsRecord, Store, StoreWriter

KINDS = {"predicted": "coefficients", "points": "points"}


@pytest.fixture(params=sorted(KINDS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the golden store."""
    path = tmp_path / f"{request.param}.store"
    shutil.copytree(GOLDEN / f"{request.param}_v3", path)
    return path


def _run(*words: object) -> int:
    return run([str(word) for word in words], debug=False)


def test_golden_values() -> None:
    """What was written by hand: Gaussians at nuclei, and one of l = 1 between them."""
    store = Store(GOLDEN / "predicted_v3")
    assert store.manifest.format_version == 3
    record, density = store["h2-1"], stored_density(store, "h2-1")
    assert isinstance(record, CoefficientRecord)
    assert density.warnings == ("made by hand",)
    points = np.random.default_rng(0).normal(size=(20, 3))
    a, b = record.structure.positions
    expected = sum(np.exp(-1.5 * np.square(points - place).sum(axis=1)) for place in (a, b)) / (np.pi / 1.5) ** 1.5
    middle = points - (a + b) / 2
    slope = np.sqrt(3 / (4 * np.pi)) * middle[:, 0]  # the third of l = 1: y, z, x
    np.testing.assert_allclose(
        density.at(points), expected + 0.04 * slope * np.exp(-0.8 * np.square(middle).sum(axis=1)), atol=1e-6
    )
    points_store = Store(GOLDEN / "points_v3")
    at_points = points_store["h2-0"]
    assert points_store.manifest.format_version == 3
    assert isinstance(at_points, PointsRecord)
    near = sum(np.exp(-np.square(at_points.points - place).sum(axis=1)) for place in at_points.structure.positions)
    np.testing.assert_allclose(at_points.values, near / np.pi**1.5, atol=1e-6)


def test_readers_of_version_2_are_warned_off(tmp_path: Path) -> None:
    """By the manifest, before there is a record that they do not know; stores of other records stay theirs."""
    known = Store(GOLDEN / "points_v3")
    plain = Manifest(known.manifest.level, "all-electron", {"H": 1})
    with StoreWriter(tmp_path / "s", plain) as writer:
        assert Manifest.read(tmp_path / "s").format_version == 2
        writer.put("a", known["h2-0"])
        assert Manifest.read(tmp_path / "s").format_version == 3
        writer.finish({})
    assert Manifest.read(tmp_path / "s").format_version == 3
    with StoreWriter(tmp_path / "s", plain, resume=True) as writer:
        writer.finish({})
    assert Manifest.read(tmp_path / "s").format_version == 3


def test_stores_are_looked_after(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = KINDS[store.stem]
    assert _run("data", "inspect", store, "--html", tmp_path / "page.html") == 0
    assert f"{len(Store(store))} {kind}" in capsys.readouterr().out
    assert ("Cuts through densities" in (tmp_path / "page.html").read_text()) == (kind == "coefficients")
    assert _run("data", "verify", store) == 0
    assert _run("data", "split", store, "--by", "size", "--train", "0.5", "--test", "0.5", "--force") == 0
    assert _run("data", "subset", store, tmp_path / "part", "--n", "3", "--float16") == 0
    assert _run("data", "merge", store, tmp_path / "part", tmp_path / "both", "--prefix") == 0
    both = Store(tmp_path / "both")
    assert len(both) == len(Store(store)) + 3
    assert both.manifest.format_version == 3
    np.testing.assert_array_equal(stored_density(both, "part-h2-0").dipole, stored_density(Store(store), "h2-0").dipole)


def test_damage_is_found_and_the_rest_kept(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreWriter(store, Manifest.read(store), resume=True) as writer:
        writer.put_packed("wrong", b"\x01nonsense")
        writer.finish({})
    assert _run("data", "verify", store) == 1
    assert _run("data", "verify", store, "--repair") == 0
    assert "wrong" in capsys.readouterr().out
    assert Manifest.read(store).format_version == 3
    assert "wrong" not in Store(store)


def test_files_of_other_programs(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = _run("data", "convert", store, tmp_path / "out", "--to", "cube", "--n", "1", "--spacing", "0.5")
    assert status == (0 if store.stem == "predicted" else 2)
    message = "known at 1331 points alone" if status else ""
    assert message in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.cube"))) == (0 if status else 1)


def test_a_model_is_trained_and_measured(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "data": {"store": str(store), "n_validation": 1},
        "model": {"kind": "orbital", "channels": 4, "layers": 1, "l_max": 1, "basis": {"beta": 3.0, "l_max": 1}},
        "objective": {"points_stage": 1.0, "points_per_structure": 50},
        "training": {"steps": 2, "batch_size": 2, "validation_spacing": 0.8, "threads": 1, "device": "cpu"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    train = ("train", tmp_path / "config.yaml", "--out", tmp_path / "run")
    assert _run(*train, "objective.points_stage=0") == 2
    assert "the analytic objective needs orbital records" in capsys.readouterr().err
    assert _run(*train) == 0
    assert _run("evaluate", tmp_path / "run", store, "--spacing", "0.5") == 0
    assert _run("floor", store, "--n", "1", "--l-max", "1", "--beta", "3") == 0
    assert "NMAE" in capsys.readouterr().out
