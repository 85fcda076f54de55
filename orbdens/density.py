"""Densities as functions of space: values at points and on grids, and observables of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from orbdens.electrons import electrons_on_grid
from orbdens.errors import UserError
from orbdens.expectation import Expectation
from orbdens.formats.cube import write_cube
from orbdens.grid import EDGE, THICKNESS, Grid
from orbdens.kernels import (
    Metric,
    Orbitals,
    Shells,
    metric_product,
    moved_multipoles,
    orbital_field_derivatives,
    orbital_field_hessians,
    orbital_field_integrals,
    orbital_field_moments,
    orbital_field_transforms,
    orbital_fields,
    orbital_fields_on_grid,
    orbital_potentials,
    site_multipoles,
    solid_harmonics,
)
from orbdens.metrics import MARGIN, SPACING, electronic_dipole
from orbdens.sampling import draw_points, draw_voxels
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.pyscf.integrals import Functions

SLAB = 4_000_000
"""Points of a grid evaluated at once, which bounds the memory."""


def checked_points(points: ArrayLike) -> NDArray[np.float64]:
    """Points in Å as float64 [n_points, 3].

    Raises:
        UserError: they have another shape, or a coordinate is not a finite number.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError("expected points as numbers of shape [n_points, 3], but got something else") from None
    if array.ndim != 2 or array.shape[1] != 3:
        raise UserError(f"expected points of shape [n_points, 3], but got {list(array.shape)}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise UserError(f"the coordinates of point {bad[0] + 1} of {len(array)} are not finite numbers")
    return array


def slabs_of(grid: Grid, axis: int = 0) -> Iterator[Grid]:
    """Parts of a grid of about ``SLAB`` points along an axis, in order; not so thin that kernels are slow on them."""
    for _, slab in grid.slabs(max(SLAB, THICKNESS * grid.n_points // grid.shape[axis]), axis):
        yield slab


def check_molecule(structure: Structure, what: str) -> None:
    """Raise UserError for a periodic structure, whose dipole, say, depends on where one cuts it."""
    if structure.periodic:
        raise UserError(f"{structure.formula} is periodic, and the {what} of a periodic structure is not defined")


class Density(ABC):
    """The electron density of one structure."""

    structure: Structure
    expectation: Expectation | None = None
    """What the model expects of the errors of this density, where it can tell."""
    warnings: tuple[str, ...] = ()
    """What makes a prediction an extrapolation, beside unfamiliar atoms and bonds: phrases."""
    valence_electrons: Mapping[str, int] | None = None
    """Electrons that a neutral atom brings into the density, by symbol: the charges of the cores; None if not known."""
    has_cores: bool = False
    """Whether it is known to hold all electrons: sharp at nuclei, where no regular grid can integrate it."""

    @property
    def expected_error(self) -> float | None:
        """NMAE in % to expect, where the model can tell."""
        return None if self.expectation is None else self.expectation.error

    @property
    def expected_errors(self) -> NDArray[np.float64] | None:
        """Errors to expect near each atom, in % of its electrons [n_atoms]; see ``Expectation``."""
        return None if self.expectation is None else self.expectation.atom_errors

    @property
    def unfamiliar(self) -> tuple[str, ...]:
        """Atoms and bonds unlike the training data: ``N3`` is the third atom, ``C1-N3`` its bond to the first."""
        return () if self.expectation is None else self.expectation.unfamiliar(self.structure)

    @abstractmethod
    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        """Density in e/Å³ [n_points] at points in Å [n_points, 3].

        Raises:
            UserError: the points have another shape, or a coordinate is not a finite number.
        """

    @property
    @abstractmethod
    def n_electrons(self) -> float:
        """The integral of the density over all space, or over the cell."""

    @property
    @abstractmethod
    def dipole(self) -> NDArray[np.float64]:
        """Electronic first moment −∫ρ r dr in e·Å [3]; add the nuclear charges' own for the molecule's dipole.

        Raises:
            UserError: the structure is periodic.
        """

    def on(self, grid: Grid) -> NDArray[np.float32]:
        """Density in e/Å³ on a given grid, an array of its shape."""
        values = np.empty(grid.shape, dtype=np.float32)
        for where, slab in grid.slabs(SLAB):
            values[where] = self.at(slab.points()).reshape(slab.shape)
        return values

    def slabs(self, grid: Grid, axis: int = 0) -> Iterator[NDArray[np.float32]]:
        """``on(grid)`` in slabs along one of its axes, in order: in memory there are never more than a few planes."""
        for slab in slabs_of(grid, axis):
            yield self.on(slab)

    def multipoles(self, origin: NDArray[np.float64], l_max: int) -> NDArray[np.float64]:
        """∫ρ S_lm(r − origin) dr in e·Å^l [(l_max + 1)²], index l² + l + m, of the harmonics of ``kernels/README.md``.

        Args:
            origin: Å [3].
            l_max: highest l.

        Raises:
            UserError: the structure is periodic.
        """
        grid = self.native_grid
        assert grid is not None  # those that know no grid know better
        check_molecule(self.structure, "multipole")
        total = np.zeros((l_max + 1) ** 2)
        for where, slab in grid.slabs(SLAB):
            harmonics = solid_harmonics(l_max, torch.as_tensor(slab.points() - origin)).numpy()
            total += self.on(grid)[where].reshape(-1).astype(np.float64) @ harmonics * grid.volume_element
        return total

    def second_derivatives_at(
        self, points: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Density e/Å³ [n_points], gradient e/Å⁴ [n_points, 3] and Hessian e/Å⁵ [n_points, 3, 3], all analytic.

        Args:
            points: Å [n_points, 3].

        Raises:
            UserError: as ``at``, or the density is known on a grid alone.
        """
        raise UserError(f"derivatives of {self.structure.formula} need a density of orbitals, not values on a grid")

    def coulomb_at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """∫ρ(r')/|r − r'| dr' in e/Å [n_points] and its gradient in e/Å² [n_points, 3], both in closed form.

        Args:
            points: Å [n_points, 3].

        Raises:
            UserError: as ``at``, the structure is periodic, or the density is known on a grid alone.
        """
        raise UserError(f"the potential of {self.structure.formula} needs a density of orbitals, not values on a grid")

    def self_interaction(self) -> float:
        """∫∫ρ(r)ρ(r')/|r − r'| dr dr' in e²/Å, in closed form.

        Raises:
            UserError: the density is known on a grid alone.
        """
        raise UserError(f"the energy of {self.structure.formula} needs a density of orbitals, not values on a grid")

    @property
    def native_grid(self) -> Grid | None:
        """The grid on which this density is known; None where it is known at every point."""
        return None

    @property
    def native_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The points at which alone this density is known, Å [n, 3], and their volumes, Å³ [n]; None for all others."""
        return None

    @property
    def tabulated(self) -> bool:
        """Whether it is known by its values on a grid or at points, so that its integrals are sums over these."""
        return self.native_grid is not None or self.native_points is not None

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        """Points drawn by importance, so that Σ w f estimates ∫ f dr without bias.

        Returns:
            Points in Å [n, 3], the volume w each stands for in Å³ [n], and the density there in e/Å³ [n].
        """
        points, volumes = draw_points(self.structure, n, rng, self.has_cores)
        return points, volumes, self.at(points)

    def projections(self, functions: Functions, metric: Metric = "overlap") -> NDArray[np.float64] | None:
        """⟨χ_k|ρ⟩ in a metric for Gaussian functions on any sites [n], where it is known in closed form; else None.

        In Å^(−3/2) in the overlap metric, in Å^(1/2) in the Coulomb metric.
        """
        return None

    def suited_grid(self, spacing: float = SPACING, margin: float = MARGIN) -> Grid:
        """The grid of the given spacing and margin (Å) that suits this density: around the structure, or its cell.

        Raises:
            UserError: no grid has such a spacing or margin.
        """
        return Grid.around(self.structure, spacing, margin)

    def on_grid(self, spacing: float = SPACING, margin: float = MARGIN) -> tuple[Grid, NDArray[np.float32]]:
        """``suited_grid(spacing, margin)``, and the density on it.

        Raises:
            UserError: as ``suited_grid``.
        """
        grid = self.suited_grid(spacing, margin)
        return grid, self.on(grid)

    def to_cube(self, path: str | Path, spacing: float = SPACING, margin: float = MARGIN) -> None:
        """Write a Gaussian cube file (Bohr, e/Bohr³); spacing and margin in Å.

        Raises:
            UserError: as ``suited_grid``, or the file cannot be written.
        """
        grid = self.suited_grid(spacing, margin)
        write_cube(Path(path), self.structure, grid, self.slabs(grid))


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
        expectation, warnings, valence_electrons: as ``Density`` says.
    """

    structure: Structure
    site_positions: NDArray[np.float64]
    site_types: NDArray[np.int64]
    shells: Shells
    coefficients: NDArray[np.float64]
    cutoff: float | None
    expectation: Expectation | None = None
    warnings: tuple[str, ...] = ()
    valence_electrons: Mapping[str, int] | None = None

    @cached_property
    def _centre(self) -> NDArray[np.float64]:
        """Where the kernels have their origin, Å [3]: far from the atoms single precision would lose digits."""
        return self.site_positions.mean(axis=0) if len(self.site_positions) else np.zeros(3)

    @cached_property
    def _orbitals(self) -> Orbitals:
        """Everything in double precision, about the centre."""
        cell = self.structure.cell
        return Orbitals.of_structure(
            torch.as_tensor(self.site_positions - self._centre),
            torch.as_tensor(self.site_types),
            self.shells,
            torch.as_tensor(self.coefficients)[:, None],
            cutoff=self.cutoff,
            cell=None if cell is None else torch.as_tensor(cell),
            pbc=None if cell is None else self.structure.pbc,
        )

    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        places = torch.as_tensor(checked_points(points) - self._centre, dtype=torch.float32)
        result: NDArray[np.float32] = orbital_fields(self._orbitals.to(dtype=torch.float32), places)[:, 0].numpy()
        return result

    def derivatives_at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Density e/Å³ [n_points], its gradient e/Å⁴ [n_points, 3] and Laplacian e/Å⁵ [n_points], all analytic.

        Args:
            points: Å [n_points, 3].

        Raises:
            UserError: as ``at``.
        """
        places = torch.as_tensor(checked_points(points) - self._centre)
        values, gradient, laplacian = orbital_field_derivatives(self._orbitals, places)
        return values[:, 0].numpy(), gradient[:, :, 0].numpy(), laplacian[:, 0].numpy()

    def second_derivatives_at(
        self, points: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        places = torch.as_tensor(checked_points(points) - self._centre)
        values, gradients, hessians = orbital_field_hessians(self._orbitals, places)
        return values[:, 0].numpy(), gradients[:, :, 0].numpy(), hessians[..., 0].numpy()

    def coulomb_at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        check_molecule(self.structure, "potential")
        values, gradients = orbital_potentials(self._orbitals, torch.as_tensor(checked_points(points) - self._centre))
        return values.numpy(), gradients.numpy()

    def self_interaction(self) -> float:
        of_orbitals = metric_product(self._orbitals, "coulomb")
        return float((self._orbitals.coefficients * of_orbitals).sum())

    def site_multipoles(self, l_max: int) -> NDArray[np.float64]:
        """``multipoles`` of the orbitals of each site about it, e·Å^l [n_sites, (l_max + 1)²]."""
        check_molecule(self.structure, "multipole")
        result: NDArray[np.float64] = site_multipoles(self._orbitals, l_max).numpy()
        return result

    def multipoles(self, origin: NDArray[np.float64], l_max: int) -> NDArray[np.float64]:
        of_sites = torch.from_numpy(self.site_multipoles(l_max))
        moved = moved_multipoles(of_sites, torch.as_tensor(self.site_positions - origin))
        result: NDArray[np.float64] = moved.sum(0).numpy()
        return result

    def on(self, grid: Grid) -> NDArray[np.float32]:
        values = orbital_fields_on_grid(
            self._orbitals.to(dtype=torch.float32),
            torch.as_tensor(grid.origin - self._centre),
            torch.as_tensor(grid.steps),
            grid.shape,
        )
        result: NDArray[np.float32] = values.reshape(grid.shape).numpy()
        return result

    @property
    def n_electrons(self) -> float:
        return float(orbital_field_integrals(self._orbitals))

    @property
    def dipole(self) -> NDArray[np.float64]:
        check_molecule(self.structure, "dipole")
        first: NDArray[np.float64] = orbital_field_moments(self._orbitals)[0, :, 0].numpy()
        return -(first + self.n_electrons * self._centre)

    def suited_grid(self, spacing: float = SPACING, margin: float = MARGIN) -> Grid:
        """As for any field, for a molecule moved by at most a quarter step so that sums over it are integrals.

        By Poisson's formula the sum of a density over a grid is its integral plus Σ_G ρ̂(G) exp(iG·origin) over the
        grid's reciprocal vectors. The largest terms, of the shortest G along each axis, vanish at the right origin.
        """
        centred = super().suited_grid(spacing, margin)
        if self.structure.periodic:
            return centred
        waves = np.diag(2 * np.pi / np.diagonal(centred.steps))
        transforms = orbital_field_transforms(self._orbitals, torch.as_tensor(waves))[0, :, 0].numpy()
        lengths = np.diagonal(waves)
        phases = np.angle(transforms) + lengths * (centred.origin - self._centre)
        # The nearest zeros of cos(phase + |G| shift), and of two equally near the upper one, whatever the rounding.
        even = 1e-6
        shifts = ((np.pi - phases - even) % np.pi - np.pi / 2 + even) / lengths
        return Grid(centred.origin + shifts, centred.steps, centred.shape)


@dataclass(frozen=True, eq=False)
class GridDensity(Density):
    """Values on a grid, tricubic in between and zero outside; along the vectors that the structure repeats, periodic.

    Attributes:
        structure: what it is the density of.
        grid: where the values are.
        values: e/Å³, of the grid's shape.
        warnings, valence_electrons, has_cores: as ``Density`` says.
    """

    structure: Structure
    grid: Grid
    values: NDArray[np.float32]
    warnings: tuple[str, ...] = ()
    valence_electrons: Mapping[str, int] | None = None
    has_cores: bool = False

    @property
    def native_grid(self) -> Grid:
        return self.grid

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        return draw_voxels(self.grid, self.values, n, rng)

    def on(self, grid: Grid) -> NDArray[np.float32]:
        place = self.grid.place_of(grid)
        return super().on(grid) if place is None else self.values[place]

    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        from scipy.ndimage import map_coordinates  # a fifth of a second that densities of orbitals do without

        index = (checked_points(points) - self.grid.origin) @ np.linalg.inv(self.grid.steps)
        mode = "grid-wrap" if self.structure.periodic else "constant"
        result: NDArray[np.float32] = map_coordinates(self.values, index.T, order=3, mode=mode, output=np.float32)
        if self.structure.periodic:  # of the vacuum beside a slab there are no images
            free = index[:, ~np.array(self.structure.pbc)]
            last = np.array(self.grid.shape)[~np.array(self.structure.pbc)] - 1
            result[((free < -EDGE) | (free > last + EDGE)).any(axis=1)] = 0
        return result

    @property
    def n_electrons(self) -> float:
        return electrons_on_grid(self.values, self.grid.steps)

    @property
    def dipole(self) -> NDArray[np.float64]:
        check_molecule(self.structure, "dipole")
        return electronic_dipole(self.grid, self.values)
