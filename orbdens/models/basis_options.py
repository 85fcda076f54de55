"""Options of the basis that models of orbitals share. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from orbdens.config import Options

Positive = Annotated[float, Field(gt=0)]


class VirtualBasisConfig(Options):
    """Orbitals of virtual sites: those of an element, in a window of their own."""

    like: str = Field("O", description="element whose functions in the source basis set the range of exponents")
    beta: float = Field(2.0, gt=1.05, le=4.0, description="ratio of neighbouring exponents")
    l_max: int = Field(2, ge=0, le=6, description="highest angular momentum")
    min_exponent: float = Field(1.0, ge=0, description="Å⁻²; more diffuse functions are left out")
    max_exponent: float = Field(10.0, gt=0, description="Å⁻²; sharper functions are left out")

    def largest_exponent(self, l: int) -> float:
        """Å⁻²; the limit for functions of angular momentum l, the same for all."""
        return self.max_exponent


class BasisConfig(Options):
    """Start exponents: the even-tempered expansion of a PySCF basis by PySCF's rule for density fitting."""

    source: str = Field("def2-qzvppd", description="name of the PySCF basis that sets the ranges of the exponents")
    beta: float = Field(1.6, gt=1.05, le=4.0, description="ratio of neighbouring exponents; smaller is finer")
    l_max: int = Field(4, ge=0, le=6, description="highest angular momentum")
    min_exponent: float = Field(0.0, ge=0, description="Å⁻²; more diffuse functions are left out")
    max_exponent: Positive | list[Positive] = Field(
        72.0,
        description="Å⁻²; sharper functions are left out (cores: pseudopotentials need none); or one for each l = 0, "
        "1, ..., of which the last serves all higher l: all-electron densities need sharp ones in l = 0 alone",
    )
    virtual: VirtualBasisConfig = Field(default_factory=VirtualBasisConfig, description="orbitals of virtual sites")
    table: dict[str, list[list[float]]] = Field(
        default_factory=dict,
        description="exponents in Å⁻² given outright: for a type (`C`, `bond`, `H-C`) a list for each l = 0, 1, ...",
    )

    @model_validator(mode="after")
    def _limits_fit(self) -> BasisConfig:
        if isinstance(self.max_exponent, list) and not 1 <= len(self.max_exponent) <= self.l_max + 1:
            raise ValueError(f"max_exponent should hold 1 to {self.l_max + 1} numbers, one for each l up to l_max")
        return self

    def largest_exponent(self, l: int) -> float:
        """Å⁻²; the limit for functions of angular momentum l."""
        limits = self.max_exponent if isinstance(self.max_exponent, list) else [self.max_exponent]
        return limits[min(l, len(limits) - 1)]
