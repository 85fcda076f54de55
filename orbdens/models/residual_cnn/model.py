"""The residual CNN of Li et al.: free atoms on a grid in, the density out, as in the super-resolution of images.

It sees nothing but the density of free atoms, so that elements and charges are no part of its shape: it can be trained
further on others. Molecules are in a box that repeats, crystals in their own cell, of any shape.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.grid import Grid
from orbdens.models.grid_model import GridModel
from orbdens.models.residual_cnn.network import ResidualNetwork
from orbdens.models.residual_cnn.options import ResidualConfig
from orbdens.structure import Structure


class ResidualModel(GridModel):
    """Predicts molecules and crystals; nowhere is its density negative on its grid.

    Facts: those of every network on a grid.
    """

    takes_new_elements: ClassVar[bool] = True
    config: ResidualConfig

    def __init__(self, config: ResidualConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.network = ResidualNetwork(
            1, config.channels, config.blocks, config.kernel, config.fold, config.instance_norm
        )
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def inputs(self, structure: Structure, grid: Grid, free: NDArray[np.float32] | None) -> Tensor:
        """The density of free atoms, e/Å³ [1, nx, ny, nz]."""
        assert free is not None
        return torch.from_numpy(free[None])

    def values(self, inputs: Tensor) -> Tensor:
        """As the network gives them, but never less than leaves no density."""
        return torch.maximum(super().values(inputs), -inputs[:, 0] / self.facts["scale"])
