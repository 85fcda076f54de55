"""Options of the 3D U-Net. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orbdens.config import Config, ModelOptions, ObjectiveOptions, TrainingConfig


class UNetConfig(ModelOptions):
    """3D U-Net on a grid with one Gaussian input channel per element or atom."""

    kind: Literal["unet3d"] = Field("unet3d", description="the 3D U-Net")
    channels_per: Literal["element", "atom"] = Field(
        "element", description="one Gaussian input channel per element, or per atom (one composition, fixed atom order)"
    )
    gaussian_width: float = Field(0.5, gt=0, description="Å; standard deviation of the input Gaussians")
    spacing: float = Field(0.4, gt=0.02, description="Å; spacing of the grid the network works on")
    margin: float = Field(4.0, ge=0, description="Å; grid around the atoms")
    features: int = Field(8, ge=1, description="feature maps of the first encoder; each deeper one has twice as many")
    depth: int = Field(3, ge=1, le=6, description="how often the grid is halved")


class UNetObjective(ObjectiveOptions):
    """The U-Net minimises the mean squared error on its grid."""

    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate (hurts beside batch norm, hence off)")


class UNetRun(Config):
    """A run of the 3D U-Net."""

    model: UNetConfig
    objective: UNetObjective = Field(default_factory=UNetObjective)
    training: TrainingConfig
