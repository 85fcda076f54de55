"""What a model expects of its own predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import places
import pytest
import torch
from scipy.spatial.transform import Rotation

from orbdens.config import OrbitalRun, parse_config
from orbdens.metrics import negative_part
from orbdens.models.orbital.basis import Basis
from orbdens.models.orbital.graph import Graph
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.orbital.uncertainty import Uncertainty
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.store import Store
from orbdens.structure import Structure

GOLDEN = places.GOLDEN / "ethanol"


def _measured(n_sites: int) -> tuple[Uncertainty, torch.Tensor, torch.Tensor]:
    basis = Basis.from_json({"H": [[1.0], [1.0]], "C": [[1.0], [1.0]]})
    uncertainty = Uncertainty(basis, l_max=1, channels=6)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n_sites, 4, 6, generator=generator) * torch.tensor([3.0, 1, 1, 0.3, 0.3, 1])
    site_type = torch.arange(n_sites) % 2
    residuals = [torch.full((n_sites // 2, 4), size) for size in (0.1, 0.2)]
    uncertainty.measure([(features, site_type)], [(site_type, residuals)])
    return uncertainty, features, site_type


def _two_lone_sites(site_type: torch.Tensor) -> Graph:
    nothing = torch.zeros(0)
    return Graph(
        site_type=site_type,
        site_weight=torch.ones(2),
        positions=torch.zeros(2, 3),
        edge_index=nothing,
        edge_vector=nothing,
        state=torch.zeros(2, 2),
        charge_share=torch.zeros(2, dtype=torch.float64),
        n_electrons=torch.tensor([2.0, 2.0], dtype=torch.float64),
        structure_of_site=torch.tensor([0, 1]),
        site_ptr=torch.tensor([0, 1, 2]),
    )


def test_training_sites_are_at_distance_one() -> None:
    uncertainty, features, site_type = _measured(4000)
    distances = uncertainty.distances(features, site_type)
    np.testing.assert_allclose(distances.mean(dim=0), 1, atol=0.05)


def test_errors_grow_with_distance_and_strangers_are_named() -> None:
    uncertainty, features, site_type = _measured(4000)
    uncertainty.calibrate(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 6.0]))
    assert uncertainty.scale == 2
    strange = features[:2] * torch.tensor([10.0, 1.0])[:, None, None]
    graph = _two_lone_sites(site_type[:2])
    near, nobody = uncertainty.raw_errors(features[:2], graph)
    far, strangers = uncertainty.raw_errors(strange, graph)
    torch.testing.assert_close(far / near, torch.tensor([10.0, 1.0], dtype=torch.float64))
    assert nobody.tolist() == [False, False] and strangers.tolist() == [True, False]


def test_a_rare_type_borrows_what_is_familiar() -> None:
    """One site of a type spans one direction; all others must not be infinitely strange."""
    uncertainty, features, _ = _measured(400)
    site_type = torch.zeros(400, dtype=torch.int64)
    site_type[0] = 1
    uncertainty.measure([(features, site_type)], [])
    distances = uncertainty.distances(features[1:], torch.ones(399, dtype=torch.int64))
    assert distances.mean() < 20


def test_sites_without_neighbours_have_no_directions() -> None:
    """Single atoms: all features of l = 1 vanish, and a run must not end in a matrix without an inverse."""
    uncertainty, features, site_type = _measured(400)
    features[:, 1:] = 0
    uncertainty.measure([(features, site_type)], [])
    distances = uncertainty.distances(features, site_type)
    assert distances.isfinite().all()
    assert (distances[:, 1] == 0).all()


def test_expected_errors_of_a_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    store = Store(GOLDEN)
    options = {"kind": "orbital", "channels": 8, "layers": 1, "l_max": 2, "basis": {"beta": 2.5, "l_max": 2}}
    config = parse_config({"data": {"store": str(GOLDEN)}, "model": options, "training": {"steps": 1}}, "the test")
    assert isinstance(config, OrbitalRun)
    data = TrainingData(store, store.keys(), tmp_path, silent)
    task = OrbitalTask(OrbitalModel(config.model, OrbitalTask.facts(config, data)), config, data)
    model = task.model
    ethanol = store[store.keys()[0]].structure
    assert model.predict(ethanol).expected_error is None
    task.finish([(ethanol, 3.0)])
    field = model.predict(ethanol)
    assert field.expected_error == pytest.approx(3.0, rel=1e-4)
    assert field.unfamiliar == ()
    turned = Structure(ethanol.numbers, ethanol.positions @ Rotation.random(rng=np.random.default_rng(0)).as_matrix())
    assert model.predict(turned).expected_error == pytest.approx(3.0, rel=1e-3)
    # Nothing of ethanol looks like hydrogen peroxide with its atoms pushed together.
    crushed = Structure(np.array([8, 8, 1, 1]), np.array([[0.0, 0, 0], [0.9, 0, 0], [0.3, 0.6, 0], [0.6, 0.5, 0.3]]))
    strange = model.predict(crushed)
    assert strange.expected_error is not None and strange.expected_error > 3.0


def test_negative_part() -> None:
    assert negative_part(np.array([[[3.0, -1.0]]], dtype=np.float32)) == pytest.approx(50.0)
    assert negative_part(np.ones((2, 2, 2), dtype=np.float32)) == 0
