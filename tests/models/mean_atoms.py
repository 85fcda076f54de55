"""A model of somebody else, in one file: every element has one round Gaussian, fitted by least squares to densities.

Written against the documented interface alone; nothing of it is a network and nothing takes gradient steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from orbdens.config import Config, ModelOptions
from orbdens.density import Density, OrbitalDensity
from orbdens.kernels import Shells
from orbdens.labels import stored_density
from orbdens.models.interface import DensityModel
from orbdens.models.registry import Registration
from orbdens.models.task import FitTask, TrainingData
from orbdens.structure import Structure


class MeanAtomsOptions(ModelOptions):
    kind: Literal["mean-atoms"] = Field("mean-atoms", description="one Gaussian an element")
    exponent: float = Field(5.0, gt=0, description="Å⁻²; of all Gaussians")


class MeanAtomsRun(Config):
    model: MeanAtomsOptions


class MeanAtoms(DensityModel):
    equivariant: ClassVar[bool] = False  # but for the exact electron count it would be

    def __init__(self, config: MeanAtomsOptions, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.elements = sorted(facts["valence_electrons"])
        self.register_buffer("heights", torch.zeros(len(self.elements), dtype=torch.float64))

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        shells = Shells.from_lists([[(0, [self.config.exponent], [1.0])] for _ in self.elements])
        densities: list[Density] = []
        for structure in structures:
            types = np.array([self.elements.index(symbol) for symbol in structure.symbols])
            coefficients = self.get_buffer("heights")[types]
            densities.append(OrbitalDensity(structure, structure.positions, types, shells, coefficients, None))
        return densities


class MeanAtomsTask(FitTask[MeanAtoms]):
    @classmethod
    def fit(cls, config: MeanAtomsRun, data: TrainingData) -> MeanAtoms:
        model = MeanAtoms(config.model, {"valence_electrons": dict(data.store.manifest.valence_electrons)})
        rows, values = [], []
        for i, key in enumerate(data.keys):
            label = stored_density(data.store, key)
            points, volumes, densities = label.sample(500, np.random.default_rng((config.training.seed, i)))
            columns = []
            for element in range(len(model.elements)):
                model.get_buffer("heights").copy_(torch.eye(len(model.elements))[element])
                columns.append(model.predict(label.structure).at(points))
            rows.append(np.stack(columns, axis=1) * np.sqrt(volumes)[:, None])
            values.append(densities * np.sqrt(volumes))
            data.progress("mean atoms", i + 1, len(data.keys))
        heights = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0]
        model.get_buffer("heights").copy_(torch.from_numpy(heights))
        return model


REGISTRATION = Registration("mean_atoms:MeanAtomsRun", "mean_atoms:MeanAtoms", "mean_atoms:MeanAtomsTask")
