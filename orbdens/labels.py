"""A record as a density: whoever learns from a store or measures on it asks it for values, and not for its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from orbdens.density import Density, OrbitalDensity, check_molecule
from orbdens.electrons import core_charges
from orbdens.errors import UserError
from orbdens.expectation import Expectation
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.kernels import Metric, Orbitals, Shells, density_from_orbitals, orbital_field_hessians, solid_harmonics
from orbdens.points import checked_points
from orbdens.sampling import draw_weighted
from orbdens.store import CoefficientRecord, LabelBasis, Manifest, OrbitalRecord, PointsRecord, Record, Store
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.pyscf.integrals import Functions

SECOND_DERIVATIVES = 20_000
"""Points at which Hessians of all orbitals are held at once, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class LabelDensity(Density):
    """Σ_i n_i |ψ_i|², the exact density of an orbital record: at every point, and its integrals analytic.

    Attributes:
        structure: what it is the density of.
        record: its orbitals and occupations.
        manifest: that of the record's store: the basis of the orbitals, and the electrons of neutral atoms.
    """

    structure: Structure
    record: OrbitalRecord
    manifest: Manifest

    def _orbitals(self, dtype: torch.dtype) -> tuple[NDArray[np.float64], Orbitals]:
        """The occupied orbitals about a centre (Å [3]): far from the atoms single precision would lose digits."""
        basis, structure = self.manifest.orbital_basis, self.structure
        centre = structure.positions.mean(axis=0)
        orbitals = Orbitals.of_structure(
            torch.as_tensor(structure.positions - centre, dtype=dtype),
            torch.as_tensor(basis.types(structure.numbers)),
            label_shells(basis).to(dtype=dtype),
            torch.as_tensor(self.record.orbitals, dtype=dtype),
        )
        return centre, orbitals

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        centre, orbitals = self._orbitals(torch.float32)
        places = torch.as_tensor(points - centre, dtype=torch.float32)
        occupations = torch.as_tensor(self.record.occupations)
        result: NDArray[np.float32] = density_from_orbitals(orbitals, occupations, places).numpy()
        return result

    def second_derivatives_at(
        self, points: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        centre, orbitals = self._orbitals(torch.float64)
        places = torch.as_tensor(checked_points(points) - centre)
        occupations = torch.as_tensor(self.record.occupations, dtype=torch.float64)
        parts = [_density_derivatives(orbitals, occupations, some) for some in torch.split(places, SECOND_DERIVATIVES)]
        values, gradients, hessians = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return values, gradients, hessians

    def coulomb_at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        check_molecule(self.structure, "potential")
        from orbdens.pyscf.potentials import coulomb

        return coulomb(self.record, self.manifest.orbital_basis, checked_points(points))

    def multipoles(self, origin: NDArray[np.float64], l_max: int) -> NDArray[np.float64]:
        check_molecule(self.structure, "multipole")
        from orbdens.pyscf.potentials import multipoles

        return multipoles(self.record, self.manifest.orbital_basis, origin, l_max)

    def self_interaction(self) -> float:
        from orbdens.pyscf.potentials import self_interaction

        return self_interaction(self.record, self.manifest.orbital_basis)

    def projections(self, functions: Functions, metric: Metric = "overlap") -> NDArray[np.float64]:
        from orbdens.pyscf.integrals import projections

        return projections(self.record, self.manifest.orbital_basis, functions, metric)

    @property
    def valence_electrons(self) -> Mapping[str, int]:  # type: ignore[override]  # the class has a constant
        return self.manifest.valence_electrons

    @property
    def has_cores(self) -> bool:  # type: ignore[override]  # as above
        return self.manifest.density == "all-electron"

    @property
    def n_electrons(self) -> float:
        from orbdens.pyscf.integrals import electron_count

        return electron_count(self.record, self.manifest.orbital_basis)

    @property
    def dipole(self) -> NDArray[np.float64]:
        check_molecule(self.structure, "dipole")
        whole = self.record.dipole
        if whole is None:
            from orbdens.pyscf.integrals import dipole

            whole = dipole(self.record, self.manifest)
        return whole - core_charges(self.structure, self.manifest.valence_electrons) @ self.structure.positions


@dataclass(frozen=True, eq=False)
class PointsDensity(Density):
    """A density that is known at the points of a record alone: its integrals are sums over them.

    Attributes:
        structure: what it is the density of.
        record: points, their volumes, and values there.
        valence_electrons, has_cores: as ``Density`` says.
    """

    structure: Structure
    record: PointsRecord
    valence_electrons: Mapping[str, int]
    has_cores: bool

    @property
    def native_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.record.points, self.record.weights

    def values_at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values at the record's own points.

        Raises:
            UserError: these are others.
        """
        if not np.array_equal(points, self.record.points):
            raise UserError(
                f"the density of {self.structure.formula} is known at {len(self.record.points)} points alone, and at "
                "no others"
            )
        return self.record.values

    def sample(
        self, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
        chosen, volumes = draw_weighted(self.record.weights, self.record.values, n, rng)
        return self.record.points[chosen], volumes, self.record.values[chosen]

    def multipoles(self, origin: NDArray[np.float64], l_max: int) -> NDArray[np.float64]:
        check_molecule(self.structure, "multipole")
        harmonics = solid_harmonics(l_max, torch.as_tensor(self.record.points - origin)).numpy()
        result: NDArray[np.float64] = (self.record.weights * self.record.values) @ harmonics
        return result

    @property
    def n_electrons(self) -> float:
        return float(self.record.weights @ self.record.values.astype(np.float64))

    @property
    def dipole(self) -> NDArray[np.float64]:
        check_molecule(self.structure, "dipole")
        result: NDArray[np.float64] = -(self.record.weights * self.record.values) @ self.record.points
        return result


def _density_derivatives(orbitals: Orbitals, occupations: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ n|ψ|² [n_points], its gradient [n_points, 3] and Hessian [n_points, 3, 3]."""
    psi, slopes, hessians = orbital_field_hessians(orbitals, points)
    weighted = 2 * occupations * psi
    products = torch.einsum("nik,njk->nij", 2 * occupations * slopes, slopes)
    return (
        psi.square() @ occupations,
        torch.einsum("nik,nk->ni", slopes, weighted),
        products + torch.einsum("nijk,nk->nij", hessians, weighted),
    )


def label_density(record: Record, manifest: Manifest) -> Density:
    """The density that a record of a store holds: exact at every point, or tabulated on its grid or at its points.

    Args:
        record: a record of any kind.
        manifest: that of its store.
    """
    if isinstance(record, OrbitalRecord):
        return LabelDensity(record.structure, record, manifest)
    if isinstance(record, PointsRecord):
        return PointsDensity(record.structure, record, manifest.valence_electrons, manifest.density == "all-electron")
    if isinstance(record, CoefficientRecord):
        return _of_coefficients(record, manifest)
    nx, ny, nz = record.values.shape
    grid = Grid(record.origin, record.steps, (nx, ny, nz))
    values = record.values.astype(np.float32, copy=False)
    return GridDensity(
        record.structure,
        grid,
        values,
        valence_electrons=manifest.valence_electrons,
        has_cores=manifest.density == "all-electron",
    )


def _of_coefficients(record: CoefficientRecord, manifest: Manifest) -> Density:
    """A prediction that was stored, with what the model expected of it."""
    table = manifest.site_orbitals
    assert table is not None  # which the store made sure of
    return OrbitalDensity(
        structure=record.structure,
        site_positions=record.site_positions,
        site_types=record.site_types.astype(np.int64),
        shells=Shells(**{name: torch.tensor(array) for name, array in table.arrays.items()}).to(dtype=torch.float64),
        coefficients=torch.tensor(record.coefficients, dtype=torch.float64),
        cutoff=table.cutoff,
        expectation=Expectation.from_arrays(record.expected) if record.expected else None,
        warnings=record.warnings,
        valence_electrons=manifest.valence_electrons,
    )


def spin_density(record: Record, manifest: Manifest) -> Density | None:
    """Density of spin up minus that of spin down, as ``label_density``; None for a closed shell.

    Its ``n_electrons`` are the unpaired ones.
    """
    if isinstance(record, OrbitalRecord):
        if record.spins is None:
            return None
        # the stored dipole is that of the whole density
        record = replace(record, occupations=record.occupations * record.spins, spins=None, dipole=None)
        return LabelDensity(record.structure, record, manifest)
    if isinstance(record, PointsRecord | CoefficientRecord) or record.spin_values is None:
        return None
    return label_density(replace(record, values=record.spin_values), manifest)


def stored_density(store: Store, key: str) -> Density:
    """The density of a record of a store.

    Raises:
        UserError: there is no such record, or it is damaged.
    """
    return label_density(store[key], store.manifest)


def label_shells(basis: LabelBasis) -> Shells:
    """The shells of a label basis as the kernels take them, float64; site types are rows of ``basis.symbols``."""
    return Shells(**{name: torch.as_tensor(array) for name, array in basis.shell_arrays.items()})
