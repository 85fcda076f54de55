"""What the shipped weights do off their ground: ``python -m benchmarks.unfamiliar --json F``, some minutes.

They were trained on neutral closed-shell molecules of 3 to 7 heavy atoms at their minima. Here are other ones, each
with the NMAE that the model expects, the true one against PySCF (0.2 Å, 4 Å margin), and whether it warned.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.build import molecule
from ase.collections import g2

import orbdens
from benchmarks.reference import Reference
from orbdens.machine import describe_machine, describe_versions
from orbdens.metrics import nmae

ELEMENTS = {"H", "C", "N", "O", "F"}


def structures() -> Iterator[tuple[str, str, ase.Atoms]]:
    """Group, name and structure of everything measured."""
    for name in g2.names:
        atoms = molecule(name)
        if len(atoms) > 1 and set(atoms.symbols) <= ELEMENTS:
            unpaired = round(abs(atoms.get_initial_magnetic_moments().sum()))
            atoms.info["multiplicity"] = unpaired + 1
            yield ("radicals and triplets of G2" if unpaired else "closed shells of G2"), name, atoms
    for factor in (0.95, 1.05, 1.1, 1.2):
        atoms = molecule("CH3CH2OH")
        atoms.positions *= factor
        yield "ethanol, all lengths scaled", f"x {factor}", atoms
    for name, charge, atoms in _ions():
        atoms.info["charge"] = charge
        yield "ions", name, atoms


def _ions() -> Iterator[tuple[str, int, ase.Atoms]]:
    """Ions in the geometries of their neutral relatives."""
    ammonium = molecule("CH4")
    ammonium.numbers[0] = 7
    ammonium.positions *= 1.03 / 1.09
    yield "NH4+", 1, ammonium
    for name, neutral in (("formate", "HCOOH"), ("acetate", "CH3COOH"), ("ethoxide", "CH3CH2OH")):
        atoms = molecule(neutral)
        oxygens, hydrogens = np.flatnonzero(atoms.numbers == 8), np.flatnonzero(atoms.numbers == 1)
        distances = atoms.get_all_distances()[np.ix_(oxygens, hydrogens)].min(axis=0)
        del atoms[int(hydrogens[distances.argmin()])]
        yield name, -1, atoms


def measure(model: Any, atoms: ase.Atoms) -> dict[str, Any]:
    """Expected and true NMAE in %, and what the model warned of: atoms, and phrases on bonds, charge and spin."""
    density = model.predict(atoms)
    grid, values = density.on_grid()
    reference = Reference(atoms).at(grid.points()).reshape(grid.shape)
    return {
        "expected": density.expected_error,
        "true": nmae(values, reference),
        "warnings": [*density.unfamiliar, *density.warnings],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="organics", help="run folder, model.safetensors, or the word organics")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = orbdens.load(arguments.model)
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for group, name, atoms in structures():
        try:
            groups.setdefault(group, {})[name] = measure(model, atoms)
        except RuntimeError as error:
            print(f"left out: {error}")
    for group, rows in groups.items():
        warned = sum(bool(row["warnings"]) for row in rows.values())
        print(f"\n{group}: {len(rows)}, {warned} with a warning")
        for key in ("expected", "true"):
            errors = np.array([row[key] for row in rows.values()])
            print(f"  NMAE {key:8}  median {np.median(errors):.2f}  mean {errors.mean():.2f}  max {errors.max():.2f} %")
        for name, row in sorted(rows.items(), key=lambda item: -item[1]["true"])[:12]:
            print(f"    {name:18} true {row['true']:6.2f} %  expected {row['expected']:5.2f} %", *row["warnings"][:1])
    if arguments.json:
        machine = describe_machine(arguments.threads) | describe_versions("torch", "numba", "pyscf")
        arguments.json.write_text(json.dumps({"machine": machine, "groups": groups}, indent=1) + "\n")


if __name__ == "__main__":
    main()
