"""Options of the kernel regression on atomic environments. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orbdens.config import Config, ModelOptions, ObjectiveOptions
from orbdens.models.basis_options import BasisConfig


class SoapConfig(ModelOptions):
    """Coefficients of atom-centred orbitals by Gaussian-process regression on equivariant power spectra."""

    kind: Literal["soap_gpr"] = Field("soap_gpr", description="kernel regression on atomic environments")
    basis: BasisConfig = Field(default_factory=BasisConfig, description="the orbitals of each element")
    cutoff: float = Field(4.5, gt=0.5, le=20, description="Å; atoms nearer than this make an atom's environment")
    smoothing: float = Field(0.5, gt=0, description="Å; over this length before the cut-off an atom fades out")
    gaussian_width: float = Field(0.3, gt=0.05, description="Å; standard deviation of the Gaussian each atom is")
    radial_functions: int = Field(6, ge=1, le=20, description="radial functions of the expansion of an environment")
    angular_degree: int = Field(5, ge=1, le=12, description="highest degree of that expansion")
    components: int = Field(
        600, ge=8, description="components of the power spectrum that are kept for each l, by farthest-point selection"
    )
    environments: int = Field(200, ge=1, description="sparse environments of each element, by farthest-point selection")
    exponent: float = Field(
        3.0, ge=1, description="power of the kernel of l = 0; those of higher l are multiplied by one less of it"
    )


class SoapObjective(ObjectiveOptions):
    """The regression minimises ‖ρ − ρ_fit‖² over the training structures plus a ridge on the weights."""

    ridge: float = Field(1e-4, gt=0, description="weight of the ridge, e²/Å³ for a weight of one: the noise assumed")
    iterations: int = Field(150, ge=1, description="most steps of the conjugate gradients that solve the regression")
    tolerance: float = Field(1e-4, gt=0, lt=1, description="they end once the residual has fallen by this factor")


class SoapRun(Config):
    """A run of the kernel regression on atomic environments."""

    model: SoapConfig
    objective: SoapObjective = Field(default_factory=SoapObjective)
