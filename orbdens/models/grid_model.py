"""A network on a grid as a model: free atoms and other fields on the points in, a density out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbdens.density import Density, OrbitalDensity
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.models.grid_options import GridOptions
from orbdens.models.grids import network_grid, of_one_shape
from orbdens.models.interface import DensityModel
from orbdens.models.promolecules import CorrectedDensity
from orbdens.observables.free_atoms import charged_promolecule
from orbdens.structure import Structure


class GridModel(DensityModel):
    """Gives a density on a grid or, with ``config.on_promolecule``, what is added to free atoms there.

    Facts: ``valence_electrons``, ``scale`` (rms of what the network shall give on the grids of training records,
    e/Å³) and, with free atoms, ``density`` (``valence`` or ``all-electron``).

    Attributes:
        network: float [n, n_channels, nx, ny, nz] to values in units of the scale, float32 [n, nx, ny, nz].
    """

    equivariant: ClassVar[bool] = False
    config: GridOptions
    network: nn.Module

    def __init__(self, config: GridOptions, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.exact_electrons = config.exact_electrons

    def free_atoms(self, structure: Structure) -> OrbitalDensity | None:
        """What the network's values are added to; None for nothing."""
        return charged_promolecule(structure, self.facts["density"]) if self.config.on_promolecule else None

    @abstractmethod
    def inputs(self, structure: Structure, grid: Grid, free: NDArray[np.float32] | None) -> Tensor:
        """What the network gets, float32 [n_channels, nx, ny, nz].

        Args:
            structure: a structure.
            grid: the points.
            free: density of its free atoms there, e/Å³ [nx, ny, nz], if the network's values are added to them.
        """

    def values(self, inputs: Tensor) -> Tensor:
        """The network's values in units of the scale [n, nx, ny, nz], for inputs on grids of one shape."""
        result: Tensor = self.network(inputs)
        return result

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        """Densities known on the network's own grids or, where they begin with free atoms, at every point."""
        grids = [network_grid(structure, self.config) for structure in structures]
        free = [self.free_atoms(structure) for structure in structures]
        densities: dict[int, Density] = {}
        for members in of_one_shape(grids):
            fields = [None if (atoms := free[i]) is None else atoms.on(grids[i]) for i in members]
            inputs = [self.inputs(structures[i], grids[i], field) for i, field in zip(members, fields, strict=True)]
            outputs = self.values(torch.stack(inputs).to(self.device)).detach().cpu().numpy() * self.facts["scale"]
            for i, field, values in zip(members, fields, outputs, strict=True):
                if self.exact_electrons:
                    values = scaled_to(n_electrons[i], values, free[i], field, grids[i])
                densities[i] = self._density(structures[i], grids[i], values.astype(np.float32), free[i])
        return [densities[i] for i in range(len(structures))]

    def _density(
        self, structure: Structure, grid: Grid, values: NDArray[np.float32], free: OrbitalDensity | None
    ) -> Density:
        warnings, electrons = self.warnings(structure), self.facts["valence_electrons"]
        on_grid = GridDensity(structure, grid, values, warnings, electrons)
        return on_grid if free is None else CorrectedDensity(structure, free, on_grid, warnings, electrons)


def scaled_to(
    n_electrons: int,
    values: NDArray[np.floating],
    free: OrbitalDensity | None,
    field: NDArray[np.float32] | None,
    grid: Grid,
) -> NDArray[np.float64]:
    """A network's values, changed in proportion to the whole density so that this holds ``n_electrons``.

    Args:
        n_electrons: what it must hold.
        values: e/Å³, added to free atoms if there are any.
        free: these.
        field: their density on the grid, e/Å³.
        grid: the points.
    """
    exact = values.astype(np.float64)
    whole = exact if field is None else exact + field
    missing = n_electrons - (0.0 if free is None else free.n_electrons) - exact.sum() * grid.volume_element
    return exact + whole * (missing / (whole.sum() * grid.volume_element))
