"""Structures that the general weights are trained on: minima, distorted copies and pairs of the molecules of a list.

``python -m data_tools.recipes.general OUT`` writes ``OUT/minima.xyz``, ``OUT/distorted.xyz`` and ``OUT/pairs.xyz`` (Å;
charge and multiplicity in every frame). ``orbdens data generate`` calculates them; the README says how.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from ase.data.vdw import vdw_radii
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from data_tools.generation.distorting import Distortion
from data_tools.generation.minima import write_minima
from data_tools.generation.variants import read_smiles
from orbdens import shipped
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.formats.structures import read_structures, write_frame
from orbdens.progress import Display
from orbdens.structure import Structure

SEED = 11
MOLECULES = shipped.HOME / "general" / "molecules.smi"
"""A SMILES a line, and after it the group it was chosen for."""

DISTORTIONS = (
    Distortion(scale=(0.92, 1.10), rattle=0.03),
    Distortion(xray_hydrogens=True, rattle=0.005),
    Distortion(stretch=0.2, rattle=0.02),
    Distortion(scale=(0.90, 1.10)),
    Distortion(rattle=0.08),
    Distortion(xray_hydrogens=True),
)
"""One after the other they meet the molecules."""

LARGEST_DISTORTED, LARGEST_PAIRED = 10, 7
"""Numbers of heavy atoms."""

N_PAIRS = 150
CONTACT, APART = (-0.6, 0.1), (0.3, 3.5)
"""Å between the van der Waals spheres of the nearest atoms of a pair."""


def pair(first: Structure, second: Structure, gap: float, rng: np.random.Generator) -> Structure:
    """Two molecules, both turned at random, whose van der Waals spheres are a distance apart.

    Args:
        first: one of them.
        second: the other.
        gap: between the nearest spheres, Å; negative where they overlap.
        rng: draws the directions.
    """
    turned = [
        (molecule.positions - molecule.positions.mean(axis=0)) @ Rotation.random(random_state=rng).as_matrix()
        for molecule in (first, second)
    ]
    radii = np.nan_to_num(vdw_radii, nan=2.0)  # Å; ASE lacks some metals'
    wanted = radii[first.numbers][:, None] + radii[second.numbers] + gap
    between = turned[1] - turned[0][:, None]
    return Structure(
        np.concatenate([first.numbers, second.numbers]),
        np.concatenate([turned[0], turned[1] + [0.0, 0.0, _farthest(between, wanted)]]),
        charge=first.charge + second.charge,
    )


def _farthest(between: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The least shift along z, Å, from which on no vector is shorter than it should be."""
    across = wanted**2 - (between[..., :2] ** 2).sum(axis=-1)
    meet = across > 0
    return float((np.sqrt(across[meet]) - between[..., 2][meet]).max()) if meet.any() else 0.0


def pairs(molecules: Sequence[Structure], n: int, rng: np.random.Generator) -> Iterator[Structure]:
    """Pairs of small molecules of these: half of them neutral, ions with a neutral molecule, and ions of both signs.

    Three in five are at contact, oppositely charged ions always.
    """
    small = [molecule for molecule in molecules if (molecule.numbers > 1).sum() <= LARGEST_PAIRED]
    of_charge = {charge: [molecule for molecule in small if molecule.charge == charge] for charge in (-1, 0, 1)}
    for _ in range(n):
        charges = ((0, 0), (-1, 0), (1, 0), (-1, 1))[rng.choice(4, p=(0.5, 0.2, 0.2, 0.1))]
        first, second = (of_charge[charge][rng.integers(len(of_charge[charge]))] for charge in charges)
        contact = charges == (-1, 1) or rng.random() < 0.6
        yield pair(first, second, rng.uniform(*(CONTACT if contact else APART)), rng)


def distorted(molecules: Sequence[Structure], rng: np.random.Generator) -> Iterator[Structure]:
    """One copy of each that is not large and has more than an atom."""
    kinds = cycle(DISTORTIONS)
    for molecule in molecules:
        if molecule.n_atoms > 1 and (molecule.numbers > 1).sum() <= LARGEST_DISTORTED:
            yield next(kinds).copy(molecule, rng)


def write(out: Path, smiles: Path = MOLECULES, n_pairs: int = N_PAIRS) -> None:
    """Write the three files.

    Args:
        out: folder for them; made if it is missing.
        smiles: list of molecules.
        n_pairs: how many pairs.

    Raises:
        UserError: a file exists, or RDKit or tblite is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    minima = out / "minima.xyz"
    with Display() as display:
        write_minima(read_smiles(smiles), minima, "tblite", seed=SEED, progress=display.count)
    molecules = read_structures(minima)
    rng = np.random.default_rng(SEED)
    for name, made in (("distorted", distorted(molecules, rng)), ("pairs", pairs(molecules, n_pairs, rng))):
        with written_whole(out / f"{name}.xyz") as temporary, temporary.open("w", encoding="utf-8") as file:
            for structure in made:
                write_frame(file, structure.to_ase())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the files to write")
    arguments = parser.parse_args()
    try:
        write(arguments.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
