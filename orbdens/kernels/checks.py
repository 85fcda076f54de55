"""Checks of tensors: one ValueError, which names the argument, instead of nonsense."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, *shape: int | str) -> None:
    """Raise ValueError unless a tensor has this shape, in which a word stands for any length."""
    right = len(shape) == tensor.ndim
    if not right or any(isinstance(n, int) and n != m for n, m in zip(shape, tensor.shape, strict=True)):
        raise ValueError(f"{name}: expected shape [{', '.join(map(str, shape))}], got {list(tensor.shape)}")


def check_numbers(name: str, tensor: Tensor, like: Tensor, like_name: str) -> None:
    """Raise ValueError unless a tensor has the precision and device of another and holds finite numbers only."""
    if tensor.dtype != like.dtype or tensor.device != like.device:
        raise ValueError(
            f"{name}: expected {like.dtype} on {like.device} like {like_name}, got {tensor.dtype} on {tensor.device}"
        )
    check_finite(name, tensor)


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError where there is a NaN or an infinite value."""
    numbers = tensor.detach()
    # A sum is quicker, but may overflow.
    if not math.isfinite(float(numbers.sum())) and not bool(numbers.isfinite().all()):
        raise ValueError(f"{name}: contains NaN or infinite values")


def check_pointers(name: str, ptr: Tensor, count: int) -> None:
    """Raise ValueError unless int64 pointers [n + 1] rise from 0 to ``count``."""
    good = ptr.ndim == 1 and ptr.numel() >= 1 and ptr.dtype == torch.int64
    values = ptr.cpu().numpy()
    if not good or values[0] != 0 or values[-1] != count or (values[1:] < values[:-1]).any():
        raise ValueError(f"{name}: expected int64 numbers rising from 0 to {count}")
