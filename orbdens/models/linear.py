"""A linear map of many rows, by oneDNN: torch's own way leaves half of an AMD processor idle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ROWS = 256
"""Fewer rows are as fast by torch's own way, which has less to begin with."""


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [n, inputs] times the transpose of a weight [outputs, inputs], plus a bias [outputs]."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    """The same with its derivatives, which are products of the same kind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _by_onednn(grad, weight.t(), None) if of_x else None,
            _by_onednn(grad.t(), x.t(), None) if of_weight else None,
            grad.sum(0) if of_bias else None,
        )


class Linear(nn.Linear):
    """``torch.nn.Linear``, twice as fast on AMD's processors for many rows: ``python -m benchmarks.linear``.

    torch multiplies matrices by MKL, which on AMD's processors uses half of their vector units (AVX2 where there is
    AVX-512); oneDNN, which comes with torch as well, uses all of them.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _suits(x):
            return super().forward(x)
        multiply = _Linear.apply if torch.is_grad_enabled() else _by_onednn
        result: Tensor = multiply(x.flatten(0, -2), self.weight, self.bias)
        return result.reshape(*x.shape[:-1], -1)


def _suits(x: Tensor) -> bool:
    """Whether oneDNN should multiply these rows: many, single precision, on a processor, and no lower one asked for."""
    return (
        x.ndim > 1
        and x.numel() >= ROWS * x.shape[-1]
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
