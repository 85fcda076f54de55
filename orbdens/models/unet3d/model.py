"""The 3D U-Net of the project's origin: Gaussians on a grid in, the density on that grid out.

As its authors describe it: one Gaussian channel per atom (or per element), a mixing layer, encoders of convolution,
batch norm, ReLU and max-pooling, decoders with up-convolutions and skip connections, a plain last layer, L2 loss. By
options it starts from free atoms, which are known between its points too, and learns what they lack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.models.grid_model import GridModel
from orbdens.models.unet3d.network import UNet3d
from orbdens.models.unet3d.options import UNetConfig
from orbdens.structure import Structure


class UNetModel(GridModel):
    """Predicts molecules; a periodic structure is a ``UserError``.

    Facts: those of every network on a grid, and ``channels`` (a symbol per input channel).
    """

    config: UNetConfig

    def __init__(self, config: UNetConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        n_channels = len(facts["channels"]) + config.promolecule
        self.network = UNet3d(n_channels, config.features, config.depth, config.fold, config.norm)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        """As for any network on a grid.

        Raises:
            UserError: a periodic structure or, with a channel per atom, other atoms or another order than in training.
        """
        if any(structure.periodic for structure in structures):
            raise UserError("the U-Net works on molecules, but this structure is periodic")
        return super().encode(structures, n_electrons)

    def inputs(self, structure: Structure, grid: Grid, free: NDArray[np.float32] | None) -> Tensor:
        """Atoms as Gaussians that hold their valence electrons, summed by channel, then free atoms if it starts there.

        In units of the scale. Gaussians are products of one factor per axis of the grid.
        """
        symbols = structure.symbols
        channels: list[str] = self.facts["channels"]
        if self.config.channels_per == "atom" and symbols != channels:
            raise UserError(
                f"this U-Net has a channel for each of the atoms {', '.join(channels)} in this order, "
                f"not for {', '.join(symbols)}"
            )
        width = self.config.gaussian_width
        factors: list[NDArray[np.float32]] = []
        for axis in range(3):
            points = grid.origin[axis] + grid.steps[axis, axis] * np.arange(grid.shape[axis])
            distances = (points - structure.positions[:, axis, None]) / width
            factors.append((np.exp(-0.5 * distances**2) / (width * math.sqrt(2 * math.pi))).astype(np.float32))
        electrons = np.array([self.facts["valence_electrons"][symbol] for symbol in symbols], dtype=np.float32)
        factors[0] *= (electrons / np.float32(self.facts["scale"]))[:, None]
        inputs = np.empty((len(channels) + (free is not None), *grid.shape), dtype=np.float32)
        for channel, name in enumerate(channels):
            of_element = [atom for atom, symbol in enumerate(symbols) if symbol == name]
            atoms = [channel] if self.config.channels_per == "atom" else of_element
            x, y, z = (factor[atoms] for factor in factors)
            plane = (x[:, :, None] * y[:, None, :]).reshape(len(atoms), grid.shape[0] * grid.shape[1])
            inputs[channel] = (plane.T @ z).reshape(grid.shape)
        if free is not None:
            inputs[-1] = free / np.float32(self.facts["scale"])
        return torch.from_numpy(inputs)
