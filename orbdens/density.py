"""Densities as functions of space: values at points and on grids, and observables of them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from orbdens.formats.cube import write_cube
from orbdens.grid import Grid
from orbdens.kernels import (
    Shells,
    orbital_field_derivatives,
    orbital_fields,
    orbital_fields_on_grid,
    solid_harmonics,
)
from orbdens.sampling import draw_points, draw_voxels
from orbdens.structure import Structure

SLAB = 4_000_000
"""Points of a grid evaluated at once, which bounds the memory."""


class Density(ABC):
    """The electron density of one structure."""

    structure: Structure
    expected_error: float | None = None
    """NMAE in % that the model expects of this density, where it can tell."""
    unfamiliar: tuple[str, ...] = ()
    """Atoms whose surroundings are unlike anything in the training data, e.g. ``N3`` for the third atom."""

    @abstractmethod
    def at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Density in e/Å³ [n_points] at points in Å [n_points, 3]."""

    @property
    @abstractmethod
    def n_electrons(self) -> float:
        """The integral of the density over all space."""

    @property
    @abstractmethod
    def dipole(self) -> NDArray[np.float64]:
        """Electronic first moment −∫ρ r dr in e·Å [3]; add the nuclear charges' own for the molecule's dipole."""

    def on(self, grid: Grid) -> NDArray[np.float32]:
        """Density in e/Å³ on a given grid, an array of its shape."""
        values = np.empty(grid.shape, dtype=np.float32)
        for where, slab in grid.slabs(SLAB):
            values[where] = self.at(slab.points()).reshape(slab.shape)
        return values

    @property
    def native_grid(self) -> Grid | None:
        """The grid on which this density is known; None where it is known at every point."""
        return None

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        """Points drawn by importance, so that Σ w f estimates ∫ f dr without bias.

        Returns:
            Points in Å [n, 3], the volume w each stands for in Å³ [n], and the density there in e/Å³ [n].
        """
        points, volumes = draw_points(self.structure, n, rng)
        return points, volumes, self.at(points)

    def suited_grid(self, spacing: float = 0.2, margin: float = 4.0) -> Grid:
        """The grid of the given spacing and margin (Å) that suits this density: around the structure, or its cell."""
        return Grid.around(self.structure, spacing, margin)

    def on_grid(self, spacing: float = 0.2, margin: float = 4.0) -> tuple[Grid, NDArray[np.float32]]:
        """``suited_grid(spacing, margin)``, and the density on it."""
        grid = self.suited_grid(spacing, margin)
        return grid, self.on(grid)

    def to_cube(self, path: str | Path, spacing: float = 0.2, margin: float = 4.0) -> None:
        """Write a Gaussian cube file (Bohr, e/Bohr³); spacing and margin in Å."""
        grid, values = self.on_grid(spacing, margin)
        write_cube(Path(path), self.structure, grid, values)


@dataclass(frozen=True, eq=False)
class OrbitalDensity(Density):
    """A sum of atom-centred Gaussian orbitals.

    Attributes:
        structure: what it is the density of.
        site_positions: Å [n_sites, 3].
        site_types: index of each site's type in ``shells`` [n_sites].
        shells: orbitals of each type, float64.
        coefficients: float64 [n_coefficients]; sites in order, shells of its type in order, m = -l..l.
        cutoff: Å; an orbital is zero farther from its site.
        expected_error, unfamiliar: as ``Density`` says.
    """

    structure: Structure
    site_positions: NDArray[np.float64]
    site_types: NDArray[np.int64]
    shells: Shells
    coefficients: NDArray[np.float64]
    cutoff: float | None
    expected_error: float | None = None
    unfamiliar: tuple[str, ...] = ()

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        sums, limits = self._as_kernels_take_it(points, torch.float32)
        result: NDArray[np.float32] = orbital_fields(*sums, **limits)[:, 0].numpy()
        return result

    def derivatives_at(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Density e/Å³ [n_points], its gradient e/Å⁴ [n_points, 3] and Laplacian e/Å⁵ [n_points], all analytic.

        Args:
            points: Å [n_points, 3].
        """
        sums, limits = self._as_kernels_take_it(points, torch.float64)
        values, gradient, laplacian = orbital_field_derivatives(*sums, **limits)
        return values[:, 0].numpy(), gradient[:, :, 0].numpy(), laplacian[:, 0].numpy()

    def _as_kernels_take_it(self, points: NDArray[np.float64], dtype: torch.dtype) -> tuple[tuple[Any, ...], Any]:
        """Positional arguments and cut-off, cell and pbc of the kernels' functions of points."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        cell = self.structure.cell
        sums = (
            torch.as_tensor(points, dtype=dtype),
            torch.tensor([0, len(points)]),
            torch.as_tensor(self.site_positions, dtype=dtype),
            torch.as_tensor(self.site_types),
            torch.tensor([0, len(self.site_types)]),
            self.shells.to(dtype=dtype),
            torch.as_tensor(self.coefficients, dtype=dtype)[:, None],
        )
        periodic = {}
        if cell is not None:
            periodic = {"cells": torch.as_tensor(cell, dtype=dtype)[None], "pbc": torch.tensor([self.structure.pbc])}
        return sums, {"cutoff": self.cutoff, **periodic}

    def on(self, grid: Grid) -> NDArray[np.float32]:
        cell = self.structure.cell
        values = orbital_fields_on_grid(
            torch.as_tensor(grid.origin),
            torch.as_tensor(grid.steps),
            grid.shape,
            torch.as_tensor(self.site_positions, dtype=torch.float32),
            torch.as_tensor(self.site_types),
            self.shells.to(dtype=torch.float32),
            torch.as_tensor(self.coefficients, dtype=torch.float32)[:, None],
            cutoff=self.cutoff,
            cell=None if cell is None else torch.as_tensor(cell, dtype=torch.float32),
            pbc=None if cell is None else torch.tensor(self.structure.pbc),
        )
        result: NDArray[np.float32] = values.reshape(grid.shape).numpy()
        return result

    @property
    def n_electrons(self) -> float:
        charge, _ = self._moments()
        return float(charge.sum())

    @property
    def dipole(self) -> NDArray[np.float64]:
        charge, first = self._moments()
        result: NDArray[np.float64] = -(charge[:, None] * self.site_positions + first).sum(axis=0)
        return result

    def suited_grid(self, spacing: float = 0.2, margin: float = 4.0) -> Grid:
        """As for any field, for a molecule moved by at most a quarter step so that sums over it are integrals.

        By Poisson's formula the sum of a density over a grid is its integral plus Σ_G ρ̂(G) exp(iG·origin) over the
        grid's reciprocal vectors. The largest terms, of the shortest G along each axis, vanish at the right origin.
        """
        centred = super().suited_grid(spacing, margin)
        if self.structure.periodic:
            return centred
        origin = centred.origin.copy()
        for axis, step in enumerate(np.diagonal(centred.steps)):
            wave = np.zeros(3)
            wave[axis] = 2 * np.pi / step
            phase = np.angle(self._fourier(wave)) + wave @ centred.origin
            # The nearest zero of cos(phase + |G| shift).
            origin[axis] += ((np.pi / 2 - phase + np.pi / 2) % np.pi - np.pi / 2) / wave[axis]
        return Grid(origin, centred.steps, centred.shape)

    def _fourier(self, wave: NDArray[np.float64]) -> complex:
        """∫ρ exp(-ik·r) dr at one wave vector k in 1/Å [3].

        An orbital S_lm(r) e^{-αr²} at R gives 4π (-i)^l √π / (2^(l+2) α^(l+3/2)) S_lm(k) e^{-k²/4α} e^{-ik·R}.
        """
        shells = self.shells
        degree = shells.shell_l.numpy()
        owner = np.repeat(np.arange(len(degree)), np.diff(shells.primitive_ptr.numpy()))
        alpha, weight, l = shells.exponents.numpy(), shells.weights.numpy(), degree[owner]
        radial = weight * np.pi**1.5 / (2**l * alpha ** (l + 1.5)) * np.exp(-(wave @ wave) / (4 * alpha))
        of_shell = np.bincount(owner, radial, len(degree)) * (-1j) ** degree
        harmonics = solid_harmonics(int(degree.max()), torch.as_tensor(wave)[None])[0].numpy()
        of_type = [
            np.concatenate([of_shell[s] * harmonics[degree[s] ** 2 : (degree[s] + 1) ** 2] for s in range(first, last)])
            for first, last in itertools.pairwise(shells.shell_ptr.tolist())
        ]
        phases = np.exp(-1j * self.site_positions @ wave)
        orbitals = np.concatenate([of_type[t] * phase for t, phase in zip(self.site_types, phases, strict=True)])
        return complex(orbitals @ self.coefficients)

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """∫χ and ∫χ (r − R) of each site's part of the density [n_sites], [n_sites, 3].

        Only l = 0 has the one, √(4π) Σ w ∫ r² e^{-αr²} dr, and only l = 1 the other, √(4π/3) Σ w ∫ r⁴ e^{-αr²} dr,
        with ∫ r² e^{-αr²} dr = √π / (4 α^{3/2}) and ∫ r⁴ e^{-αr²} dr = 3√π / (8 α^{5/2}).
        """
        charge = np.zeros(len(self.site_types))
        first = np.zeros((len(self.site_types), 3))
        shell_ptr, shell_l, primitive_ptr, exponents, weights = (
            np.asarray(x)
            for x in (
                self.shells.shell_ptr,
                self.shells.shell_l,
                self.shells.primitive_ptr,
                self.shells.exponents,
                self.shells.weights,
            )
        )
        offset = 0
        for site, kind in enumerate(self.site_types):
            for shell in range(shell_ptr[kind], shell_ptr[kind + 1]):
                primitives = slice(primitive_ptr[shell], primitive_ptr[shell + 1])
                alpha, weight, l = exponents[primitives], weights[primitives], int(shell_l[shell])
                if l == 0:
                    integral = np.sqrt(4 * np.pi) * (weight * np.sqrt(np.pi) / (4 * alpha**1.5)).sum()
                    charge[site] += integral * self.coefficients[offset]
                elif l == 1:
                    integral = np.sqrt(4 * np.pi / 3) * (weight * 3 * np.sqrt(np.pi) / (8 * alpha**2.5)).sum()
                    y, z, x = self.coefficients[offset : offset + 3]
                    first[site] += integral * np.array([x, y, z])
                offset += 2 * l + 1
        return charge, first


@dataclass(frozen=True, eq=False)
class GridDensity(Density):
    """Values on a grid with orthogonal steps, tricubic in between and zero outside; periodic if the structure is.

    Attributes:
        structure: what it is the density of.
        grid: where the values are.
        values: e/Å³, of the grid's shape.
    """

    structure: Structure
    grid: Grid
    values: NDArray[np.float32]

    @property
    def native_grid(self) -> Grid:
        return self.grid

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        return draw_voxels(self.grid, self.values, n, rng)

    def on(self, grid: Grid) -> NDArray[np.float32]:
        return self.values if grid.same_as(self.grid) else super().on(grid)

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        index = (np.asarray(points).reshape(-1, 3) - self.grid.origin) @ np.linalg.inv(self.grid.steps)
        mode = "grid-wrap" if self.structure.periodic else "constant"
        result: NDArray[np.float32] = map_coordinates(self.values, index.T, order=3, mode=mode, output=np.float32)
        return result

    @property
    def n_electrons(self) -> float:
        return float(self.values.sum(dtype=np.float64) * self.grid.volume_element)

    @property
    def dipole(self) -> NDArray[np.float64]:
        weight = self.values.reshape(-1).astype(np.float64) * self.grid.volume_element
        result: NDArray[np.float64] = -(weight @ self.grid.points())
        return result
