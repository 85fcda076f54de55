"""The plain head: SCDP's way from features to coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest
import torch

from orbdens.config import load_config, parse_config
from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.models.basis import Basis
from orbdens.models.orbital.head import Head
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.orbital.plain_head import PlainHead
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.store import Store
from orbdens.testing import check_gradients

GOLDEN = places.GOLDEN / "ethanol"
WHOLE = {"beta": 2.0, "l_max": 2, "max_exponent": 1e6}
PLAIN = {
    "kind": "orbital",
    "head": "plain",
    "sites": "bonds",
    "channels": 8,
    "layers": 1,
    "l_max": 2,
    "basis": {**WHOLE, "virtual": {"like": "O", "min_exponent": 0.0, **WHOLE}},
    "scaling_limit": 2.0,
    "orbital_cutoff": 5.0,
}


def config_of(points_stage: float = 1.0, **model: Any) -> OrbitalRun:
    objective = {"points_stage": points_stage, "points_per_structure": 400}
    sections = {"model": {**PLAIN, **model}, "objective": objective, "training": {"steps": 1}}
    config = parse_config({"data": {"store": str(GOLDEN)}, **sections}, "the test")
    assert isinstance(config, OrbitalRun)
    return config


@pytest.fixture
def task(tmp_path: Path) -> OrbitalTask:
    torch.manual_seed(0)
    store, config = Store(GOLDEN), config_of()
    data = TrainingData(store, store.keys(), tmp_path, silent)
    return OrbitalTask(OrbitalModel(config.model, OrbitalTask.facts(config, data)), config, data)


def test_gradients_reach_every_map(task: OrbitalTask) -> None:
    """Of one charge and multiplicity these say nothing: their weights are held."""
    task.model.backbone.state.weight.requires_grad = False
    with torch.no_grad():
        assert task.model.shapes.scale is not None
        task.model.shapes.scale += 0.1
    check_gradients(task, Store(GOLDEN).keys())


def test_no_label_is_fitted(task: OrbitalTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbdens.models.density_fitting.fit_label", None)
    store, config = Store(GOLDEN), config_of()
    OrbitalTask(task.model, config, TrainingData(store, store.keys(), tmp_path / "other", silent))


def test_coefficients_are_of_the_gaussians_themselves(task: OrbitalTask) -> None:
    """One feature alone: the map's column, over the root of the number of orbitals, times the spread of labels."""
    model = task.model
    assert isinstance(model.head, PlainHead)
    store = Store(GOLDEN)
    keys = store.keys()
    labels = [stored_density(store, key) for key in keys]
    spread = np.sqrt(np.mean([np.var(label.on(Grid.around(label.structure, 0.2, 4.0))) for label in labels]))
    assert float(model.head.scale) == pytest.approx(spread, rel=1e-5)
    graph = task.graph(keys[0])
    features = torch.zeros(len(graph.site_type), 9, 8)
    features[:, 6, 3] = 2.0  # l = 2, m = 0
    coefficients = model.head(features, graph)
    n_orbitals = sum(model.basis.sizes[kind] for kind in graph.site_type.tolist())
    for kind, radials in enumerate(model.basis.radials):
        assert radials[2].n_radial == len(radials[2].exponents)
        linear = model.head.linear[f"{kind}_2"]
        expected = 2 * linear.weight[:, 3] * spread / np.sqrt(n_orbitals)
        blocks = model.basis.blocks(kind, coefficients[kind])
        torch.testing.assert_close(blocks[2][0, :, 2], expected)
        assert not blocks[2][0, :, [0, 1, 3, 4]].any()


def test_the_number_of_electrons_is_whatever_comes_out(task: OrbitalTask) -> None:
    assert not task.model.exact_electrons
    structure = Store(GOLDEN).structure(Store(GOLDEN).keys()[0])
    assert abs(task.model.predict(structure).n_electrons - 20) > 0.1


def test_midpoints_have_all_of_oxygen_s_functions(task: OrbitalTask) -> None:
    basis = task.model.basis
    of_oxygen, of_bonds = basis.to_json()["O"], basis.to_json()["bond"]
    assert of_oxygen == of_bonds
    assert max(of_oxygen[0]) > 1e4
    density = task.model.predict(Store(GOLDEN).structure(Store(GOLDEN).keys()[0]))
    assert isinstance(density, OrbitalDensity)
    assert len(density.site_positions) == 9 + 8


def test_the_analytic_objective_is_refused() -> None:
    with pytest.raises(UserError, match=r"points_stage=1"):
        config_of(points_stage=0.5)
    config_of(points_stage=0.5, head="conditioned")


def test_configs_of_before_have_the_conditioned_head(tmp_path: Path) -> None:
    store, config = Store(GOLDEN), config_of(head="conditioned")
    assert (
        OrbitalRun.model_validate(
            {"data": {"store": "x"}, "model": {"kind": "orbital"}, "training": {"steps": 1}}
        ).model.head
        == "conditioned"
    )
    data = TrainingData(store, store.keys(), tmp_path, silent)
    model = OrbitalModel(config.model, OrbitalTask.facts(config, data))
    assert isinstance(model.head, Head)
    assert model.exact_electrons
    assert not any(radial.plain for radials in model.basis.radials for radial in radials)


@pytest.mark.parametrize("name", ["ethanol-scdp", "lithium-oxide-scdp"])
def test_shipped_configs(name: str) -> None:
    config = load_config(places.ROOT / "configs" / f"{name}.yaml")
    assert isinstance(config, OrbitalRun)
    assert config.model.head == "plain"


def test_plain_radial_functions_are_the_primitives() -> None:
    table = {"H": [[0.4, 1.1, 3.0], [1.0]]}
    plain, orthonormal = Basis.from_json(table, plain=True), Basis.from_json(table)
    np.testing.assert_array_equal(plain.radials[0][0].to_primitive, np.eye(3))
    assert not np.allclose(orthonormal.radials[0][0].to_primitive, np.eye(3))
    assert plain.to_json() == orthonormal.to_json() == table
