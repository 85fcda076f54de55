"""Densities that begin with free atoms: which stores they go with, and corrections on a grid that are added to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orbdens.density import Density, OrbitalDensity
from orbdens.devices import Device
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.observables.free_atoms import free_atom
from orbdens.store import Manifest
from orbdens.structure import Structure


def free_atom_facts(manifest: Manifest, symbols: Collection[str]) -> dict[str, Any]:
    """Facts of a model whose densities begin with free atoms: ``valence_electrons`` and ``density``, their kind.

    Args:
        manifest: that of the training records' store.
        symbols: the elements that the model shall know.

    Raises:
        UserError: there is no free atom of an element, or it has other electrons than in the store.
    """
    electrons = {symbol: manifest.valence_electrons[symbol] for symbol in symbols}
    for symbol, expected in electrons.items():
        free = free_atom(symbol, "all-electron" if manifest.density == "all-electron" else "valence").n_electrons
        if round(free) != expected:
            raise UserError(
                f"{symbol} brings {expected} electrons into the densities of this store, but {free:.0f} as a free atom "
                "with a GTH pseudopotential: a model that begins with free atoms cannot learn from it"
            )
    return {"valence_electrons": electrons, "density": manifest.density}


def correction_at(label: Density, free: OrbitalDensity, points: ArrayLike) -> NDArray[np.float32]:
    """What has to be added to free atoms at points in Å [n_points, 3] to give a label density, e/Å³ [n_points].

    Of a label on a grid this difference is interpolated, and not the label, which is sharper near nuclei.
    """
    native = label.native_grid
    if native is None:
        difference: NDArray[np.float32] = label.at(points) - free.at(points)
        return difference
    return GridDensity(label.structure, native, label.on(native) - free.on(native)).at(points)


@dataclass(frozen=True, eq=False)
class CorrectedDensity(Density):
    """Free atoms, known at every point, and a correction on a grid, which is smooth: tricubic in between, zero outside.

    Attributes:
        structure: what it is the density of.
        free: its free atoms.
        correction: what is added to them.
        warnings, valence_electrons: as ``Density`` says.
    """

    structure: Structure
    free: OrbitalDensity
    correction: GridDensity
    warnings: tuple[str, ...] = ()
    valence_electrons: Mapping[str, int] | None = None

    def to(self, device: Device) -> CorrectedDensity:
        return replace(self, free=self.free.to(device))

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self.free.values_at(points) + self.correction.values_at(points)
        return values

    def on(self, grid: Grid) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self.free.on(grid) + self.correction.on(grid)
        return values

    def multipoles(self, origin: NDArray[np.float64], l_max: int) -> NDArray[np.float64]:
        return self.free.multipoles(origin, l_max) + self.correction.multipoles(origin, l_max)

    @property
    def n_electrons(self) -> float:
        return self.free.n_electrons + self.correction.n_electrons

    @property
    def dipole(self) -> NDArray[np.float64]:
        return self.free.dipole + self.correction.dipole
