"""Features in the frames of edges: the compiled loops against the definition, and the definition against rotations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from orbdens.kernels import edge_rotations, pack_rotations, to_frames, to_sites
from orbdens.kernels.pairs import edge_frames

L_MAX, M_MAX, N_SITES, N_EDGES = 3, 2, 5, 40
KEPT = [[0, 2, 6, 12], [3, 7, 13, 1, 5, 11], [8, 14, 4, 10]]
"""Rows l² + l ± m of each m."""


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def _edges(dtype: torch.dtype) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Ends, packed rotations and the rotations themselves."""
    torch.manual_seed(0)
    vectors = torch.randn(N_EDGES, 3, dtype=dtype)
    rotations = edge_rotations(vectors, L_MAX)
    return torch.randint(N_SITES, (2, N_EDGES)), pack_rotations(vectors, L_MAX, M_MAX), rotations


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packed_rotations_equal_the_definition(dtype: torch.dtype, threads: None) -> None:
    vectors = torch.randn(N_EDGES, 3, dtype=dtype)
    vectors[0], vectors[1] = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, -0.5]])
    found = pack_rotations(vectors, 4, 2)
    expected = edge_frames._pack_rotations(vectors, 4, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_frames_hold_turned_features() -> None:
    ends, frames, rotations = _edges(torch.float64)
    x, factors = torch.randn(N_SITES, 16, 8).double(), torch.randn(N_EDGES, 4, 16).double()
    turned = torch.cat([torch.block_diag(*(r[5] for r in rotations)) @ x[end[5]] for end in ends], dim=1)
    found = to_frames(x, ends, frames, factors, M_MAX)
    for rows, of_m in zip(KEPT, found, strict=True):
        degree = [int(row**0.5) for row in rows]
        torch.testing.assert_close(of_m[5], turned[rows] * factors[5, degree])


@pytest.mark.parametrize(
    ("dtype", "channels"), [(torch.float32, 32), (torch.float64, 8), (torch.float32, 8)], ids=["f32", "f64", "odd"]
)
def test_loops_equal_the_definition(dtype: torch.dtype, channels: int, threads: None) -> None:
    """Values and all derivatives; a number of channels that fills no register is none of the loops' business."""
    ends, frames, _ = _edges(dtype)
    x = torch.randn(N_SITES, 16, channels, dtype=dtype, requires_grad=True)
    factors = torch.randn(N_EDGES, 4, 2 * channels, dtype=dtype, requires_grad=True)
    weights = [torch.randn(N_EDGES, len(rows), 2 * channels, dtype=dtype) for rows in KEPT]
    found = []
    for way in (to_frames, edge_frames._to_frames):
        turned = way(x, ends, frames, factors, M_MAX)
        total = torch.stack([(a * b).sum() for a, b in zip(turned, weights, strict=True)]).sum()
        found.append([*turned, *torch.autograd.grad(total, [x, factors])])
    _check(*found)

    gates = torch.randn(N_EDGES, 4, channels, dtype=dtype, requires_grad=True)
    further = [7, 0, 0]  # columns that do not count
    values = [
        torch.randn(N_EDGES, len(rows) * channels + more, dtype=dtype, requires_grad=True)
        for rows, more in zip(KEPT, further, strict=True)
    ]
    before, weight = torch.randn(2, N_SITES, 16, channels, dtype=dtype)
    before.requires_grad_()
    found = []
    for ways in (to_sites, edge_frames._to_sites):
        sums = ways(before.clone(), values, ends[1:], frames, gates)
        found.append([sums, *torch.autograd.grad((sums * weight).sum(), [before, gates, *values])])
    _check(*found)


def _check(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.abs().max() > 0.1
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_no_edges_bring_nothing() -> None:
    x = torch.randn(2, 16, 16)
    ends, frames = torch.empty(2, 0, dtype=torch.long), pack_rotations(torch.empty(0, 3), L_MAX, M_MAX)
    turned = to_frames(x, ends, frames, torch.empty(0, 4, 32), M_MAX)
    assert [tuple(of_m.shape) for of_m in turned] == [(0, 4, 32), (0, 6, 32), (0, 4, 32)]
    values = [torch.empty(0, len(rows) * 16) for rows in KEPT]
    assert torch.equal(to_sites(x.clone(), values, ends[1:], frames, torch.empty(0, 4, 16)), x)


def test_which_edges_the_loops_take() -> None:
    x, frames, factors = torch.zeros(1, 1, 32), torch.zeros(1, 3), torch.zeros(1, 1, 32)
    assert edge_frames._compiled(x, frames, factors)
    assert not edge_frames._compiled(x[..., :24], frames, factors)
    assert not edge_frames._compiled(x.double(), frames, factors)
    assert not edge_frames._compiled(x, frames.requires_grad_(), factors)
