"""Points of a grid, made piece by piece where they are wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def grid_points(
    part: tuple[int, int], origin: Tensor, steps: Tensor, shape: tuple[int, int, int], like: Tensor
) -> Tensor:
    """Some points of the grid ``origin + i steps[0] + j steps[1] + k steps[2]``, numbered with the last step fastest.

    Args:
        part: number of the first one, and of the one after the last.
        origin: [3], Å, and steps: [3, 3], Å; float64, on any device.
        shape: points along each step.
        like: a tensor whose device and precision the points get; they are computed in float64.

    Returns:
        [n_points, 3], Å.
    """
    index = torch.arange(*part, device=like.device)
    triple = torch.stack([index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]], 1)
    return (origin.to(like.device) + triple.double() @ steps.to(like.device)).to(like.dtype)
