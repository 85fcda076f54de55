"""The structures that densities are calculated of: read from files, and checked before the first calculation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_tools.generation.settings import Settings
from data_tools.generation.workers import Task
from orbdens.errors import UserError
from orbdens.formats.structures import read_structures
from orbdens.store import Manifest
from orbdens.structure import Structure


@dataclass(frozen=True)
class Structures:
    """The structures to calculate.

    Attributes:
        structures: all molecules or all crystals.
        names: where each comes from, for messages.
        files: name and sha256 of each file.
    """

    structures: list[Structure]
    names: list[str]
    files: list[dict[str, str]]

    @classmethod
    def read(cls, paths: Sequence[Path], charge: int | None = None, multiplicity: int | None = None) -> Structures:
        """All structures of files that ASE reads.

        Args:
            paths: in this order.
            charge: charge of every structure; None takes that of the frame's info, or 0.
            multiplicity: multiplicity of every structure; None takes that of the frame's info, or 1.

        Raises:
            UserError: as ``read_structures``, or molecules and crystals come together.
        """
        structures, names, files = [], [], []
        for path in paths:
            found = read_structures(path)
            structures += found
            names += [f"{path}, structure {i}" for i in range(1, len(found) + 1)]
            with path.open("rb") as file:
                files.append({"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
        if charge is not None:
            structures = [replace(structure, charge=charge) for structure in structures]
        if multiplicity is not None:
            structures = [replace(structure, multiplicity=multiplicity) for structure in structures]
        if len({structure.periodic for structure in structures}) > 1:
            raise UserError("the files hold molecules and crystals; make a store of each")
        return cls(structures, names, files)

    def tasks(self) -> list[Task]:
        """Every structure with its key: its number, its formula and a hash of all that it is."""
        return [(structure_key(i, structure), structure) for i, structure in enumerate(self.structures)]


def hash_of_states(structures: Sequence[Structure]) -> str:
    """A hash of all charges and multiplicities, which may come from the command line."""
    states = [(structure.charge, structure.multiplicity) for structure in structures]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def structure_key(index: int, structure: Structure) -> str:
    """Key of a structure by its place in the input and its content, e.g. ``000012-C2H6O-3fa9c1d2``."""
    cell = b"" if structure.cell is None else structure.cell.astype(np.float64).tobytes()
    state = repr((structure.pbc, structure.charge, structure.multiplicity)).encode()
    digest = hashlib.sha256(structure.numbers.tobytes() + structure.positions.tobytes() + cell + state)
    return f"{index:06d}-{structure.formula}-{digest.hexdigest()[:8]}"


def check_electrons(source: Structures, manifest: Manifest) -> None:
    """Raise UserError if a structure cannot have its multiplicity with its number of electrons."""
    for structure, name in zip(source.structures, source.names, strict=True):
        n, multiplicity = manifest.n_electrons(structure), structure.multiplicity
        if n < 1:
            raise UserError(f"{name}: {structure.formula} of charge {structure.charge} has {n} electrons")
        if multiplicity < 1 or multiplicity > n + 1 or (n - multiplicity) % 2 == 0:
            raise UserError(
                f"{name}: {structure.formula} has {n} electrons, which a multiplicity of {multiplicity} does not "
                "allow; give another by --multiplicity or in the frame's info"
            )


def check_cells(source: Structures, settings: Settings) -> None:
    """Raise UserError if a crystal does not repeat along all three cell vectors, or has no pseudopotential."""
    for structure, name in zip(source.structures, source.names, strict=True):
        if not all(structure.pbc):
            raise UserError(
                f"{name} repeats along {sum(structure.pbc)} of its cell vectors; only 0 and 3 are supported"
            )
    if settings.pseudo is None:
        raise UserError("crystals need a pseudopotential: a mesh cannot hold the cores of atoms")
