"""A measured crystal: its cell, its symmetry and the atoms that symmetry does not give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Crystal:
    """The asymmetric unit of a crystal and its space group.

    Attributes:
        name: as its file calls it.
        parameters: a, b, c in Å and α, β, γ in degrees [6].
        rotations: of all symmetry operations, on fractions; the identity first, int64 [n_operations, 3, 3].
        translations: fractions [n_operations, 3].
        labels: names of the atoms, each its own.
        numbers: atomic numbers [n_atoms]; deuterium is hydrogen.
        fractions: fractional positions [n_atoms, 3].
        occupancies: of the atoms [n_atoms], one where all cells have it.
        groups: which of several alternatives an atom belongs to, 0 for none; alternatives of a negative number are not
            bound to their own images by symmetry [n_atoms].
        assemblies: names of the disordered parts in which groups are alternatives; may be empty.
        displacements: mean square displacements U in Å² along the reciprocal axes, in the order 11, 22, 33, 12, 13, 23
            [n_atoms, 6]; isotropic atoms have U in the first three and NaN after them.
        wavelength: of the X-rays, Å; None if it is not known.
    """

    name: str
    parameters: NDArray[np.float64]
    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]
    labels: tuple[str, ...]
    numbers: NDArray[np.int64]
    fractions: NDArray[np.float64]
    occupancies: NDArray[np.float64]
    groups: NDArray[np.int64]
    assemblies: tuple[str, ...]
    displacements: NDArray[np.float64]
    wavelength: float | None = None

    @property
    def n_atoms(self) -> int:
        return len(self.labels)

    @property
    def cell(self) -> NDArray[np.float64]:
        """Lattice vectors as rows, Å [3, 3]: a along x, b in the plane of x and y."""
        from ase.geometry import cellpar_to_cell

        cell: NDArray[np.float64] = cellpar_to_cell(self.parameters, ab_normal=(0, 0, 1), a_direction=(1, 0, 0))
        return cell

    @property
    def isotropic(self) -> NDArray[np.bool_]:
        """Atoms whose displacement is the same in all directions [n_atoms]."""
        return np.isnan(self.displacements[:, 3:]).any(axis=1)

    @property
    def disordered(self) -> NDArray[np.bool_]:
        """Atoms that not every cell has, or not there [n_atoms]."""
        return (self.groups != 0) | (self.occupancies < 0.999)

    def wave_vectors(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Wave vectors 2π(h a* + k b* + l c*) in Å⁻¹ of Miller indices, both [n_reflections, 3]."""
        vectors: NDArray[np.float64] = 2 * np.pi * indices @ np.linalg.inv(self.cell).T
        return vectors

    def spacings(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances d in Å of the lattice planes of Miller indices [n_reflections]."""
        spacings: NDArray[np.float64] = 2 * np.pi / np.linalg.norm(self.wave_vectors(indices), axis=1)
        return spacings

    def equivalents(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The reflections that symmetry or Friedel's law makes equivalent to given ones, each once [n, 3]."""
        images = np.concatenate([indices @ rotation for rotation in np.unique(self.rotations, axis=0)])
        return np.unique(np.concatenate([images, -images]), axis=0)

    def reflections(self, d_min: float) -> NDArray[np.int64]:
        """All reflections but 0 0 0 from planes no closer than ``d_min`` Å, Friedel's mates too [n, 3]."""
        limits = np.floor(np.linalg.norm(self.cell, axis=1) / d_min + 1e-9).astype(int)
        box = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in limits), indexing="ij"), axis=-1).reshape(-1, 3)
        box = box[box.any(axis=1)]
        return box[self.spacings(box) >= d_min - 1e-9]
