"""What a store holds: records of physics, and the basis their orbitals are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.structure import Structure

SITE_ARRAYS: Mapping[str, type] = {
    "shell_ptr": int,
    "shell_l": int,
    "primitive_ptr": int,
    "exponents": float,
    "weights": float,
}
"""Arrays of a table of orbitals, and the kind of their numbers."""


@dataclass(frozen=True)
class LabelShell:
    """A contracted shell: 2l + 1 functions S_lm(r) · Σ_p weights[p] · exp(−exponents[p] r²), in Å^(−3/2).

    S_lm = r^l Y_lm are orthonormal real solid harmonics in the order m = −l..l; r and all else in Å. The weights
    hold every normalisation factor.
    """

    l: int
    exponents: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class LabelBasis:
    """The orbitals (AOs) in which a store's occupied orbitals are written: the shells of each element by symbol.

    The AOs of a structure are its atoms in order, the shells of the atom's element in order, m = −l..l.
    """

    elements: Mapping[str, tuple[LabelShell, ...]]

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Elements by atomic number; an element's place here is its type in ``shell_arrays``."""
        from ase.data import atomic_numbers

        return tuple(sorted(self.elements, key=lambda symbol: int(atomic_numbers[symbol])))

    @cached_property
    def type_of_element(self) -> dict[int, int]:
        """Type (place in ``symbols``) of an atomic number."""
        from ase.data import atomic_numbers

        return {int(atomic_numbers[symbol]): i for i, symbol in enumerate(self.symbols)}

    def types(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Types [n_atoms] of atomic numbers [n_atoms].

        Raises:
            UserError: an element has no shells here.
        """
        try:
            return np.array([self.type_of_element[int(z)] for z in numbers], dtype=np.int64)
        except KeyError as missing:
            from ase.data import chemical_symbols

            symbol = chemical_symbols[missing.args[0]]
            raise UserError(f"the label basis has no {symbol}, only {', '.join(self.symbols)}") from None

    @cached_property
    def _n_ao_of_type(self) -> NDArray[np.int64]:
        return np.array([sum(2 * shell.l + 1 for shell in self.elements[symbol]) for symbol in self.symbols])

    def n_ao(self, numbers: NDArray[np.int64]) -> int:
        """Number of AOs of a structure with these atomic numbers [n_atoms]."""
        return int(self._n_ao_of_type[self.types(numbers)].sum()) if len(numbers) else 0

    @cached_property
    def shell_arrays(self) -> dict[str, NDArray[Any]]:
        """The shells of all types as flat arrays, named and laid out as ``orbdens.kernels.Shells`` has them."""
        flat = [shell for symbol in self.symbols for shell in self.elements[symbol]]
        return {
            "shell_ptr": np.cumsum([0, *(len(self.elements[symbol]) for symbol in self.symbols)]),
            "shell_l": np.array([shell.l for shell in flat], dtype=np.int64),
            "primitive_ptr": np.cumsum([0, *(len(shell.exponents) for shell in flat)]),
            "exponents": np.array([exponent for shell in flat for exponent in shell.exponents], dtype=np.float64),
            "weights": np.array([weight for shell in flat for weight in shell.weights], dtype=np.float64),
        }

    def to_json(self) -> dict[str, Any]:
        """Element symbol -> list of {l, exponents, weights}."""
        return {
            symbol: [{"l": s.l, "exponents": [*s.exponents], "weights": [*s.weights]} for s in self.elements[symbol]]
            for symbol in self.symbols
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> LabelBasis:
        """The inverse of ``to_json``; raises KeyError, TypeError or ValueError when the tree has another form."""
        return cls(
            {
                symbol: tuple(
                    LabelShell(
                        int(s["l"]), tuple(float(a) for a in s["exponents"]), tuple(float(w) for w in s["weights"])
                    )
                    for s in shells
                )
                for symbol, shells in tree.items()
            }
        )


@dataclass(frozen=True)
class SiteOrbitals:
    """The orbitals in which the coefficient records of a store are written.

    Attributes:
        arrays: shells of each type of site, named and laid out as ``orbdens.kernels.Shells`` has them.
        cutoff: Å; an orbital is zero farther from its site; None: nowhere.
    """

    arrays: Mapping[str, tuple[float, ...]]
    cutoff: float | None

    def n_coefficients(self, site_types: NDArray[np.int32]) -> int:
        """Number of coefficients of sites of these types [n_sites].

        Raises:
            UserError: there is no such type here.
        """
        n_of_type = self._n_of_type
        if len(site_types) and not 0 <= site_types.min() <= site_types.max() < len(n_of_type):
            raise UserError(f"it has sites of types that are none of the {len(n_of_type)} of the store")
        return int(n_of_type[site_types].sum())

    @cached_property
    def _n_of_type(self) -> NDArray[np.int64]:
        ends = np.cumsum([0, *(2 * l + 1 for l in self.arrays["shell_l"])])
        result: NDArray[np.int64] = np.diff(ends[np.array(self.arrays["shell_ptr"], dtype=np.int64)])
        return result

    def to_json(self) -> dict[str, Any]:
        """Arrays by their names, and ``cutoff``."""
        return {"cutoff": self.cutoff, **{name: [*array] for name, array in self.arrays.items()}}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> SiteOrbitals:
        """The inverse of ``to_json``; raises KeyError, TypeError or ValueError when the tree has another form."""
        cutoff = tree["cutoff"]
        arrays = {name: tuple(kind(x) for x in tree[name]) for name, kind in SITE_ARRAYS.items()}
        return cls(arrays, None if cutoff is None else float(cutoff))


@dataclass(frozen=True, eq=False)
class OrbitalRecord:
    """A density as occupied orbitals: ρ(r) = Σ_i occupations[i] · (Σ_μ orbitals[μ, i] · AO_μ(r))².

    Attributes:
        structure: atoms, charge, multiplicity.
        orbitals: float32 [n_ao, n_occupied], rows in the order of the store's label basis.
        occupations: electrons per orbital, float32 [n_occupied].
        energy: Hartree.
        dipole: dipole of the whole molecule, nuclei (or cores) included, e·Å [3].
        spins: spins of an unrestricted calculation, +1 for an orbital of spin up and -1 for one of spin down, int8
            [n_occupied]; with them as factors the sum above is the spin density. None: both spins share each orbital.
    """

    structure: Structure
    orbitals: NDArray[np.float32]
    occupations: NDArray[np.float32]
    energy: float | None = None
    dipole: NDArray[np.float64] | None = None
    spins: NDArray[np.int8] | None = None


@dataclass(frozen=True, eq=False)
class GridRecord:
    """A density on a regular grid.

    Attributes:
        structure: atoms, cell, charge, multiplicity.
        origin: place of the first point, Å [3].
        steps: step vectors as rows, Å [3, 3].
        values: e/Å³ [nx, ny, nz], float32 or float16.
        spin_values: density of up minus density of down electrons, e/Å³ [nx, ny, nz].
        energy: Hartree.
        dipole: e·Å [3].
    """

    structure: Structure
    origin: NDArray[np.float64]
    steps: NDArray[np.float64]
    values: NDArray[np.float32] | NDArray[np.float16]
    spin_values: NDArray[np.float32] | NDArray[np.float16] | None = None
    energy: float | None = None
    dipole: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class PointsRecord:
    """A density that is known at points alone, each of which stands for a volume: Σ weights f(points) is ∫ f dr.

    Attributes:
        structure: atoms, cell, charge, multiplicity.
        points: Å [n_points, 3].
        weights: Å³ [n_points].
        values: e/Å³ [n_points], float32.
        energy: Hartree.
        dipole: e·Å [3].
    """

    structure: Structure
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    values: NDArray[np.float32]
    energy: float | None = None
    dipole: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class CoefficientRecord:
    """A density as a sum of Gaussian orbitals about sites, as a model predicts it; their table is in the manifest.

    Attributes:
        structure: atoms, charge, multiplicity.
        site_positions: Å [n_sites, 3].
        site_types: rows of the manifest's ``site_orbitals``, int32 [n_sites].
        coefficients: sites in order, shells of its type in order, m = −l..l, float32 [n_coefficients].
        expected: what the model expects of the errors, by the names of ``orbdens.expectation``; empty where it cannot.
        warnings: what makes the prediction an extrapolation, in words.
        energy: None; models predict none.
        dipole: None; it follows from the coefficients.
    """

    structure: Structure
    site_positions: NDArray[np.float64]
    site_types: NDArray[np.int32]
    coefficients: NDArray[np.float32]
    expected: Mapping[str, NDArray[Any]]
    warnings: tuple[str, ...] = ()
    energy: None = None
    dipole: None = None


Record = OrbitalRecord | GridRecord | PointsRecord | CoefficientRecord
