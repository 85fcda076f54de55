"""Options of the orbital model. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orbdens.config import Config, ModelOptions, ObjectiveOptions, TrainingConfig
from orbdens.models.basis_options import BasisConfig


class OrbitalConfig(ModelOptions):
    """The orbital model: an equivariant network that outputs coefficients of atom-centred Gaussian orbitals."""

    kind: Literal["orbital"] = Field("orbital", description="the orbital model")
    sites: Literal["atoms", "bonds", "bond-pairs"] = Field(
        "atoms",
        description="where orbitals sit: on atoms; also on bond midpoints, all of one type; or of a type for each pair",
    )
    basis: BasisConfig = Field(default_factory=BasisConfig, description="the orbitals of each site type")
    orbital_cutoff: float | None = Field(
        None,
        gt=0,
        description="Å; an orbital is zero farther from its site than this; null: where the most diffuse has fallen to "
        "1e-6 of its height",
    )
    channels: int = Field(32, ge=4, description="features per angular momentum component")
    layers: int = Field(3, ge=1, description="message-passing layers")
    l_max: int = Field(4, ge=1, le=6, description="highest angular momentum of the features")
    m_max: int = Field(2, ge=0, le=6, description="highest order m mixed in the frame of an edge")
    convolution: Literal["so2", "tensor-product"] = Field(
        "so2",
        description="messages in the frame of each edge (eSCN), or full tensor products with its harmonics (NequIP)",
    )
    cutoff: float = Field(6.0, gt=0.5, le=100, description="Å; sites nearer than this exchange messages")
    radial_functions: int = Field(16, ge=4, description="Bessel functions that describe the length of an edge")
    radial_hidden: int = Field(64, ge=8, description="width of the network that turns edge lengths into weights")
    head: Literal["conditioned", "plain"] = Field(
        "conditioned",
        description="how coefficients are read: in principal components of fits, from averaged atoms on and with the "
        "exact number of electrons; or by linear maps alone, as SCDP has it",
    )
    electrons: Literal["local", "global"] = Field(
        "local",
        description="how that head makes the number of electrons exact: charge moves between neighbours, so that "
        "molecules apart keep their own; or over the whole structure, as up to version 0.1.0",
    )
    learn_exponents: bool = Field(False, description="let the points stage change the exponents of every type")
    scaling_limit: float = Field(
        1.0, ge=1, le=3, description="the network may scale a site's exponents by up to this factor; 1 turns it off"
    )
    displacement_limit: float = Field(
        0.0, ge=0, le=1, description="Å; the network may displace a virtual site by up to this; 0 turns it off"
    )

    @model_validator(mode="after")
    def _orders_fit(self) -> OrbitalConfig:
        tables = [len(shells) - 1 for shells in self.basis.table.values()]
        needed = max([self.basis.l_max, self.basis.virtual.l_max if self.sites != "atoms" else 0, *tables])
        if needed > self.l_max:
            raise ValueError(f"the basis needs features of l = {needed}, but l_max = {self.l_max}")
        return self


class OrbitalObjective(ObjectiveOptions):
    """What the orbital model minimises: first the norm of the error, analytic, then the mean error on points."""

    points_stage: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the run, at its end, that minimises the mean |Δ| on fresh points (grid records: 1); "
        "before it, the norm of the error of orbital records, analytic",
    )
    metric: Literal["overlap", "coulomb"] = Field(
        "overlap",
        description="which norm, and the metric of the fits of labels: overlap is L2, of all-electron densities nearly "
        "all core; coulomb the electrostatic energy of the error",
    )
    points_per_structure: int = Field(4000, ge=16, description="points a step of that stage draws per structure")
    dipole_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the dipole's error in e·Å beside the relative error of the density in that stage "
        "(records with a dipole)",
    )


class OrbitalRun(Config):
    """A run of the orbital model."""

    model: OrbitalConfig
    objective: OrbitalObjective = Field(default_factory=OrbitalObjective)
    training: TrainingConfig

    @model_validator(mode="after")
    def _plain_learns_on_points(self) -> OrbitalRun:
        if self.model.head == "plain" and self.objective.points_stage < 1:
            raise ValueError("model.head=plain learns on points alone: set objective.points_stage=1")
        return self
