"""Large structures: ``python -m benchmarks.big --json F``. Time and memory of boxes of water, 100 to 10,000 atoms.

Each box is predicted in a process of its own, by the weights that ship, and evaluated at 100 random points an atom. If
an electron is missing, no time is told.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

import orbdens
from orbdens.machine import describe_machine, describe_versions, peak_memory_mb
from orbdens.structure import Structure

SIDE = 3.104
"""Å; the edge of a cube that one molecule of liquid water fills, at 1.00 g/cm³."""

POINTS = 100
"""Points at which densities are evaluated, for each atom."""

ALLOWED = 1e-8
"""Part of the electrons that may be missing: they are summed up from coefficients in single precision."""


def water(n_atoms: int, periodic: bool) -> Structure:
    """Water at its liquid's density: molecules at random angles on a cubic lattice, as a cluster or a periodic cube."""
    n = n_atoms // 3
    edge = int(np.ceil(n ** (1 / 3) - 1e-9))
    molecule = np.array([[0.0, 0.0, 0.0], [0.7575, 0.5871, 0.0], [-0.7575, 0.5871, 0.0]])
    places = np.stack(np.unravel_index(np.arange(n), (edge, edge, edge)), axis=1) * SIDE
    turned = [rotation.apply(molecule) for rotation in Rotation.random(n, random_state=0)]
    positions = (np.stack(turned) + places[:, None]).reshape(-1, 3)
    cell = np.eye(3) * SIDE * edge if periodic else None
    return Structure(np.tile([8, 1, 1], n), positions, cell, (periodic, periodic, periodic))


def measure(n_atoms: int, periodic: bool, threads: int) -> dict[str, float | int | bool | None]:
    """Time and memory of one box, in this process."""
    torch.set_num_threads(threads)
    model = orbdens.load()
    model.predict(water(12, periodic)).at(np.zeros((1, 3)))  # whatever is compiled or made once
    box = water(n_atoms, periodic)
    begun, used = time.perf_counter(), time.process_time()
    density = model.predict(box)
    encoded = time.perf_counter()
    low, high = box.positions.min(axis=0), box.positions.max(axis=0)
    density.at(np.random.default_rng(0).uniform(low, high, (POINTS * n_atoms, 3)))
    ended, processor = time.perf_counter(), time.process_time() - used
    return {
        "n_atoms": box.n_atoms,
        "periodic": periodic,
        "encode_s": encoded - begun,
        "points_s": ended - encoded,
        "ms_per_atom": 1000 * (ended - begun) / box.n_atoms,
        "processor_ms_per_atom": 1000 * processor / box.n_atoms,
        "peak_memory_mb": peak_memory_mb(),
        "electrons_missing": box.n_atoms // 3 * 8 - density.n_electrons,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, nargs="+", default=[102, 300, 999, 3000, 9999])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    context, rows = multiprocessing.get_context("spawn"), []
    for periodic in (False, True):
        for n_atoms in arguments.atoms:
            with context.Pool(1) as pool:  # a process of its own, which tells its own peak
                row = pool.apply(measure, (n_atoms, periodic, arguments.threads))
            if abs(row["electrons_missing"]) > ALLOWED * 8 / 3 * n_atoms:
                raise SystemExit(f"{row['electrons_missing']:.2g} electrons are missing: no times are told")
            rows.append(row)
            print(
                f"{row['n_atoms']:6d} atoms {'periodic' if periodic else 'cluster':8} encode {row['encode_s']:7.2f} s  "
                f"points {row['points_s']:6.2f} s  {row['ms_per_atom']:6.2f} ms an atom  "
                f"(processor {row['processor_ms_per_atom']:6.2f})  peak {row['peak_memory_mb']:6.0f} MB  "
                f"missing {row['electrons_missing']:9.1e} e",
                flush=True,
            )
    if arguments.json:
        machine = describe_machine(arguments.threads) | describe_versions("torch", "numba")
        arguments.json.write_text(json.dumps({"machine": machine, "boxes": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
