"""The linear map by oneDNN against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from orbdens.models.linear import ROWS, Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, 12), (ROWS, 2, 12), (3, 12), (0, 12), (12,)])
def test_linear_is_torchs(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(1)
    ours = Linear(12, 7, bias=bias)
    theirs = nn.Linear(12, 7, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape, requires_grad=True)
    weights = torch.randn(*shape[:-1], 7)
    found = []
    for linear in (ours, theirs):
        (linear(x) * weights).sum().backward()
        assert x.grad is not None
        found.append([linear(x).detach(), x.grad, *(p.grad for p in linear.parameters())])
        x.grad = None
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_many_rows_go_to_onednn() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    linear = Linear(4, 4)
    assert "_Linear" in type(linear(torch.randn(ROWS, 2, 4)).grad_fn.next_functions[0][0]).__name__
    assert "_Linear" not in type(linear(torch.randn(ROWS - 1, 4)).grad_fn).__name__
