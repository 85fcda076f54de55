"""The molecules of a crystal, completed by symmetry, for each of the alternatives of its disordered parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from orbdens.crystal import Crystal
from orbdens.crystals.charges import likely_charges
from orbdens.errors import UserError
from orbdens.structure import Structure

SLACK = 0.4
"""Å by which bonds may be longer than the sum of covalent radii, as in the Cambridge Structural Database."""

SAME = 0.2
"""Å within which an image of an atom is the atom itself, on a special position."""

OVERLAP = 0.6
"""Of the sum of covalent radii; atoms that come closer are alternatives that the file does not tell apart."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """A molecule of a crystal, made whole.

    Attributes:
        structure: its atoms, with charge, in the crystal's Cartesian axes.
        atoms: row in the crystal's list of which each atom is the image or the atom itself [n_atoms].
        originals: atoms that are no images: where the crystal's list has them [n_atoms].
        weight: share of this alternative among those to which its disordered parts give rise, up to one.
    """

    structure: Structure
    atoms: NDArray[np.int64]
    originals: NDArray[np.bool_]
    weight: float = 1.0


def molecules(crystal: Crystal, charges: Mapping[str, int] | None = None) -> list[Molecule]:
    """Whole molecules that hold every atom of the asymmetric unit at its own place, and each alternative of it.

    Atoms that all alternatives share stand in several molecules, whose weights add up to one.

    Args:
        crystal: any.
        charges: total charge in e of the molecule that holds an atom, by the atom's label; others are the likely ones.

    Raises:
        UserError: no atom has such a label, alternatives overlap, or the bonds run through the whole crystal.
    """
    charges = dict(charges or {})
    unknown = sorted(set(charges) - set(crystal.labels))
    if unknown:
        raise UserError(f"{crystal.name} has no atom called {unknown[0]}")
    found: dict[tuple[bytes, bytes], Molecule] = {}
    for present, weight in _alternatives(crystal):
        for molecule in _whole(crystal, present):
            key = (molecule.atoms.tobytes(), molecule.structure.positions.tobytes())
            total = weight + (found[key].weight if key in found else 0.0)
            found[key] = replace(molecule, weight=total)
    whole = list(found.values())
    shares = [molecule.weight * float(molecule.originals.mean()) for molecule in whole]
    given = [_given(molecule, crystal, charges) for molecule in whole]
    likely = likely_charges([molecule.structure for molecule in whole], shares, given)
    return [_charged(molecule, charge) for molecule, charge in zip(whole, likely, strict=True)]


def _given(molecule: Molecule, crystal: Crystal, charges: Mapping[str, int]) -> int | None:
    given = {charges[label] for label in (crystal.labels[atom] for atom in molecule.atoms) if label in charges}
    if len(given) > 1:
        raise UserError(f"one molecule of {crystal.name} is given several charges: {sorted(given)}")
    return given.pop() if given else None


def _charged(molecule: Molecule, charge: int) -> Molecule:
    electrons = int(molecule.structure.numbers.sum()) - charge
    return replace(molecule, structure=replace(molecule.structure, charge=charge, multiplicity=1 + electrons % 2))


def _alternatives(crystal: Crystal) -> Iterator[tuple[NDArray[np.int64], float]]:
    """Rows of the atoms that are there together, and the share of each such alternative; shares add up to one.

    The most occupied groups of all assemblies go together, then the second ones, and so on.
    """
    ranked: dict[str, list[int]] = {}
    for name in sorted(set(crystal.assemblies)):
        within = np.array([assembly == name for assembly in crystal.assemblies]) & (crystal.groups != 0)
        groups = sorted(set(crystal.groups[within].tolist()))
        mean = {group: crystal.occupancies[within & (crystal.groups == group)].mean() for group in groups}
        ranked[name] = sorted(groups, key=lambda group, mean=mean: -mean[group])  # type: ignore[misc]
    count = max((len(groups) for groups in ranked.values()), default=0)
    shares = []
    alternatives = []
    for number in range(max(count, 1)):
        chosen = {name: groups[min(number, len(groups) - 1)] for name, groups in ranked.items() if groups}
        here = np.array(
            [g == 0 or chosen[a] == g for g, a in zip(crystal.groups.tolist(), crystal.assemblies, strict=True)]
        )
        alternatives.append(np.flatnonzero(here))
        disordered = here & (crystal.groups != 0)
        shares.append(crystal.occupancies[disordered].mean() if disordered.any() else 1.0)
    yield from zip(alternatives, (np.array(shares) / sum(shares)).tolist(), strict=True)


def _whole(crystal: Crystal, present: NDArray[np.int64]) -> list[Molecule]:
    """Molecules of the atoms that are present, each grown from an atom of the list that has none yet."""
    atoms, fractions, operations = _images(crystal, present)
    first, second, shifts = _bonds(crystal, atoms, fractions, operations)
    by_atom: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for i, j, shift in zip(first.tolist(), second.tolist(), shifts.tolist(), strict=True):
        by_atom.setdefault(i, []).append((j, tuple(shift)))
    placed: set[int] = set()
    found = []
    for start in np.flatnonzero(operations == 0).tolist():
        if start in placed:
            continue
        cells = {start: (0, 0, 0)}
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for other, shift in by_atom.get(here, []):
                cell = tuple(a + b for a, b in zip(cells[here], shift, strict=True))
                if other not in cells:
                    cells[other] = cell  # type: ignore[assignment]
                    waiting.append(other)
                elif cells[other] != cell:
                    label = crystal.labels[atoms[start]]
                    raise UserError(f"{crystal.name}: the bonds of {label} run through the whole crystal, no molecule")
        members = np.array(sorted(cells))
        moved = np.array([cells[member] for member in members.tolist()])
        positions = (fractions[members] + moved) @ crystal.cell
        originals = (operations[members] == 0) & ~moved.any(axis=1)
        placed |= set(members[originals].tolist())
        _check_overlap(crystal, atoms[members], positions)
        structure = Structure(crystal.numbers[atoms[members]], positions)
        found.append(Molecule(structure, atoms[members], originals))
    return found


def _images(
    crystal: Crystal, present: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """All atoms of one cell: row in the list, fractions (not wrapped), and symmetry operation of each [n_images]."""
    atoms, fractions, operations = [], [], []
    for atom in present.tolist():
        kept: list[NDArray[np.float64]] = []
        for number, (rotation, translation) in enumerate(zip(crystal.rotations, crystal.translations, strict=True)):
            image = rotation @ crystal.fractions[atom] + translation
            away = np.array([image - other for other in kept]).reshape(-1, 3)
            near = np.linalg.norm((away - np.rint(away)) @ crystal.cell, axis=1) < SAME
            if not near.any():
                kept.append(image)
                atoms.append(atom)
                fractions.append(image)
                operations.append(number)
    return np.array(atoms), np.array(fractions), np.array(operations)


def _bonds(
    crystal: Crystal, atoms: NDArray[np.int64], fractions: NDArray[np.float64], operations: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Bonds between atoms of one cell and of its neighbours: both ends, and the cell of the second relative to the
    first's [n_bonds, 3]; each bond from both ends."""
    from ase.neighborlist import primitive_neighbor_list

    radii = covalent_radii[crystal.numbers[atoms]]
    longest = 2 * radii.max() + SLACK
    first, second, distances, shifts = primitive_neighbor_list(
        "ijdS", (True, True, True), crystal.cell, fractions @ crystal.cell, float(longest)
    )
    hydrogen = crystal.numbers[atoms] == 1
    bound = (distances < radii[first] + radii[second] + SLACK) & ~(hydrogen[first] & hydrogen[second])
    groups = crystal.groups[atoms]
    own = (groups[first] < 0) & (groups[second] < 0)
    bound &= ~(own & ((operations[first] != operations[second]) | shifts.any(axis=1)))
    return first[bound], second[bound], shifts[bound]


def _check_overlap(crystal: Crystal, atoms: NDArray[np.int64], positions: NDArray[np.float64]) -> None:
    from scipy.spatial import KDTree

    radii = covalent_radii[crystal.numbers[atoms]]
    for i, j in sorted(KDTree(positions).query_pairs(2 * OVERLAP * radii.max())):
        distance = np.linalg.norm(positions[i] - positions[j])
        if distance < OVERLAP * (radii[i] + radii[j]):
            a, b = crystal.labels[atoms[i]], crystal.labels[atoms[j]]
            raise UserError(
                f"{crystal.name}: {a} and {b} are {distance:.2f} Å apart, and no disorder groups tell "
                "them apart (_atom_site_disorder_group)"
            )
