"""Features of sites and what is the same for all rows of an l: factors on them, and sums over them.

Features are [n_sites, (l_max + 1)², channels], component m of l in row l² + l + m. Both functions are derivatives of
one trilinear form, Σ a · b · factors over sites, rows and channels: ``scale_degrees`` by a or b, ``multiply_degrees``
by the factors. Processors have compiled loops for it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from orbdens.kernels.pairs.edge_frames import LANES


def scale_degrees(x: Tensor, factors: Tensor) -> Tensor:
    """Features [n_sites, (l_max + 1)², channels] times factors for each l [n_sites, l_max + 1, channels]."""
    if not _suit(x, factors):
        return x * factors.index_select(1, _degrees(x.shape[1], x.device))
    result: Tensor = _Scale.apply(x, factors) if torch.is_grad_enabled() else _scaled(x, factors)  # type: ignore[no-untyped-call]
    return result


def multiply_degrees(a: Tensor, b: Tensor) -> Tensor:
    """Products of features [n_sites, (l_max + 1)², channels], summed over m [n_sites, l_max + 1, channels]."""
    if not _suit(a, b):
        product = a * b
        sums = product.new_zeros(len(a), math.isqrt(a.shape[1]), a.shape[2])
        return sums.index_add(1, _degrees(a.shape[1], a.device), product)
    result: Tensor = _Multiply.apply(a, b) if torch.is_grad_enabled() else _multiplied(a, b)  # type: ignore[no-untyped-call]
    return result


def row_degrees(l_max: int) -> Tensor:
    """l of every row of features [(l_max + 1)²]."""
    return torch.cat([torch.full((2 * l + 1,), l) for l in range(l_max + 1)])


@lru_cache
def _degrees(rows: int, device: torch.device) -> Tensor:
    return row_degrees(math.isqrt(rows) - 1).to(device)


def _suit(first: Tensor, second: Tensor) -> bool:
    """Whether the compiled loops take these."""
    dtype = first.dtype
    return (
        dtype in LANES
        and second.dtype == dtype
        and first.device.type == second.device.type == "cpu"
        and first.shape[2] % LANES[dtype] == 0
    )


def _scaled(x: Tensor, factors: Tensor) -> Tensor:
    from orbdens.kernels.cpu.degrees import run, scale  # Numba takes a while to import

    return run(scale, x, factors, LANES[x.dtype], torch.empty_like(x, memory_format=torch.contiguous_format))


def _multiplied(a: Tensor, b: Tensor) -> Tensor:
    from orbdens.kernels.cpu.degrees import multiply, run  # Numba takes a while to import

    return run(multiply, a, b, LANES[a.dtype], a.new_empty(len(a), math.isqrt(a.shape[1]), a.shape[2]))


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor) -> Tensor:
        ctx.save_for_backward(x, factors)
        return _scaled(x, factors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, factors = ctx.saved_tensors
        return _scaled(grad, factors), _multiplied(grad, x)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _multiplied(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return _scaled(b, grad), _scaled(a, grad)
