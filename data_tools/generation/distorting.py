"""Distorted copies of molecules, so that a training set holds more than minima."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.formats.structures import read_structures, write_frame
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

XRAY_LENGTHS = {"C": 0.95, "N": 0.86, "O": 0.84}
"""Å; bonds to hydrogen as refinements against X-rays hold them (the distances of SHELXL's AFIX at room temperature, the
shortest for each element)."""

BOND = 1.25
"""Atoms nearer than this many times the sum of their covalent radii are bonded."""


@dataclass(frozen=True)
class Distortion:
    """How copies differ from their molecule; the steps follow each other in this order.

    Attributes:
        xray_hydrogens: bonds of C, N and O to hydrogen get the length that X-rays give them.
        stretch: one bond outside of rings, drawn anew for each copy, gets longer by up to this fraction of its length.
        scale: smallest and largest factor on all lengths; uniform between them.
        rattle: standard deviation of random displacements of every coordinate, Å.
    """

    xray_hydrogens: bool = False
    stretch: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    rattle: float = 0.0

    def check(self) -> None:
        """Raise UserError if a number makes no sense, or nothing would change."""
        low, high = self.scale
        if not 0.5 <= low <= high <= 2:
            raise UserError(f"expected factors on lengths from 0.5 to 2, the smaller first, but got {low:g},{high:g}")
        if self == Distortion():
            raise UserError("nothing would change: give a scale, a rattle, a stretch or X-ray lengths")

    def copy(self, structure: Structure, rng: np.random.Generator) -> Structure:
        """A distorted copy of a molecule; its charge and multiplicity stay.

        Args:
            structure: the molecule.
            rng: draws the numbers.
        """
        positions = structure.positions.copy()
        if self.xray_hydrogens:
            _shorten_hydrogens(structure, positions)
        if self.stretch:
            _stretch(structure, positions, 1 + self.stretch * rng.random(), rng)
        positions *= rng.uniform(*self.scale)
        positions += self.rattle * rng.standard_normal(positions.shape)
        return Structure(structure.numbers, positions, charge=structure.charge, multiplicity=structure.multiplicity)


def write_distorted(
    files: Sequence[Path],
    out: Path,
    distortion: Distortion,
    copies: int,
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Write distorted copies of molecules to an extended xyz file (Å; charge and multiplicity in every frame).

    Args:
        files: that ASE reads.
        out: file to write.
        distortion: how the copies differ.
        copies: of each molecule.
        seed: of the random numbers.
        overwrite: replace ``out``.
        progress: told of the work.

    Returns:
        How many frames were written.

    Raises:
        UserError: a file cannot be read or holds a crystal, ``out`` cannot be written, or nothing would change.
    """
    distortion.check()
    check_output(out, overwrite)
    structures = [structure for file in files for structure in read_structures(file)]
    if any(structure.periodic for structure in structures):
        raise UserError("only molecules can be distorted, and the files hold crystals")
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for done, copy in enumerate(_copies(structures, distortion, copies, seed), start=1):
            write_frame(file, copy.to_ase())
            progress("copies", done, len(structures) * copies)
    return len(structures) * copies


def _copies(structures: Sequence[Structure], distortion: Distortion, copies: int, seed: int) -> Iterator[Structure]:
    rng = np.random.default_rng(seed)
    for structure in structures:
        for _ in range(copies):
            yield distortion.copy(structure, rng)


def _bonds(structure: Structure) -> NDArray[np.int64]:
    """Pairs of bonded atoms [n_bonds, 2], the lower index first."""
    radii = covalent_radii[structure.numbers]
    distances = np.linalg.norm(structure.positions[:, None] - structure.positions, axis=-1)
    return np.argwhere(np.triu(distances < BOND * (radii[:, None] + radii), k=1))


def _shorten_hydrogens(structure: Structure, positions: NDArray[np.float64]) -> None:
    lengths = {atomic_numbers[symbol]: length for symbol, length in XRAY_LENGTHS.items()}
    bonds = _bonds(structure)
    for heavy, hydrogen in np.concatenate([bonds, bonds[:, ::-1]]):
        length = lengths.get(int(structure.numbers[heavy]))
        if structure.numbers[hydrogen] == 1 and length is not None:
            bond = structure.positions[hydrogen] - structure.positions[heavy]
            positions[hydrogen] = structure.positions[heavy] + bond * (length / np.linalg.norm(bond))


def _stretch(structure: Structure, positions: NDArray[np.float64], factor: float, rng: np.random.Generator) -> None:
    """Move the smaller of the two parts that a bond joins; bonds of rings join none."""
    bonds = _bonds(structure)
    for chosen in rng.permutation(len(bonds)):
        first, second = np.delete(bonds, chosen, axis=0).T
        graph = coo_array((np.ones(len(first)), (first, second)), shape=(structure.n_atoms, structure.n_atoms))
        parts = connected_components(graph, directed=False)[1]
        one, other = bonds[chosen]
        if parts[one] != parts[other]:
            if (parts == parts[one]).sum() < (parts == parts[other]).sum():
                one, other = other, one
            positions[parts == parts[other]] += (factor - 1) * (positions[other] - positions[one])
            return
