"""A molecule or crystal: what every model gets to see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError

if TYPE_CHECKING:
    import ase

CLOSEST_ATOMS = 0.1
"""Å; two atoms nearer than this are taken for a mistake in the file."""

HEAVIEST = 118
"""Atomic number of the last element that has a name."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms, cell and total charge.

    Attributes:
        numbers: atomic numbers [n_atoms].
        positions: Å [n_atoms, 3].
        cell: lattice vectors as rows, Å [3, 3]; None for a molecule. Those along which it does not repeat may be zero:
            unit vectors at right angles to the others take their place.
        pbc: along which lattice vectors the structure repeats.
        charge: total charge in e.
        multiplicity: 2S + 1.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    charge: int = 0
    multiplicity: int = 1

    def __post_init__(self) -> None:
        numbers = _array("atomic numbers", self.numbers)
        if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
            raise UserError(f"expected whole atomic numbers, but got {numbers.reshape(-1).tolist()}")
        object.__setattr__(self, "numbers", numbers.astype(np.int64).reshape(-1))
        positions = _array("positions", self.positions)
        if positions.size and positions.shape[-1] != 3:
            raise UserError(f"expected positions [n_atoms, 3], but got an array of shape {positions.shape}")
        object.__setattr__(self, "positions", positions.reshape(-1, 3))
        if len(self.numbers) != len(self.positions):
            raise UserError(f"a structure has {len(self.numbers)} elements but {len(self.positions)} positions")
        object.__setattr__(self, "charge", _whole_number("charge", self.charge))
        object.__setattr__(self, "multiplicity", _whole_number("multiplicity", self.multiplicity, lowest=1))
        if np.shape(self.pbc) != (3,):
            raise UserError(f"expected pbc for each of three lattice vectors, but got {self.pbc}")
        if self.cell is not None:
            cell = _array("cell", self.cell)
            if cell.shape != (3, 3):
                raise UserError(f"expected a cell [3, 3], but got an array of shape {cell.shape}")
            object.__setattr__(self, "cell", _completed(cell, self.pbc))

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @cached_property
    def symbols(self) -> list[str]:
        """Symbols of the elements [n_atoms]."""
        from ase.data import chemical_symbols

        return [chemical_symbols[z] for z in self.numbers]

    @property
    def periodic(self) -> bool:
        return any(self.pbc)

    @cached_property
    def formula(self) -> str:
        from ase.formula import Formula
        from ase.symbols import Symbols

        return str(Formula(str(Symbols(self.numbers))).convert("hill"))

    def check(self, where: str) -> Structure:
        """Return the structure itself if a density can be computed for it; one that passed is not checked again.

        Args:
            where: names the structure in the message, e.g. ``water.xyz, structure 3``.

        Raises:
            UserError: no atoms, an atomic number that no element has, a coordinate that is not finite, a cell without
                volume, or two atoms on one spot (periodic images included).
        """
        if "passed" in self.__dict__:
            return self
        if self.n_atoms == 0:
            raise UserError(f"{where} has no atoms")
        unknown = np.flatnonzero((self.numbers < 1) | (self.numbers > HEAVIEST))
        if len(unknown):
            number = self.numbers[unknown[0]]
            raise UserError(f"{where}: atom {unknown[0] + 1} has the atomic number {number}, which no element has")
        bad = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
        if len(bad):
            raise UserError(f"{where}: the coordinates of atom {bad[0] + 1} are not finite numbers")
        if self.periodic and (self.cell is None or not abs(np.linalg.det(self.cell)) > 1e-6):
            raise UserError(f"{where} is periodic, but its cell has no volume")
        from scipy.spatial import KDTree

        pairs = KDTree(self.images()).query_pairs(CLOSEST_ATOMS)
        if pairs:
            i, j = min(sorted((i % self.n_atoms, j % self.n_atoms)) for i, j in pairs)
            raise UserError(f"{where}: atoms {i + 1} and {j + 1} are on one spot (closer than {CLOSEST_ATOMS} Å)")
        object.__setattr__(self, "passed", True)
        return self

    def images(self) -> NDArray[np.float64]:
        """Positions wrapped into the cell, in it and in its neighbours, Å [n_cells * n_atoms, 3]."""
        if self.cell is None:
            return self.positions
        fractions = self.positions @ np.linalg.inv(self.cell)
        wrapped = np.where(self.pbc, fractions % 1.0, fractions) @ self.cell
        along = [(0, -1, 1) if repeats else (0,) for repeats in self.pbc]
        shifts = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3) @ self.cell
        images: NDArray[np.float64] = (wrapped + shifts[:, None]).reshape(-1, 3)
        return images

    @classmethod
    def from_ase(cls, atoms: ase.Atoms) -> Structure:
        """From ASE; total charge and multiplicity come from ``atoms.info['charge']`` and ``['multiplicity']``.

        Raises:
            UserError: one of them is not a whole number.
        """
        pbc = tuple(bool(p) for p in atoms.pbc)
        return cls(
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=np.asarray(atoms.cell) if any(pbc) else None,
            pbc=(pbc[0], pbc[1], pbc[2]),
            charge=atoms.info.get("charge", 0),
            multiplicity=atoms.info.get("multiplicity", 1),
        )

    def to_ase(self) -> ase.Atoms:
        import ase

        return ase.Atoms(
            numbers=self.numbers,
            positions=self.positions,
            cell=self.cell,
            pbc=self.pbc,
            info={"charge": self.charge, "multiplicity": self.multiplicity},
        )


def _array(name: str, values: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"expected numbers as {name}, but got something else") from None


def _whole_number(name: str, value: Any, lowest: int | None = None) -> int:
    if isinstance(value, bool | np.bool_):  # how ASE reads a word of a comment that stands without a value
        raise UserError(
            f"{name} has no value: write {name}=1 or another whole number in the comment, or take the word {name} out"
        )
    if not isinstance(value, int | float | np.integer | np.floating) or value % 1 != 0:
        raise UserError(f"expected a whole number as {name}, but got {value}")
    if lowest is not None and value < lowest:
        raise UserError(f"expected {lowest} or more as {name}, but got {value}")
    return int(value)


def _completed(cell: NDArray[np.float64], pbc: tuple[bool, bool, bool]) -> NDArray[np.float64]:
    """The cell with unit vectors at right angles to the others in place of zero ones along which nothing repeats."""
    missing = ~np.asarray(pbc) & ~cell.any(axis=1)
    if not missing.any():
        return cell
    whole = cell.copy()
    whole[missing] = perpendicular(cell[~missing])[: missing.sum()]
    return whole


def perpendicular(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal directions at right angles to vectors [n, 3], as near to the Cartesian axes as can be [3 - n, 3].

    They keep the order of the axes; the axes themselves if there are no vectors.
    """
    _, sizes, rows = np.linalg.svd(vectors.reshape(-1, 3))
    spanned = rows[: int((sizes > 1e-8 * max(sizes, default=1.0)).sum())]
    left = np.eye(3) - spanned.T @ spanned  # rows: the parts of the Cartesian axes at right angles to the vectors
    found: list[tuple[int, NDArray[np.float64]]] = []
    for _ in range(3 - len(spanned)):
        lengths = np.linalg.norm(left, axis=1)
        axis = int(np.argmax(lengths.round(9)))
        direction = left[axis] / lengths[axis]
        found.append((axis, direction))
        left = left - np.outer(left @ direction, direction)
    return np.array([direction for _, direction in sorted(found, key=lambda item: item[0])]).reshape(-1, 3)
