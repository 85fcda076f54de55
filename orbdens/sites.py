"""Where orbitals sit: on the atoms, and on virtual sites beside them. Every rule maps a structure to its sites.

Virtual sites fade in and out with the geometry that makes them, so that densities stay continuous when a bond forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from numpy.typing import NDArray

from orbdens.neighbours import Pairs, neighbours
from orbdens.structure import Structure

BOND = 1000
"""Type of the midpoint of any bond, in the rule that knows only one such type; lower types are atomic numbers."""

FADE_START, FADE_END = 1.2, 1.4
"""Length of a bond over the sum of the covalent radii: up to the first its midpoint counts fully, from the second on
not at all.

The ends of a four-membered ring's diagonal are 1.4 sums apart or more; stretched and forming bonds fade between.
"""

SLACK_START, SLACK_END = 0.3, 0.55
"""Å beyond that sum at which the same happens, where it is farther: the radii of H and F are small, and bonds between
them (F2, stretched H2) would fade too early."""

CROWD_START, CROWD_END = 0.8, 0.4
"""Distance from a midpoint to the nearest atom beside the bond's own, Å: down to the first the midpoint counts fully,
from the second on not at all.

Two atoms with a third between them have no bond of their own (Li-O-Li). Midpoints of bonds are 1 Å from other atoms.
"""


@dataclass(frozen=True, eq=False)
class Sites:
    """Atoms in their order, then virtual sites.

    Attributes:
        positions: Å [n_sites, 3].
        types: [n_sites]; an atom's is its atomic number, ``type_name`` tells the others.
        weights: factors on the coefficients of each site, from 0 to 1 [n_sites]; 1 for atoms.
        bonds: the two atoms that each virtual site lies between [n_virtual, 2].
        offsets: from the first of them to the virtual site, Å [n_virtual, 3].
    """

    positions: NDArray[np.float64]
    types: NDArray[np.int64]
    weights: NDArray[np.float64]
    bonds: NDArray[np.int64]
    offsets: NDArray[np.float64]

    def of_types(self, known: tuple[int, ...]) -> Sites:
        """All atoms, and the virtual sites of known types."""
        n_atoms = len(self.types) - len(self.bonds)
        kept = np.isin(self.types, known)
        kept[:n_atoms] = True
        virtual = kept[n_atoms:]
        return Sites(
            self.positions[kept], self.types[kept], self.weights[kept], self.bonds[virtual], self.offsets[virtual]
        )


def _atoms(structure: Structure, bonds: Bonds | None) -> Sites:
    return Sites(
        structure.positions,
        structure.numbers,
        np.ones(structure.n_atoms),
        np.empty((0, 2), dtype=np.int64),
        np.empty((0, 3)),
    )


def _bonds(structure: Structure, bonds: Bonds | None) -> Sites:
    """Atoms and bond midpoints, all of one type."""
    return _with_midpoints(structure, bonds, lambda first, second: np.full(len(first), BOND))


def _bond_pairs(structure: Structure, bonds: Bonds | None) -> Sites:
    """Atoms and bond midpoints with a type for each pair of elements."""
    return _with_midpoints(structure, bonds, _pair_type)


def _pair_type(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    return 1000 * np.minimum(first, second) + np.maximum(first, second)


def longest_bond(structure: Structure) -> float:
    """Å; no two atoms farther apart than this have a midpoint."""
    return float(_fade_at(2 * covalent_radii[structure.numbers].max(), FADE_END, SLACK_END))


def _fade_at(radii: NDArray[np.float64], part: float, slack: float) -> NDArray[np.float64]:
    """Where fading begins or ends for bonds of these sums of covalent radii, Å."""
    return np.maximum(part * radii, radii + slack)


def pairs_of_bonds(structure: Structure) -> float:
    """Cut-off of the pairs that tell all midpoints and their weights, Å: bonds, and atoms that crowd a midpoint."""
    bond = longest_bond(structure)
    return max(bond, bond / 2 + CROWD_START)


def _with_midpoints(
    structure: Structure,
    bonds: Bonds | None,
    type_of: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]],
) -> Sites:
    first, second, vector, weights = bonds_of(structure) if bonds is None else bonds
    return Sites(
        np.concatenate([structure.positions, structure.positions[first] + vector / 2]),
        np.concatenate([structure.numbers, type_of(structure.numbers[first], structure.numbers[second])]),
        np.concatenate([np.ones(structure.n_atoms), weights]),
        np.stack([first, second], axis=1),
        vector / 2,
    )


class Bonds(NamedTuple):
    """Bonds of a structure, each once.

    Attributes:
        first, second: the atoms of each [n_bonds].
        vector: from the first to (an image of) the second, Å [n_bonds, 3].
        weights: from 0 to 1, fading out for long ones [n_bonds].
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    vector: NDArray[np.float64]
    weights: NDArray[np.float64]


def bonds_of(structure: Structure, pairs: Pairs | None = None) -> Bonds:
    """Bonds of a structure by the lengths between its atoms.

    Args:
        structure: any.
        pairs: pairs of its atoms, at least those up to ``pairs_of_bonds``, where they are known already.
    """
    radii = covalent_radii[structure.numbers]
    pairs = neighbours(structure, pairs_of_bonds(structure)) if pairs is None else pairs
    first, second, vector = pairs
    # Each bond comes in both directions; between an atom and its own image the sign of the vector tells them apart.
    component = vector[np.arange(len(vector)), np.argmax(np.abs(vector) > 1e-6, axis=1)]
    once = (first < second) | ((first == second) & (component > 0))
    length, radii_sum = np.linalg.norm(vector, axis=1), radii[first] + radii[second]
    start, end = _fade_at(radii_sum, FADE_START, SLACK_START), _fade_at(radii_sum, FADE_END, SLACK_END)
    bonded = once & (length < end)
    first, second, vector = first[bonded], second[bonded], vector[bonded]
    weights = _faded(length[bonded], start[bonded], end[bonded]) * _uncrowded(first, vector, pairs)
    kept = weights > 0
    return Bonds(first[kept], second[kept], vector[kept], weights[kept])


def _faded(
    values: NDArray[np.float64], start: NDArray[np.float64] | float, end: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """1 up to the start, 0 from the end on; two derivatives vanish at both."""
    u = np.clip((values - start) / (end - start), 0, 1)
    faded: NDArray[np.float64] = 1 - u**3 * (10 - 15 * u + 6 * u**2)
    return faded


def _uncrowded(first: NDArray[np.int64], vector: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """The factor on each midpoint for the atoms near it that are no end of its bond [n_bonds].

    Args:
        first: one end of each bond [n_bonds].
        vector: from there to the other end, Å [n_bonds, 3].
        pairs: of the atoms, sorted by source.
    """
    result = np.ones(len(first))
    starts, ends = (np.searchsorted(pairs.source, first, side=side) for side in ("left", "right"))
    counts = ends - starts
    bond = np.repeat(np.arange(len(first)), counts)
    place = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    other = pairs.vector[place]
    is_end = np.linalg.norm(other - vector[bond], axis=1) < 1e-6
    distance = np.where(is_end, np.inf, np.linalg.norm(other - vector[bond] / 2, axis=1))
    np.multiply.at(result, bond, _faded(distance, CROWD_START, CROWD_END))
    return result


def bonded_pairs(structure: Structure, bonds: Bonds | None = None) -> dict[str, str]:
    """Pairs of elements that are bonded (``H-C``), and the atoms of one such bond (``C1 H2``)."""
    first, second, _, _ = bonds_of(structure) if bonds is None else bonds
    kinds = _pair_type(structure.numbers[first], structure.numbers[second])
    return {
        type_name(int(kind)): " ".join(f"{structure.symbols[atom]}{atom + 1}" for atom in atoms)
        for kind, atoms in zip(kinds, np.stack([first, second], axis=1), strict=True)
    }


SITE_RULES: dict[str, Callable[[Structure, Bonds | None], Sites]] = {
    "atoms": _atoms,
    "bonds": _bonds,
    "bond-pairs": _bond_pairs,
}
"""Rules by their name in a config. A rule with virtual sites appends them behind the atoms with types of its own."""


def place_sites(structure: Structure, rule: str, bonds: Bonds | None = None) -> Sites:
    """Sites of a structure by the named rule (a key of ``SITE_RULES``).

    Args:
        structure: any.
        rule: its name.
        bonds: of ``bonds_of``, where they are known already.
    """
    return SITE_RULES[rule](structure, bonds)


def type_name(kind: int) -> str:
    """``C`` for an atom, ``bond`` for any midpoint, ``H-C`` for the midpoint of such a bond (lighter element first)."""
    if kind < BOND:
        return str(chemical_symbols[kind])
    return "bond" if kind == BOND else "-".join(chemical_symbols[z] for z in divmod(kind, 1000))


def type_from_name(name: str) -> int:
    """The inverse of ``type_name``; KeyError for other names."""
    if name == "bond":
        return BOND
    numbers = sorted(int(atomic_numbers[symbol]) for symbol in name.split("-"))
    if len(numbers) > 2:
        raise KeyError(name)
    return numbers[0] if len(numbers) == 1 else 1000 * numbers[0] + numbers[1]
