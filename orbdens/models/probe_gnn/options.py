"""Options of the probe-point network. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orbdens.config import Config, ModelOptions, ObjectiveOptions, TrainingConfig


class ProbeConfig(ModelOptions):
    """A network that is asked at points: atoms exchange messages, and every point hears from the atoms around it."""

    kind: Literal["probe_gnn"] = Field("probe_gnn", description="the probe-point network")
    channels: int = Field(32, ge=4, description="features of an atom per angular momentum component")
    layers: int = Field(2, ge=1, description="layers of messages between atoms")
    l_max: int = Field(3, ge=1, le=6, description="highest angular momentum of the features of atoms")
    cutoff: float = Field(4.0, gt=0.5, le=100, description="Å; atoms nearer than this exchange messages")
    radial_functions: int = Field(8, ge=4, description="Bessel functions that describe the distance of two atoms")
    point_cutoff: float = Field(5.0, gt=0.5, le=20, description="Å; a point hears from the atoms nearer than this")
    min_exponent: float = Field(0.25, gt=0, description="Å⁻²; of the most diffuse Gaussian in a message to a point")
    max_exponent: float = Field(64.0, gt=0, description="Å⁻²; of the sharpest")
    beta: float = Field(2.0, gt=1.05, le=4.0, description="ratio of neighbouring exponents")
    fields: int = Field(32, ge=1, description="scalars that a point receives")
    hidden: int = Field(64, ge=1, description="width of the network that reads the density from these")

    @model_validator(mode="after")
    def _exponents_ascend(self) -> ProbeConfig:
        if self.max_exponent < self.min_exponent:
            raise ValueError("max_exponent should not be below min_exponent")
        return self


class ProbeObjective(ObjectiveOptions):
    """The probe-point network minimises the mean |Δ| on fresh points, an unbiased estimate of the NMAE."""

    points_per_structure: int = Field(1000, ge=16, description="points that a step draws per structure")


class ProbeRun(Config):
    """A run of the probe-point network."""

    model: ProbeConfig
    objective: ProbeObjective = Field(default_factory=ProbeObjective)
    training: TrainingConfig
