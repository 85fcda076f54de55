"""The promolecule as a model: what it is worth, and which stores it goes with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import places
import pytest

from orbdens.cli.main import run
from orbdens.config import load_config
from orbdens.errors import UserError
from orbdens.models.promolecule.model import PromoleculeModel
from orbdens.models.promolecule.options import PromoleculeConfig, PromoleculeRun
from orbdens.models.promolecules import free_atom_facts
from orbdens.observables.free_atoms import promolecule
from orbdens.store import Manifest
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]]))


def model(density: str = "valence", **electrons: int) -> PromoleculeModel:
    electrons = electrons or {"H": 1, "O": 6}
    return PromoleculeModel(PromoleculeConfig(), free_atom_facts(Manifest({}, density, electrons), electrons))


def test_it_is_the_zero_line_of_lithium_oxide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 12: 10-25 % NMAE."""
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(places.ROOT / "configs" / "promolecule.yaml"), "--out", "zero"], debug=True) == 0
    assert run(["evaluate", "zero", "lithium-oxide", "--n", "10", "--json", "zero.json"], debug=True) == 0
    found = json.loads(Path("zero.json").read_text())["errors"]
    assert 10 < np.mean(found["nmae"]) < 25
    assert np.abs(found["electrons"]).max() < 1e-5


def test_it_has_the_electrons_of_its_store() -> None:
    whole = model("all-electron", H=1, O=8).predict(WATER)
    assert whole.n_electrons == pytest.approx(10, abs=1e-6)
    assert whole.at(WATER.positions)[0] == pytest.approx(promolecule(WATER).at(WATER.positions)[0])
    assert model().predict(WATER).n_electrons == pytest.approx(8, abs=1e-6)
    assert model().predict(replace(WATER, charge=-1)).n_electrons == pytest.approx(9, abs=1e-6)


def test_a_crystal_repeats() -> None:
    crystal = replace(WATER, cell=np.eye(3) * 3.0, pbc=(True, True, True))
    density = model().predict(crystal)
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(density.at(points + 3.0), density.at(points), rtol=1e-3, atol=1e-5)
    assert density.n_electrons == pytest.approx(8, abs=1e-6)


@pytest.mark.parametrize(
    ("electrons", "message"),
    [({"Li": 1}, "Li brings 1 electrons into the densities of this store, but 3"), ({"Xe": 8}, "no free atom of Xe")],
)
def test_other_electrons_than_free_atoms_have(electrons: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        model(**electrons)


def test_it_takes_no_steps() -> None:
    config = load_config(places.ROOT / "configs" / "promolecule.yaml")
    assert isinstance(config, PromoleculeRun)
    with pytest.raises(UserError, match=r"unknown option 'training.minutes'"):
        load_config(places.ROOT / "configs" / "promolecule.yaml", ["training.minutes=1"])
