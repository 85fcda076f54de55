"""How hard surroundings were to learn."""

from __future__ import annotations

import pytest
import torch

from orbdens.models.orbital.difficulty import FARTHEST, Difficulty

SLOPES = torch.tensor([0.5, -0.3, 0.0])


def atoms(n: int = 3000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coordinates, types and errors in %: those of type 1 are three times those of type 0."""
    generator = torch.Generator().manual_seed(0)
    coordinates = torch.randn(n, 3, generator=generator)
    site_type = torch.arange(n) % 2
    noise = 0.5 * torch.randn(n, generator=generator)
    return coordinates, site_type, 0.2 * 3.0**site_type * (coordinates @ SLOPES + noise).exp()


def test_what_left_large_errors_is_hard() -> None:
    difficulty = Difficulty(2, 3)
    assert difficulty(torch.zeros(2, 3), torch.tensor([0, 1])).tolist() == [1, 1]
    difficulty.measure(*atoms())
    easy, hard = difficulty(torch.zeros(2, 3), torch.tensor([0, 1])).tolist()
    assert (easy, hard) == (pytest.approx(0.2, rel=0.1), pytest.approx(0.6, rel=0.1))
    farther = difficulty(torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [FARTHEST, 0, 0], [9.0, 0, 0]]), torch.zeros(4).long())
    one, other, edge, beyond = (farther.log() - farther.new_tensor(easy).log()).tolist()
    assert (one, other) == (pytest.approx(0.5, abs=0.06), pytest.approx(-0.3, abs=0.05))
    assert beyond == pytest.approx(edge)


def test_types_of_few_atoms_are_like_all_and_none_forgets() -> None:
    coordinates, site_type, errors = atoms()
    difficulty = Difficulty(4, 3)
    difficulty.measure(coordinates, torch.where(torch.arange(3000) == 0, 2, site_type), errors)
    rare, never = difficulty(torch.zeros(2, 3), torch.tensor([2, 3])).tolist()
    assert never == pytest.approx((0.2 * 0.6) ** 0.5, rel=0.1)
    assert 0.1 < rare < 1.2
    before = difficulty.weights.clone()
    difficulty.measure(coordinates[:100], torch.zeros(100).long(), errors[:100])
    torch.testing.assert_close(difficulty.weights[1:], before[1:])
    assert not torch.equal(difficulty.weights[0], before[0])
