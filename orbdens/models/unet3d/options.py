"""Options of the 3D U-Net. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orbdens.config import Config, TrainingConfig
from orbdens.models.grid_options import GridObjective, GridOptions


class UNetConfig(GridOptions):
    """3D U-Net on a grid with one Gaussian input channel per element or atom."""

    kind: Literal["unet3d"] = Field("unet3d", description="the 3D U-Net")
    channels_per: Literal["element", "atom"] = Field(
        "element", description="one Gaussian input channel per element, or per atom (one composition, fixed atom order)"
    )
    gaussian_width: float = Field(0.5, gt=0, description="Å; standard deviation of the input Gaussians")
    promolecule: bool = Field(
        False, description="the density of free atoms as a further input, to which the network's values are added"
    )
    features: int = Field(8, ge=1, description="feature maps of the first encoder; each deeper one has twice as many")
    depth: int = Field(3, ge=1, le=6, description="how often the grid is halved")
    norm: Literal["batch", "instance"] = Field(
        "batch", description="feature maps are normalised over a batch in training, or over each structure always"
    )

    @property
    def multiple(self) -> int:
        return self.fold * 2**self.depth

    @property
    def on_promolecule(self) -> bool:
        return self.promolecule

    @property
    def reach(self) -> float:
        """Å along an axis beyond which an atom cannot change a value: half the receptive field.

        Every convolution of 3 adds a point of its level on each side, four of them a level but two in the deepest, and
        a point more for where pooling and folding put their blocks.
        """
        points = sum(4 * 2**level for level in range(self.depth)) + 2 * 2**self.depth + 2**self.depth - 1
        return (self.fold * points + self.fold - 1) * self.spacing


class UNetObjective(GridObjective):
    """What the U-Net minimises."""

    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate (hurts, beside either norm, hence off)")


class UNetRun(Config):
    """A run of the 3D U-Net."""

    model: UNetConfig
    objective: UNetObjective = Field(default_factory=UNetObjective)
    training: TrainingConfig
