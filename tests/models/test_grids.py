"""Grids of networks: the 48 ways to turn a cube are turns of the molecule, and atoms reach as far as is stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from orbdens.grid import Grid
from orbdens.models.grids import WAYS, folded, turned, unfolded
from orbdens.models.residual_cnn.network import ResidualNetwork
from orbdens.models.residual_cnn.options import ResidualConfig
from orbdens.models.unet3d.network import UNet3d
from orbdens.models.unet3d.options import UNetConfig
from orbdens.observables.free_atoms import promolecule
from orbdens.structure import Structure

CHIRAL = Structure(
    np.array([6, 1, 9, 8, 1]),
    np.array([[0.1, 0.0, 0.0], [0.7, 0.6, 0.6], [-0.9, -0.9, 0.8], [0.8, -0.8, -0.9], [1.6, -0.6, -0.4]]),
)


def test_every_way_is_a_turn_of_the_molecule() -> None:
    """And no two of them are the same."""
    grid = Grid(np.full(3, -2.25), 0.5 * np.eye(3), (10, 10, 10))
    values = torch.from_numpy(promolecule(CHIRAL, "valence").on(grid))
    places = torch.from_numpy(grid.points().T.reshape(3, 10, 10, 10))
    found = set()
    for way in range(WAYS):
        came_from = turned(places, way).reshape(3, -1).numpy().T  # of every point, where its value was
        turn = np.linalg.lstsq(grid.points(), came_from, rcond=None)[0].round(6)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)
        moved = Structure(CHIRAL.numbers, CHIRAL.positions @ turn.T)
        expected = promolecule(moved, "valence").on(grid)
        np.testing.assert_allclose(turned(values, way).numpy(), expected, atol=2e-5)
        found.add(turn.tobytes())
    assert len(found) == WAYS


def test_folding_comes_undone() -> None:
    values = torch.rand(2, 3, 4, 8, 6)
    assert folded(values, 2).shape == (2, 24, 2, 4, 3)
    assert torch.equal(unfolded(folded(values, 2), 2), values)


NETWORKS: list[Any] = [
    (UNetConfig(depth=1, features=2, spacing=1.0), lambda: UNet3d(1, 2, 1)),
    (UNetConfig(depth=2, features=2, spacing=1.0), lambda: UNet3d(1, 2, 2)),
    (UNetConfig(depth=1, features=2, fold=2, spacing=1.0), lambda: UNet3d(1, 2, 1, 2)),
    (ResidualConfig(blocks=2, channels=2, kernel=3, spacing=1.0), lambda: ResidualNetwork(1, 2, 2, 3, 1, False)),
    (ResidualConfig(blocks=1, channels=2, kernel=5, spacing=1.0), lambda: ResidualNetwork(1, 2, 1, 5, 1, False)),
]


@pytest.mark.parametrize(("options", "make"), NETWORKS)
def test_a_point_reaches_as_far_as_the_options_say(options: Any, make: Any) -> None:
    """Weights above zero let everything through, and without biases nothing else is there."""
    torch.manual_seed(0)
    network = make().eval()
    n, farthest = 64, 0
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(torch.zeros_like(weight) if name.endswith("bias") else weight.abs() + 0.1)
        for point in range(n // 2 - 4, n // 2 + 4):
            inputs = torch.zeros(1, 1, n, 8, 8)
            inputs[0, 0, point, 4, 4] = 1.0
            reached = torch.nonzero(network(inputs)[0].amax(dim=(1, 2)))[:, 0]
            farthest = max(farthest, int((reached - point).abs().max()))
    assert farthest <= options.reach
    if options.fold == 1:  # otherwise it is a bound
        assert farthest == pytest.approx(options.reach)
