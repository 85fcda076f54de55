"""What a file of orbitals holds, whichever program wrote it, and whether that can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from data_tools.choices import Density
from orbdens.errors import UserError
from orbdens.pyscf.integrals import dipole, electron_count
from orbdens.store import Manifest
from orbdens.store.records import LabelBasis, LabelShell, OrbitalRecord

LOST_ELECTRONS = 1e-3
"""The integral of a density may be off by so much: Molden files have few digits, and get back what these cost."""

SAME = 1e-6
"""Relative difference of exponents and weights that are the same in other digits."""


class OrbitalContent(NamedTuple):
    """What a file of orbitals holds.

    Attributes:
        record: structure, occupied orbitals and, where the file has it, the energy.
        basis: basis of the elements of this molecule.
        level: as much of the level of theory as the file tells.
        valence_electrons: that an atom brings into the density, by symbol.
    """

    record: OrbitalRecord
    basis: LabelBasis
    level: dict[str, Any]
    valence_electrons: dict[str, int]


def checked(content: OrbitalContent, place: str) -> OrbitalContent:
    """The content with orbitals that hold exactly their electrons, and the dipole of its density.

    Raises:
        UserError: the density does not hold the electrons it should.
    """
    record = content.record
    record.structure.check(place)
    if not np.isfinite(record.orbitals).all():
        raise UserError(f"{place} holds orbitals that are not finite")
    valence = content.valence_electrons
    manifest = Manifest(content.level, density_of(valence), valence, content.basis)
    count, expected = electron_count(record, content.basis), manifest.n_electrons(record.structure)
    if not abs(count - expected) < LOST_ELECTRONS:
        raise UserError(f"the orbitals of {place} hold {count:.4f} electrons, expected {expected}")
    record = replace(record, orbitals=record.orbitals * np.float32(np.sqrt(expected / count)))
    return content._replace(record=replace(record, dipole=dipole(record, manifest)))


def density_of(valence_electrons: Mapping[str, int]) -> Density:
    """Which electrons there are, by how many each atom brings."""
    whole = all(n == atomic_numbers[symbol] for symbol, n in valence_electrons.items())
    return "all-electron" if whole else "valence"


def multiplicity(occupations: NDArray[np.float64], spins: NDArray[np.int8] | None) -> int:
    """2S + 1 of orbitals with occupations [n_occupied] and, of an open shell, spins [n_occupied]."""
    if spins is None:  # of natural orbitals, say, whose spin no file tells: the lowest there can be
        return 1 + round(float(occupations.sum())) % 2
    return 1 + round(abs(float(spins @ occupations)))


def same_shells(a: tuple[LabelShell, ...], b: tuple[LabelShell, ...]) -> bool:
    """Whether two atoms have the same shells, but for their last digits."""
    return len(a) == len(b) and all(
        x.l == y.l
        and len(x.exponents) == len(y.exponents)
        and np.allclose(x.exponents, y.exponents, rtol=SAME, atol=0)
        and np.allclose(x.weights, y.weights, rtol=SAME, atol=SAME)
        for x, y in zip(a, b, strict=True)
    )
