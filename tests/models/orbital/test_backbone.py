"""The network alone, with either convolution: how features turn and fade."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from orbdens.kernels import pack_rotations
from orbdens.models.orbital.backbone import Backbone
from orbdens.models.orbital.layers import Edges
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.models.orbital.tensor_product import TensorProductConvolution

VIRTUAL = 2
"""The type of site that only listens."""


@pytest.fixture(scope="module", params=["so2", "tensor-product"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return _backbone(request.param)


def _backbone(convolution: str) -> Backbone:
    torch.manual_seed(0)
    options = {"convolution": convolution, "channels": 8, "layers": 2, "l_max": 4, "m_max": 2, "cutoff": 3.0}
    return Backbone(OrbitalConfig.model_validate(options), [False, False, True]).eval()


def _features(backbone: Backbone, types: list[int], positions: Tensor) -> Tensor:
    """[n_sites, 25, 8] of sites at these positions in Å."""
    near = torch.cdist(positions, positions) < 3.0
    near &= (torch.tensor(types) != VIRTUAL)[:, None] & ~torch.eye(len(types), dtype=torch.bool)
    source, target = near.nonzero().T
    vectors, state = positions[target] - positions[source], torch.zeros(len(types), 2).to(positions)
    with torch.no_grad():
        features: Tensor = backbone(torch.tensor(types), torch.stack([source, target]), vectors, state)
    return features


def _harmonics(l: int, directions: Tensor) -> Tensor:
    # e3nn's frame (x', y', z') is our (y, z, x).
    return o3.spherical_harmonics(l, directions[:, [1, 2, 0]], normalize=True, normalization="component")


@pytest.mark.parametrize("mirror", [1, -1], ids=["rotation", "inversion"])
def test_features_turn_with_the_molecule(backbone: Backbone, mirror: int) -> None:
    positions = torch.tensor([[0.0, 0, 0], [0.9, 0.3, -0.2], [-0.4, 0.8, 0.6], [0.2, -1.3, 0.7], [0.5, 0.1, -0.1]])
    types = [0, 1, 1, 0, VIRTUAL]
    turn = mirror * torch.from_numpy(Rotation.from_euler("zyx", [0.7, -1.1, 2.3]).as_matrix())
    one = _features(backbone, types, positions).double()
    other = _features(backbone, types, (positions.double() @ turn.T).float())
    directions = torch.randn(50, 3, dtype=torch.float64)
    for l in range(5):
        rows = slice(l * l, (l + 1) ** 2)
        matrix = torch.linalg.lstsq(_harmonics(l, directions), _harmonics(l, directions @ turn.T)).solution
        turned = torch.einsum("nic,ij->njc", one[:, rows], matrix)
        assert one[:, rows].abs().max() > 0.1
        assert (other[:, rows] - turned).abs().max() < 1e-5 * one.abs().max()


def test_features_are_smooth_at_the_cut_off(backbone: Backbone) -> None:
    """Two diatomics part until no atom of one is near any of the other: slope and bend vanish there."""

    def differences(distance: float, step: float = 1e-3) -> tuple[float, float]:
        features = []
        for apart in (distance - step, distance, distance + step):
            along = torch.tensor([-0.9, 0.0, apart, apart + 0.9], dtype=torch.float64)
            aside = torch.tensor([0.4, 0.0, 0.0, 0.5], dtype=torch.float64)
            positions = torch.outer(along, torch.tensor([0.0, 0.6, -0.8], dtype=torch.float64))
            features.append(_features(exact, [0, 1, 0, 1], positions + aside[:, None] * torch.tensor([1.0, 0, 0])))
        before, here, after = features
        slope, bend = (after - before) / (2 * step), (after - 2 * here + before) / step**2
        return float(slope.abs().max()), float(bend.abs().max())

    exact = deepcopy(backbone).double()
    (slope, bend), (ordinary_slope, ordinary_bend) = differences(3.0), differences(2.5)
    assert slope < 1e-4 * ordinary_slope
    assert bend < 1e-2 * ordinary_bend


def test_a_lone_site_has_scalars_only(backbone: Backbone) -> None:
    features = _features(backbone, [0], torch.zeros(1, 3))
    assert features[:, :1].abs().max() > 0.1
    assert (features[:, 1:] == 0).all()


def test_tensor_product_with_scalars_gives_harmonics() -> None:
    torch.manual_seed(0)
    convolution = TensorProductConvolution(4, 8, 3)
    nn.init.zeros_(convolution.radial.weight)
    nn.init.ones_(convolution.radial.bias)
    vectors, fade = torch.randn(6, 3), torch.rand(6)
    frames = pack_rotations(vectors, 4, 2)
    ends = torch.stack([torch.zeros(6, dtype=torch.long), torch.arange(1, 7)])
    x = torch.zeros(7, 25, 8)
    x[0, 0] = torch.randn(8)
    heard = convolution(x, [Edges(ends, frames, frames * fade[:, None], torch.zeros(6, 3))])
    for l, mix in enumerate(convolution.mix):
        weight = next(mix.parameters())[:, :8]  # those of the path from l = 0, the first
        expected = torch.einsum("ni,c->nic", _harmonics(l, vectors) * fade[:, None], weight @ x[0, 0])
        torch.testing.assert_close(heard[1:, l * l : (l + 1) ** 2], expected, atol=1e-5, rtol=1e-5)
