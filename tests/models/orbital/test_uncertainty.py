"""What a model expects of its own predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import places
import pytest
import torch
from scipy.spatial.transform import Rotation

from orbdens.config import OrbitalRun, parse_config
from orbdens.electrons import core_charges
from orbdens.metrics import negative_part
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.novelty import Novelty, describe
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.store import Store
from orbdens.structure import Structure

GOLDEN = places.GOLDEN / "ethanol"


def _measured(n_sites: int) -> tuple[Novelty, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n_sites, 4, 6, generator=generator) * torch.tensor([3.0, 1, 1, 0.3, 0.3, 1])
    site_type = torch.arange(n_sites) % 2
    novelty = Novelty(2, l_max=1, channels=6)
    novelty.measure(describe(features), site_type, torch.ones(n_sites))
    return novelty, features, site_type


def test_what_describes_a_site_does_not_turn() -> None:
    features = torch.randn(5, 9, 4)
    turned = features.clone()
    turned[:, 1:4] = torch.linalg.qr(torch.randn(3, 3)).Q @ features[:, 1:4]
    turned[:, 4:] = torch.linalg.qr(torch.randn(5, 5)).Q @ features[:, 4:]
    torch.testing.assert_close(describe(turned), describe(features))


def test_novelty_of_sites_like_those_of_training_and_of_strangers() -> None:
    novelty, features, site_type = _measured(4000)
    fresh = torch.randn(200, 4, 6) * torch.tensor([3.0, 1, 1, 0.3, 0.3, 1])
    near, far = (novelty(describe(f * fresh), site_type[:200]) for f in (1.0, 10.0))
    assert 0.3 < near.median() < 1.2
    assert (far > 3 * near).all()
    assert novelty(describe(features[:200]), site_type[:200]).median() < near.median()


def test_a_rare_type_borrows_what_is_familiar() -> None:
    """One site of a type spans no direction; all others must not be infinitely strange."""
    novelty, features, _ = _measured(400)
    site_type = torch.zeros(400, dtype=torch.int64)
    site_type[0] = 1
    novelty.measure(describe(features), site_type, torch.ones(400))
    assert novelty(describe(features[1:]), torch.ones(399, dtype=torch.int64)).mean() < 20


def test_sites_without_neighbours_have_no_directions() -> None:
    """Single atoms: all features of l = 1 vanish, and a run must not end in a matrix without an inverse."""
    novelty, features, site_type = _measured(400)
    features[:, 1:] = 0
    novelty.measure(describe(features), site_type, torch.ones(400))
    assert novelty(describe(features), site_type).isfinite().all()


def _finished(folder: Path) -> tuple[OrbitalModel, Structure]:
    """A model without training that was told that 3 % of each atom of one ethanol are wrong."""
    torch.manual_seed(0)
    store = Store(GOLDEN)
    options = {"kind": "orbital", "channels": 8, "layers": 1, "l_max": 2, "basis": {"beta": 2.5, "l_max": 2}}
    config = parse_config({"data": {"store": str(GOLDEN)}, "model": options, "training": {"steps": 1}}, "the test")
    assert isinstance(config, OrbitalRun)
    data = TrainingData(store, store.keys(), folder, silent)
    task = OrbitalTask(OrbitalModel(config.model, OrbitalTask.facts(config, data)), config, data)
    ethanol = store[store.keys()[0]].structure
    assert task.model.predict(ethanol).expected_error is None
    task.finish([(ethanol, 0.03 * core_charges(ethanol, task.model.facts["valence_electrons"]))])
    return task.model, ethanol


def test_expected_errors_of_a_model(tmp_path: Path) -> None:
    model, ethanol = _finished(tmp_path)
    density = model.predict(ethanol)
    assert density.expected_error == pytest.approx(3.0, rel=1e-3)
    assert density.expectation is not None
    electrons = core_charges(ethanol, model.facts["valence_electrons"])
    assert density.expectation.atom_errors @ electrons / 20 == pytest.approx(density.expected_error)
    assert density.unfamiliar == () and density.warnings == ()
    turned = Structure(ethanol.numbers, ethanol.positions @ Rotation.random(rng=np.random.default_rng(0)).as_matrix())
    assert model.predict(turned).expected_error == pytest.approx(3.0, rel=1e-2)
    # Nothing of ethanol looks like hydrogen peroxide with its atoms pushed together.
    crushed = Structure(np.array([8, 8, 1, 1]), np.array([[0.0, 0, 0], [0.9, 0, 0], [0.3, 0.6, 0], [0.6, 0.5, 0.3]]))
    strange = model.predict(crushed)
    assert strange.expected_error is not None and strange.expected_error > 3.0
    assert strange.unfamiliar or strange.warnings


def test_two_molecules_far_apart_are_expected_to_be_as_good_as_one(tmp_path: Path) -> None:
    model, ethanol = _finished(tmp_path)
    far = ethanol.positions + np.array([60.0, 0.0, 0.0])
    both = Structure(np.tile(ethanol.numbers, 2), np.concatenate([ethanol.positions, far]))
    assert model.predict(both).expected_error == pytest.approx(model.predict(ethanol).expected_error, rel=1e-5)


def test_negative_part() -> None:
    assert negative_part(np.array([[[3.0, -1.0]]], dtype=np.float32)) == pytest.approx(50.0)
    assert negative_part(np.ones((2, 2, 2), dtype=np.float32)) == 0
