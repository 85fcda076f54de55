"""How the U-Net learns."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import nn

from orbdens.errors import UserError
from orbdens.models.grid_task import GridTask
from orbdens.models.task import TrainingData
from orbdens.models.unet3d.model import UNetModel
from orbdens.models.unet3d.options import UNetRun


class UNetTask(GridTask[UNetModel]):
    """As every network on a grid, with dropout; its facts name what its channels are."""

    @classmethod
    def facts(cls, config: UNetRun, data: TrainingData) -> dict[str, Any]:
        """Elements or composition, and the scale, of the records.

        Raises:
            UserError: ``channels_per: atom`` and two compositions or orders of atoms, or a periodic structure.
        """
        first = data.store.structure(data.keys[0]).numbers
        for key in data.keys:
            structure = data.store.structure(key)
            if structure.periodic:
                raise UserError(f"the U-Net works on molecules, but record '{key}' is periodic")
            if config.model.channels_per == "atom" and not np.array_equal(structure.numbers, first):
                raise UserError(
                    f"records '{data.keys[0]}' and '{key}' differ in composition or order of atoms "
                    f"({_listed(first)}; {_listed(structure.numbers)}): set model.channels_per to element"
                )
        facts = super().facts(config, data)
        of_atoms = config.model.channels_per == "atom"
        return {
            **facts,
            "channels": [chemical_symbols[z] for z in first] if of_atoms else [*facts["valence_electrons"]],
        }

    def __init__(self, model: UNetModel, config: UNetRun, data: TrainingData, *, fresh: bool = True) -> None:
        for module in model.modules():
            if isinstance(module, nn.Dropout3d):
                module.p = config.objective.dropout
        super().__init__(model, config, data, fresh=fresh)


def _listed(numbers: NDArray[np.int64]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)
