"""Tables of ``benchmarks.training``: lines run, and those that decide something keep away from the test split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import training
from orbdens import shipped
from orbdens.labels import stored_density
from orbdens.models.basis import make_basis
from orbdens.models.basis_options import BasisConfig
from orbdens.models.orbital.head import Head
from orbdens.store import open_store

CONFIG = str(shipped.config_path("lithium-oxide.yaml"))


def test_ablations_are_scored_on_structures_held_out_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = []

    def noted(store: object, key: str) -> object:
        scored.append(key)
        return stored_density(store, key)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "stored_density", noted)
    line = "without free-atom start"
    options = f"ablations --store lithium-oxide --config {CONFIG} --n 3 --json lines.json --set data.n_train=12"
    training.main([*options.split(), "training.minutes=null", "training.steps=1", "--only", line])
    figures = json.loads(Path("lines.json").read_text())["lines"][line]
    assert (figures["structures"], figures["steps"], figures["scored"]) == (9, 1, 3)
    assert figures["nmae_mean"] > 0 and figures["preparation_minutes"] > 0
    assert len(set(scored)) == 3
    assert set(scored) <= set(open_store("lithium-oxide").keys("train")[:12])


def test_without_mean_keeps_the_spread_about_zero() -> None:
    head = Head(make_basis([1], BasisConfig(beta=2.5, l_max=1)), channels=8, neutral=[1.0], cutoff=None)
    mean, factor = head.get_buffer("mean_0"), head.get_buffer("factor_0_0")
    generator = torch.Generator().manual_seed(0)
    mean.normal_(generator=generator)
    factor.normal_(generator=generator)
    about_zero = factor @ factor.T + torch.outer(mean, mean)
    training.without_mean(head)
    assert not mean.any()
    torch.testing.assert_close(factor @ factor.T, about_zero, rtol=1e-4, atol=1e-4)
