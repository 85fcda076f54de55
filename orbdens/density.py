"""Densities as functions of space: values at points and on grids, and observables of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from orbdens.devices import Device
from orbdens.errors import UserError
from orbdens.expectation import Expectation
from orbdens.formats.cube import write_cube
from orbdens.grid import THICKNESS, Grid
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
from orbdens.metrics import MARGIN, SPACING
from orbdens.points import checked_points, checked_tensor
from orbdens.sampling import draw_points
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.pyscf.integrals import Functions

SLAB = 4_000_000
"""Points of a grid evaluated at once, which bounds the memory."""


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

    @overload
    def at(self, points: Tensor) -> Tensor: ...

    @overload
    def at(self, points: ArrayLike) -> NDArray[np.float32]: ...

    def at(self, points: ArrayLike | Tensor) -> NDArray[np.float32] | Tensor:
        """Density in e/Å³ [n_points], float32, at points in Å [n_points, 3].

        Arrays, lists and the like give an array. A tensor gives a tensor on the device that it is on, without
        derivatives; a density of orbitals on the same device sends nothing elsewhere for it.

        Raises:
            UserError: the points have another shape, or a coordinate is not a finite number.
        """
        if isinstance(points, Tensor):
            return self.values_at_tensor(checked_tensor(points))
        return self.values_at(checked_points(points))

    @abstractmethod
    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """As ``at``, for an array of points that were checked: what a kind of density has to say."""

    def values_at_tensor(self, points: Tensor) -> Tensor:
        """As ``values_at``, for a tensor and on its device; by way of the processor, unless a density knows better."""
        return torch.from_numpy(self.values_at(points.cpu().double().numpy())).to(points.device)

    def to(self, device: Device) -> Density:
        """The same density, with what can be computed on a device computed there; itself where that is nothing."""
        return self

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
            values[where] = self.values_at(slab.points()).reshape(slab.shape)
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
        return points, volumes, self.values_at(points)

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

    Values and first derivatives come from the device that the coefficients are on. Hessians, potentials, moments and
    other integrals are computed on the processor.

    Attributes:
        structure: what it is the density of.
        site_positions: Å [n_sites, 3].
        site_types: index of each site's type in ``shells`` [n_sites].
        shells: orbitals of each type, float64, on the processor.
        coefficients: float64 [n_coefficients], on any device; sites in order, shells of its type in order, m = -l..l.
            An array of them becomes a tensor.
        cutoff: Å; an orbital is zero farther from its site.
        expectation, warnings, valence_electrons: as ``Density`` says.
        backend: kernels of values and first derivatives, see ``kernels/README.md``; ``auto`` goes by the device.
    """

    structure: Structure
    site_positions: NDArray[np.float64]
    site_types: NDArray[np.int64]
    shells: Shells
    coefficients: Tensor
    cutoff: float | None
    expectation: Expectation | None = None
    warnings: tuple[str, ...] = ()
    valence_electrons: Mapping[str, int] | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.coefficients, Tensor):
            object.__setattr__(self, "coefficients", torch.tensor(self.coefficients, dtype=torch.float64))

    @cached_property
    def _centre(self) -> NDArray[np.float64]:
        """Where the kernels have their origin, Å [3]: far from the atoms single precision would lose digits."""
        return self.site_positions.mean(axis=0) if len(self.site_positions) else np.zeros(3)

    def to(self, device: Device) -> OrbitalDensity:
        return replace(self, coefficients=self.coefficients.to(device.place), backend=device.backend)

    @property
    def device(self) -> torch.device:
        """Where the coefficients are."""
        return self.coefficients.device

    def _made(self, device: torch.device, dtype: torch.dtype) -> Orbitals:
        """The orbitals about the centre, on a device."""
        cell = self.structure.cell
        return Orbitals.of_structure(
            torch.as_tensor(self.site_positions - self._centre).to(device, dtype),
            torch.as_tensor(self.site_types).to(device),
            self.shells.to(device, dtype),
            self.coefficients.to(device, dtype)[:, None],
            cutoff=self.cutoff,
            cell=None if cell is None else torch.as_tensor(cell).to(device),
            pbc=None if cell is None else self.structure.pbc,
        )

    @cached_property
    def _orbitals(self) -> Orbitals:
        """In double precision on the processor."""
        return self._made(torch.device("cpu"), torch.float64)

    @cached_property
    def _double(self) -> Orbitals:
        """In double precision where the coefficients are."""
        return self._orbitals if self.device.type == "cpu" else self._made(self.device, torch.float64)

    @cached_property
    def _single(self) -> Orbitals:
        """In single precision where the coefficients are."""
        return self._made(self.device, torch.float32)

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._values(torch.from_numpy(points - self._centre)).numpy()
        return values

    def values_at_tensor(self, points: Tensor) -> Tensor:
        return self._values(points.double() - torch.as_tensor(self._centre).to(points.device))

    def _values(self, places: Tensor) -> Tensor:
        """At places about the centre, which go to the coefficients' device, and back from there, slab by slab."""
        values = torch.empty(len(places), dtype=torch.float32, device=places.device)
        for begin in range(0, len(places), SLAB):
            part = slice(begin, begin + SLAB)
            there = places[part].to(self.device, torch.float32)
            values[part] = orbital_fields(self._single, there, backend=self.backend)[:, 0]
        return values

    def derivatives_at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Density e/Å³ [n_points], its gradient e/Å⁴ [n_points, 3] and Laplacian e/Å⁵ [n_points], all analytic.

        Args:
            points: Å [n_points, 3].

        Raises:
            UserError: as ``at``.
        """
        places = torch.as_tensor(checked_points(points) - self._centre).to(self.device)
        found = orbital_field_derivatives(self._double, places, backend=self.backend)
        values, gradient, laplacian = (field[..., 0].cpu().numpy() for field in found)
        return values, gradient, laplacian

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
            self._single,
            torch.as_tensor(grid.origin - self._centre),
            torch.as_tensor(grid.steps),
            grid.shape,
            backend=self.backend,
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
