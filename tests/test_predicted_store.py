"""Predictions into a store: the densities that ``predict`` gives, gone on with after a stop, refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest

import orbdens
from orbdens import predicted_store
from orbdens.checkpoint import build_model
from orbdens.comparison import comparison
from orbdens.config import load_config
from orbdens.errors import UserError
from orbdens.labels import stored_density
from orbdens.metrics import nmae
from orbdens.predicted_store import predict_store
from orbdens.prediction import Request
from orbdens.shipped import config_path
from orbdens.store import CoefficientRecord, Store
from orbdens.structure import Structure

NAMES = ("H2O", "CH4", "CH3OH", "NH3", "H2CO")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "many.xyz", [ase.build.molecule(name) for name in NAMES])
    return tmp_path / "many.xyz"


def test_records_are_the_predictions(many: Path, tmp_path: Path) -> None:
    done = predict_store(Request([many]), tmp_path / "out.store")
    assert (done.count, done.before, len(done.expected_errors)) == (5, 0, 5)
    store, model = Store(tmp_path / "out.store"), orbdens.load()
    points = np.random.default_rng(0).normal(size=(50, 3))
    for key, name in zip(store.keys("predicted"), NAMES, strict=True):
        density, stored = model.predict(ase.build.molecule(name)), stored_density(store, key)
        np.testing.assert_allclose(stored.at(points), density.at(points), rtol=1e-4, atol=1e-5)
        assert stored.n_electrons == pytest.approx(density.n_electrons, abs=1e-4)
        assert stored.expected_error == pytest.approx(density.expected_error, rel=1e-3)


def test_a_stopped_call_is_gone_on_with(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(predicted_store, "ATOMS_AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        predict_store(Request([many]), tmp_path / "out.store", stop)
    done = predict_store(Request([many]), tmp_path / "out.store")
    assert done.count == 5 and done.before >= 1
    assert len(Store(tmp_path / "out.store").keys("predicted")) == 5


def test_what_cannot_be_is_told_before_anything_is_written(many: Path, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "odd.xyz", [ase.build.molecule("H2O"), ase.Atoms("Xe")])
    with pytest.raises(UserError, match=r"structure 2 \(odd, Xe\): the model never saw Xe"):
        predict_store(Request([tmp_path / "odd.xyz"]), tmp_path / "out.store")
    assert not (tmp_path / "out.store").exists()
    predict_store(Request([many]), tmp_path / "out.store")
    ase.io.write(many, [ase.build.molecule("H2O")])
    with pytest.raises(UserError, match="is a store of other structures or options; --force replaces it"):
        predict_store(Request([many]), tmp_path / "out.store")


def test_too_many_to_keep_are_read_again(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    each = Request.each

    def spy(request: Request) -> Iterator[tuple[tuple[str, str], Structure, str | None]]:
        read.append(request)
        return each(request)

    monkeypatch.setattr(Request, "each", spy)
    predict_store(Request([many]), tmp_path / "kept.store")
    assert len(read) == 1
    monkeypatch.setattr(predicted_store, "KEPT_ATOMS", 10)
    predict_store(Request([many]), tmp_path / "again.store")
    kept, again = Store(tmp_path / "kept.store"), Store(tmp_path / "again.store")
    for key in kept.keys("predicted"):
        one, other = kept[key], again[key]
        assert isinstance(one, CoefficientRecord) and isinstance(other, CoefficientRecord)
        np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-5, atol=1e-5)


def test_mixed_precision_is_close_holds_its_electrons_and_is_another_store(many: Path, tmp_path: Path) -> None:
    predict_store(Request([many], precision="bf16-mixed"), tmp_path / "out.store")
    store, model = Store(tmp_path / "out.store"), orbdens.load()
    assert store.manifest.provenance["precision"] == "bf16-mixed"
    for key, name in zip(store.keys("predicted"), NAMES, strict=True):
        density, stored = model.predict(ase.build.molecule(name)), stored_density(store, key)
        points = comparison(density)
        error = nmae(points.values(stored), points.values(density), points.volumes)
        assert 1e-4 < error < 0.05
        assert stored.n_electrons == pytest.approx(density.n_electrons, abs=1e-4)
    with pytest.raises(UserError, match="is a store of other structures or options; --force replaces it"):
        predict_store(Request([many]), tmp_path / "out.store")


def test_precisions_that_cannot_be() -> None:
    with pytest.raises(UserError, match="expected 32-true or bf16-mixed, but the precision is 'half'"):
        orbdens.load(precision="half")
    promolecule = build_model(load_config(config_path("promolecule.yaml")), {"valence_electrons": {"H": 1}})
    with pytest.raises(UserError, match="models of kind promolecule predict in full precision only"):
        promolecule.with_precision("bf16-mixed")
