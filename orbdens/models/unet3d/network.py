"""The network: encoders and decoders of convolutions, with skip connections between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from orbdens.models.grids import folded, unfolded


class UNet3d(nn.Module):
    """[n, n_channels, nx, ny, nz] to [n, nx, ny, nz]; nx, ny and nz are multiples of ``fold * 2**depth``.

    Args:
        n_channels: input channels.
        features: feature maps after the mixing layer and in the first encoder; twice as many after each pooling.
        depth: how often the grid is halved.
        fold: blocks of so many points along each axis go in and come out as channels.
        norm: ``batch`` or ``instance``.
    """

    def __init__(self, n_channels: int, features: int, depth: int, fold: int = 1, norm: str = "batch") -> None:
        super().__init__()
        self.fold = fold
        widths = [features * 2**level for level in range(depth + 1)]
        upwards = range(depth - 1, -1, -1)
        self.mixing = nn.Conv3d(n_channels * fold**3, features, kernel_size=1)
        self.encoders = nn.ModuleList(
            TwoConvolutions(widths[max(level - 1, 0)], widths[level], norm) for level in range(depth + 1)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(widths[level + 1], widths[level], kernel_size=2, stride=2) for level in upwards
        )
        self.decoders = nn.ModuleList(TwoConvolutions(2 * widths[level], widths[level], norm) for level in upwards)
        self.last = nn.Conv3d(features, fold**3, kernel_size=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Values on each point, float32 [n, nx, ny, nz], from inputs, float [n, n_channels, nx, ny, nz]."""
        x = self.mixing(folded(inputs, self.fold).contiguous(memory_format=torch.channels_last_3d))
        skipped: list[Tensor] = []
        for level, encoder in enumerate(self.encoders):
            if level > 0:
                skipped.append(x)
                x = functional.max_pool3d(x, 2)
            x = encoder(x)
        for up, decoder in zip(self.up, self.decoders, strict=True):
            x = decoder(torch.cat([skipped.pop(), up(x)], dim=1))
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round the peaks at nuclei
            values = unfolded(self.last(x.float()), self.fold)
        return values[:, 0]


class TwoConvolutions(nn.Module):
    """(3x3x3 convolution, norm, ReLU) twice, then dropout of whole feature maps in training."""

    def __init__(self, n_in: int, n_out: int, norm: str) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(n, n_out, kernel_size=3, padding=1, bias=False) for n in (n_in, n_out)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm3d(n_out) if norm == "batch" else nn.InstanceNorm3d(n_out, affine=True) for _ in range(2)
        )
        self.dropout = nn.Dropout3d(0.0)  # its rate is set by the task

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.relu(norm(convolution(x)), inplace=True)
        dropped: Tensor = self.dropout(x)
        return dropped
