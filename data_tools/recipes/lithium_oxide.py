"""625 configurations of Li-O-Li with PySCF: the store that ships with the package.

    python -m data_tools.recipes.lithium_oxide OUT

25 x 25 pairs of Li-O distances from 1.45 to 2.05 Å, a bond angle per configuration drawn from 100 to 180 degrees.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.generation.calculation import Failure
from data_tools.generation.convergence import CalculationError
from data_tools.generation.scf import calculate as calculate_molecule
from data_tools.generation.settings import Settings
from data_tools.generation.workers import in_processes
from orbdens.errors import UserError
from orbdens.machine import available_cores
from orbdens.progress import Display
from orbdens.pyscf.bases import named_basis
from orbdens.store import Manifest, OrbitalRecord, StoreWriter
from orbdens.structure import Structure

SEED = 625
DISTANCES = np.linspace(1.45, 2.05, 25)
ANGLES = (100.0, 180.0)
N_TRAIN = 500
SETTINGS = Settings(xc="PBE", basis="gth-dzvp-molopt-sr", pseudo="gth-pbe", grid_level=1, conv_tol=1e-9)
"""No density fitting: at 25 AOs it is slower than the exact integrals, and it shifts the energy by 7 mHartree."""


def geometries() -> NDArray[np.float32]:
    """Positions of Li, O, Li in Å [625, 3, 3]: oxygen in the origin, the molecule in the xy plane, ±x to the lithiums.

    float32, so that the store holds exactly the coordinates of the calculation.
    """
    rng = np.random.default_rng(SEED)
    first, second = (axis.reshape(-1) for axis in np.meshgrid(DISTANCES, DISTANCES, indexing="ij"))
    half = np.radians(rng.uniform(*ANGLES, size=len(first))) / 2
    x, y, zero = np.sin(half), -np.cos(half), np.zeros(len(first))
    lithium = np.stack([-first * x, first * y, zero], axis=-1), np.stack([second * x, second * y, zero], axis=-1)
    return np.stack([lithium[0], np.zeros_like(lithium[0]), lithium[1]], axis=1).astype(np.float32)


def splits(keys: list[str]) -> dict[str, list[str]]:
    """500 training and 125 test configurations at random, each in the order of the keys."""
    shuffled = np.random.default_rng(SEED + 1).permutation(len(keys))
    return {
        "train": [keys[i] for i in sorted(shuffled[:N_TRAIN])],
        "test": [keys[i] for i in sorted(shuffled[N_TRAIN:])],
    }


def structure_at(positions: NDArray[np.float32]) -> Structure:
    """Li-O-Li at positions in Å [3, 3]."""
    return Structure(np.array([3, 8, 3]), positions.astype(np.float64))


def calculate(positions: NDArray[np.float32]) -> OrbitalRecord:
    """One configuration.

    Raises:
        UserError: the calculation does not converge, or has not its 12 electrons.
    """
    try:
        return calculate_molecule(structure_at(positions), SETTINGS)
    except CalculationError as error:
        raise UserError(f"Li-O-Li at {positions.tolist()} Å: {error}") from None


def generate(out: Path, resume: bool = False) -> None:
    """Make the store, about four minutes on one core.

    Args:
        out: folder of the store.
        resume: go on with an unfinished one.

    Raises:
        UserError: ``out`` exists, or a configuration fails.
    """
    basis, valence = named_basis(["Li", "O"], SETTINGS.basis, SETTINGS.pseudo)
    provenance = {"command": "python -m data_tools.recipes.lithium_oxide OUT", "seed": SEED}
    tasks = [(f"li2o-{i:03d}", structure_at(positions)) for i, positions in enumerate(geometries())]
    level = SETTINGS.level([structure for _, structure in tasks])
    manifest = Manifest(level, "valence", valence, basis, provenance)
    with StoreWriter(out, manifest, resume=resume) as writer, Display() as display:
        left = [task for task in tasks if task[0] not in writer]
        for done, (key, result) in enumerate(in_processes(left, SETTINGS, available_cores()), start=1):
            if isinstance(result, Failure):
                raise UserError(f"{key}: {result.reason}")
            writer.put(key, result)
            display.count("Li-O-Li", done, len(left))
        writer.finish(splits([key for key, _ in tasks]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the store to write")
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished store")
    arguments = parser.parse_args()
    try:
        generate(arguments.out, arguments.resume)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
