"""Options that all networks on grids have. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orbdens.config import ModelOptions, ObjectiveOptions


class GridOptions(ModelOptions):
    """Where the points of a network on a grid are, and what it must get right."""

    spacing: float = Field(0.4, gt=0.02, description="Å; spacing of the grid the network works on")
    margin: float = Field(4.0, ge=0, description="Å; grid around the atoms")
    fold: int = Field(
        1,
        ge=1,
        le=4,
        description="so many neighbouring points along each axis become channels: the network works on a grid so much "
        "coarser, and gives values on the fine one; 1 leaves them apart",
    )
    exact_electrons: bool = Field(
        False, description="scale predicted densities to the number of electrons they must hold"
    )

    @property
    def multiple(self) -> int:
        """What lengths of the network's grid are whole multiples of, in points."""
        return self.fold

    @property
    def on_promolecule(self) -> bool:
        """Whether the network gives what is added to free atoms, rather than the density."""
        return True


class GridObjective(ObjectiveOptions):
    """What a network on a grid minimises on the points of its grid, and in which orientations."""

    loss: Literal["squares", "magnitudes"] = Field(
        "squares", description="mean squared error, or mean magnitude of the error (what NMAE measures)"
    )
    augmentation: Literal["none", "cube", "rotations"] = Field(
        "none",
        description="show each structure as it is, in the 48 rotations and reflections of a cube, or in any "
        "orientation (crystals as `cube`)",
    )
