"""How unlike those of the training data sites are."""

from __future__ import annotations

import torch

from orbdens.models.orbital.novelty import Novelty, describe

SIZES = torch.tensor([3.0, 2, 2, 1, 1, 1, 0.3, 0.3, 0.3, 0.3, 0.01, 0.01])
"""Spread of twelve numbers that describe a site: four channels, l up to 2."""


def training_sites(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What describes sites of two types, their types and weights."""
    generator = torch.Generator().manual_seed(0)
    described = 5 + torch.randn(n, 12, generator=generator) * SIZES
    return described, torch.arange(n) % 2, torch.ones(n)


def measured(described: torch.Tensor, site_type: torch.Tensor, weight: torch.Tensor) -> Novelty:
    novelty = Novelty(2, l_max=2, channels=4)
    novelty.measure(described, site_type, weight)
    return novelty


def test_training_sites_are_familiar_and_others_the_less_the_farther_out() -> None:
    described, site_type, weight = training_sites()
    novelty = measured(described[:3000], site_type[:3000], weight[:3000])
    others = novelty(described[3000:], site_type[3000:])
    assert 0.4 < others.mean() < 0.8 and others.max() < 2
    centre = described.mean(dim=0)
    for direction in range(8):  # each of those kept, and the first of the others
        away = centre + torch.tensor([0.0, 5.0, 10.0, 20.0])[:, None] * torch.eye(12)[direction] * SIZES
        steps = novelty(away, torch.zeros(4, dtype=torch.int64))
        assert (steps.diff() > 0.1).all(), direction


def test_the_nearest_training_site_counts_beside_the_mean() -> None:
    """One site far out was learned from; another just as far, elsewhere, was not."""
    described, site_type, weight = training_sites()
    described[0] = 5 + torch.eye(12)[0] * 8 * SIZES
    novelty = measured(described, site_type, weight)
    probes = 5 + torch.stack([torch.eye(12)[0], -torch.eye(12)[0]]) * 8 * SIZES
    seen, unseen = novelty(probes, torch.zeros(2, dtype=torch.int64)).tolist()
    assert seen < 0.6 * unseen


def test_a_rare_type_borrows_what_is_familiar() -> None:
    """One site of a type has no spread; all others must not be infinitely strange."""
    described, site_type, weight = training_sites(400)
    site_type[:] = 0
    site_type[0] = 1
    novelty = measured(described, site_type, weight)
    assert novelty(described[1:], torch.ones(399, dtype=torch.int64)).max() < 10


def test_sites_that_faded_out_do_not_count() -> None:
    described, site_type, weight = training_sites()
    strange = described.clone()
    strange[::7] += 100
    weight[::7] = 0
    expected = measured(described[weight > 0], site_type[weight > 0], weight[weight > 0])
    found = measured(strange, site_type, weight)
    torch.testing.assert_close(found(described, site_type), expected(described, site_type), rtol=1e-3, atol=1e-3)


def test_features_without_any_spread() -> None:
    """Single atoms: all features of l > 0 vanish, and a run must not end in a division by zero."""
    described, site_type, weight = training_sites(400)
    described[:, 4:] = 0
    assert measured(described, site_type, weight)(described, site_type).isfinite().all()
    described[:] = 1
    assert measured(described, site_type, weight)(described, site_type).isfinite().all()


def test_a_type_that_further_training_lacks_stays_as_it_was() -> None:
    described, site_type, weight = training_sites()
    novelty = measured(described, site_type, weight)
    before = novelty(described, site_type)
    only = site_type == 0
    novelty.measure(described[only] * 2, site_type[only], weight[only])
    after = novelty(described, site_type)
    assert torch.equal(before[~only], after[~only])
    assert not torch.allclose(before[only], after[only])


def test_descriptions_do_not_turn() -> None:
    features = torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(0))
    turned = features.clone()
    turned[:, 1:4] = turned[:, [2, 3, 1]] * torch.tensor([1.0, -1, 1])[:, None]
    assert describe(features).shape == (5, 12)
    torch.testing.assert_close(describe(turned), describe(features))
    assert not torch.allclose(describe(2 * features), describe(features))
