"""The network: residual blocks between a first and a last convolution, with one long skip, all circular."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from orbdens.models.grids import folded, unfolded


class ResidualNetwork(nn.Module):
    """[n, n_channels, nx, ny, nz] to [n, nx, ny, nz], on grids that repeat along all axes.

    As B. Lim et al., arXiv:1707.02921 (EDSR), in three dimensions: no batch norm, no ReLU behind a block. Its values
    are zero before training.

    Args:
        n_channels: input channels.
        channels: feature maps.
        blocks: residual blocks.
        kernel: points along each axis of a convolution.
        fold: blocks of so many points along each axis go in and come out as channels.
        instance_norm: normalise feature maps over the grid behind each convolution of a block.
    """

    def __init__(
        self, n_channels: int, channels: int, blocks: int, kernel: int, fold: int, instance_norm: bool
    ) -> None:
        super().__init__()
        self.fold = fold
        self.first = Circular(n_channels * fold**3, channels, kernel)
        self.blocks = nn.ModuleList(ResidualBlock(channels, kernel, instance_norm) for _ in range(blocks))
        self.behind = Circular(channels, channels, kernel)
        self.last = Circular(channels, fold**3, kernel)
        nn.init.zeros_(self.last.convolution.weight)
        assert self.last.convolution.bias is not None
        nn.init.zeros_(self.last.convolution.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Values on each point, float32 [n, nx, ny, nz], from inputs, float [n, n_channels, nx, ny, nz]."""
        first = self.first(folded(inputs, self.fold).contiguous(memory_format=torch.channels_last_3d))
        x = first
        for block in self.blocks:
            x = block(x)
        x = first + self.behind(x)
        with torch.autocast(x.device.type, enabled=False):
            values = unfolded(self.last(x.float()), self.fold)
        return values[:, 0]


class Circular(nn.Module):
    """A convolution on a grid that repeats along all axes."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, kernel)
        self.ends = [kernel // 2] * 6

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.convolution(functional.pad(x, self.ends, mode="circular"))
        return result


class ResidualBlock(nn.Module):
    """What two convolutions with a ReLU between them give is added to what goes in."""

    def __init__(self, channels: int, kernel: int, instance_norm: bool) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(Circular(channels, channels, kernel) for _ in range(2))
        self.norms = nn.ModuleList(
            nn.InstanceNorm3d(channels, affine=True) if instance_norm else nn.Identity() for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.norms[0](self.convolutions[0](x)))
        result: Tensor = x + self.norms[1](self.convolutions[1](inner))
        return result
