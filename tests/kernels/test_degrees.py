"""Factors for each l and sums over m: the compiled loops against the definition."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch

from orbdens.kernels import degrees, multiply_degrees, scale_degrees

SITES, ROWS = 5, 16
DEGREES = [0] + [1] * 3 + [2] * 5 + [3] * 7


@pytest.mark.parametrize(
    ("dtype", "channels"), [(torch.float32, 32), (torch.float64, 8), (torch.float32, 8)], ids=["f32", "f64", "odd"]
)
def test_loops_equal_the_definition(dtype: torch.dtype, channels: int) -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(SITES, ROWS, channels, dtype=dtype, requires_grad=True) for _ in range(2))
    factors = torch.randn(SITES, 4, channels, dtype=dtype, requires_grad=True)
    weight = torch.randn(SITES, ROWS, channels, dtype=dtype)
    found = []
    for taken in (degrees._suit, lambda *_: False):
        with patch.object(degrees, "_suit", taken):
            scaled, sums = scale_degrees(a, factors), multiply_degrees(a, b)
            of_scaled = torch.autograd.grad((scaled * weight).sum(), [a, factors])
            of_sums = torch.autograd.grad((sums * factors.detach()).sum(), [a, b])
            with torch.no_grad():
                found.append([scaled, sums, *of_scaled, *of_sums, scale_degrees(a, factors), multiply_degrees(a, b)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_each_row_gets_the_factor_of_its_degree() -> None:
    factors = torch.arange(4.0)[None, :, None].expand(1, 4, 16).contiguous()
    assert scale_degrees(torch.ones(1, ROWS, 16), factors)[0, :, 3].tolist() == DEGREES
    assert multiply_degrees(torch.ones(1, ROWS, 16), torch.full((1, ROWS, 16), 2.0))[0, :, 5].tolist() == [2, 6, 10, 14]


def test_views_that_are_not_contiguous() -> None:
    x, factors = torch.randn(ROWS, SITES, 16).transpose(0, 1), torch.randn(SITES, 4, 16)
    torch.testing.assert_close(scale_degrees(x, factors), x * factors[:, DEGREES])


def test_no_sites() -> None:
    assert scale_degrees(torch.empty(0, ROWS, 16), torch.empty(0, 4, 16)).shape == (0, ROWS, 16)
    assert multiply_degrees(*[torch.empty(0, ROWS, 16)] * 2).shape == (0, 4, 16)
