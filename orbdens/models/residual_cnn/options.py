"""Options of the residual CNN. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orbdens.config import Config, TrainingConfig
from orbdens.models.grid_options import GridObjective, GridOptions


class ResidualConfig(GridOptions):
    """Residual convolutional network on a grid, which sees nothing but the density of free atoms."""

    kind: Literal["residual_cnn"] = Field("residual_cnn", description="the residual convolutional network")
    channels: int = Field(32, ge=1, description="feature maps")
    blocks: int = Field(32, ge=1, description="residual blocks, of two convolutions each")
    kernel: Literal[3, 5] = Field(5, description="points along each axis of a convolution")
    instance_norm: bool = Field(
        False, description="normalise feature maps over each structure's grid; the density then depends on its size"
    )

    @property
    def reach(self) -> float:
        """Å along an axis beyond which an atom cannot change a value: half the receptive field."""
        points = (2 * self.blocks + 3) * (self.kernel // 2)
        return (self.fold * points + self.fold - 1) * self.spacing


class ResidualObjective(GridObjective):
    """What the residual CNN minimises; in 90-degree rotations as its authors train it, and mirrored."""

    augmentation: Literal["none", "cube", "rotations"] = Field(
        "cube", description=GridObjective.model_fields["augmentation"].description
    )


class ResidualRun(Config):
    """A run of the residual CNN."""

    model: ResidualConfig
    objective: ResidualObjective = Field(default_factory=ResidualObjective)
    training: TrainingConfig
