"""625 configurations of Li-O-Li with PySCF: the store that ships with the package.

    python -m data_tools.generate_lithium_oxide OUT

25 x 25 pairs of Li-O distances from 1.45 to 2.05 Å, a bond angle per configuration drawn from 100 to 180 degrees.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyscf
from numpy.typing import NDArray
from pyscf import dft, gto
from rich.progress import track

from data_tools.pyscf_bridge import electron_count, named_basis, orbital_record, without_checkpoint
from orbdens.data.store import Manifest, OrbitalRecord, StoreWriter
from orbdens.errors import UserError
from orbdens.structure import Structure

SEED = 625
DISTANCES = np.linspace(1.45, 2.05, 25)
ANGLES = (100.0, 180.0)
N_TRAIN = 500
N_ELECTRONS = 12
LEVEL: dict[str, Any] = {
    "method": "RKS",
    "xc": "PBE",
    "basis": "gth-dzvp-molopt-sr",
    "pseudo": "gth-pbe",
    "grid_level": 1,
    "scf_tolerance": 1e-9,
    "code": f"PySCF {pyscf.__version__}",
}


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


def calculate(positions: NDArray[np.float32]) -> OrbitalRecord:
    """One configuration from PySCF's own initial guess, so that no result depends on another.

    No density fitting: at 25 AOs it is slower than the exact integrals, and it shifts the energy by 7 mHartree.

    Raises:
        UserError: the calculation does not converge.
    """
    atoms = list(zip(("Li", "O", "Li"), positions.astype(float).tolist(), strict=True))
    mol = gto.M(atom=atoms, basis=LEVEL["basis"], pseudo=LEVEL["pseudo"], verbose=0)
    mf = without_checkpoint(dft.RKS(mol, xc=LEVEL["xc"]))
    mf.grids.level = LEVEL["grid_level"]
    mf.conv_tol = LEVEL["scf_tolerance"]
    mf.kernel()
    if not mf.converged:
        mf = mf.newton()
        mf.kernel()
    if not mf.converged:
        raise UserError(f"the calculation of Li-O-Li at {positions.tolist()} Å does not converge")
    return orbital_record(mf, Structure(np.array([3, 8, 3]), positions.astype(np.float64)))


def generate(out: Path, resume: bool = False) -> None:
    """Make the store, about four minutes on one core.

    Args:
        out: folder of the store.
        resume: go on with an unfinished one.

    Raises:
        UserError: ``out`` exists, or a configuration fails.
    """
    basis, valence = named_basis(["Li", "O"], LEVEL["basis"], LEVEL["pseudo"])
    provenance = {"command": "python -m data_tools.generate_lithium_oxide OUT", "seed": SEED}
    positions = geometries()
    keys = [f"li2o-{i:03d}" for i in range(len(positions))]
    manifest = Manifest(LEVEL, "valence", valence, basis, provenance)
    with StoreWriter(out, manifest, resume=resume) as writer:
        for key, geometry in track(list(zip(keys, positions, strict=True)), description="Li-O-Li"):
            if key in writer:
                continue
            record = calculate(geometry)
            count = electron_count(record, basis)
            if abs(count - N_ELECTRONS) > 1e-4:
                raise UserError(f"{key} integrates to {count:.6f} electrons, expected {N_ELECTRONS}")
            writer.put(key, record)
        writer.finish(splits(keys))


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
