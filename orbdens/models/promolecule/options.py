"""Options of the promolecule. Imports no torch, as nothing does that reads configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orbdens.config import Config, ModelOptions


class PromoleculeConfig(ModelOptions):
    """Free atoms laid over each other; there is nothing to choose."""

    kind: Literal["promolecule"] = Field("promolecule", description="the sum of free atoms, which learns nothing")


class PromoleculeRun(Config):
    """A run of the promolecule, over at once."""

    model: PromoleculeConfig
