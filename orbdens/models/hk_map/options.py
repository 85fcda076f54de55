"""Options of the Hohenberg-Kohn map. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orbdens.config import Config, ModelOptions, ObjectiveOptions
from orbdens.models.basis_options import BasisConfig

Positive = Annotated[float, Field(gt=0)]
Some = Annotated[list[Positive], Field(min_length=1)]


class HKMapConfig(ModelOptions):
    """Coefficients of atom-centred orbitals of one composition, from a potential of Gaussians on its atoms."""

    kind: Literal["hk_map"] = Field("hk_map", description="kernel ridge regression from potential to density")
    basis: BasisConfig = Field(default_factory=BasisConfig, description="the orbitals of each element")


class HKMapObjective(ObjectiveOptions):
    """Values from which cross-validation chooses those with the smallest error of the density."""

    widths: Some = Field([0.3, 0.6, 1.0], description="Å; widths γ of the Gaussians exp(−r²/2γ²) of the potential")
    lengths: Some = Field(
        [2.0, 5.0, 15.0, 50.0], description="lengths of the kernel over the median distance of training potentials"
    )
    ridges: Some = Field([1e-10, 1e-8, 1e-6, 1e-4, 1e-2], description="ridges of the regression")


class HKMapRun(Config):
    """A run of the Hohenberg-Kohn map."""

    model: HKMapConfig
    objective: HKMapObjective = Field(default_factory=HKMapObjective)
