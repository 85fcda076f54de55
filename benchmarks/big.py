"""Large structures: ``python -m benchmarks.big --json F``. Time and memory an atom, from 100 atoms to 10,000.

Systems: liquid water as a cluster (``water``) and as a periodic cube (``box``), α-helices of polyalanine side by side,
a crystal (``peptide``), molecules of water out of each other's sight (``gas``), and a slab of diamond, which repeats in
two directions (``slab``). Each is predicted in a process of its own, by the weights that ship, and evaluated at 100
random points an atom; the largest box also goes to disk on a grid, slab by slab. No time is told if an electron is
missing, or if parts give another density than the whole.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from scipy.spatial.transform import Rotation

import orbdens
from orbdens.density import Density
from orbdens.electrons import CountedSlabs
from orbdens.formats import WRITERS
from orbdens.machine import describe_machine, describe_versions, peak_memory_mb
from orbdens.models.orbital import backbone
from orbdens.structure import Structure

SIDE = 3.104
"""Å; the edge of a cube that one molecule of liquid water fills, at 1.00 g/cm³."""

APART = 14.0
"""Å between the molecules of a gas: nothing of one reaches another."""

ALANINE = (
    ("N", 1.529, -26.7, -0.920),
    ("H", 1.497, -18.6, -1.906),
    ("C", 2.263, 0.0, 0.000),
    ("H", 2.961, -14.6, 0.518),
    ("C", 3.317, 16.7, -0.771),
    ("H", 3.077, 33.4, -1.298),
    ("H", 4.112, 20.9, -0.075),
    ("H", 3.788, 5.9, -1.492),
    ("C", 1.657, 26.9, 1.070),
    ("O", 1.933, 20.6, 2.254),
)
"""A residue of a right-handed α-helix (φ = −57.8°, ψ = −45.5°): Å from its axis, angle in degrees, height in Å."""

TURN, RISE, RESIDUES = 100.0, 1.565, 18
"""Degrees and Å from a residue to the next, and residues after which the helix repeats."""

HELICES_APART = 10.0
"""Å between the axes of helices."""

LATTICE, LAYERS = 3.567, 5
"""Å; of diamond, and cells of the slab along its normal."""

POINTS = 100
"""Points at which densities are evaluated, for each atom."""

ALLOWED = 1e-11
"""Part of the electrons that may be missing: all that counts them is in double precision, and sums over 10⁵ sites."""

SAME = 1e-6
"""Part of the highest density by which parts may differ from the whole, in single precision."""

SECONDS, MEGABYTES, FLAT = 200, 6000, 1.3
"""What 10,000 atoms of water with their points may take on two cores, and the largest ratio of times an atom."""


def molecules(n: int, side: float, periodic: bool) -> Structure:
    """Molecules of water at random angles on a cubic lattice, as a cluster or a periodic cube."""
    edge = int(np.ceil(n ** (1 / 3) - 1e-9))
    molecule = np.array([[0.0, 0.0, 0.0], [0.7575, 0.5871, 0.0], [-0.7575, 0.5871, 0.0]])
    places = np.stack(np.unravel_index(np.arange(n), (edge, edge, edge)), axis=1) * side
    turned = [rotation.apply(molecule) for rotation in Rotation.random(n, random_state=0)]
    positions = (np.stack(turned) + places[:, None]).reshape(-1, 3)
    cell = np.eye(3) * side * edge if periodic else None
    return Structure(np.tile([8, 1, 1], n), positions, cell, (periodic, periodic, periodic))


def peptide(n_atoms: int) -> Structure:
    """A square lattice of endless helices, about so many atoms in a cell."""
    side = max(1, round((n_atoms / len(ALANINE) / RESIDUES) ** 0.5))
    symbols, radii, angles, heights = zip(*ALANINE, strict=True)
    turned = np.radians(np.array(angles) + TURN * np.arange(RESIDUES)[:, None])
    risen = np.array(heights) + RISE * np.arange(RESIDUES)[:, None]
    one = np.stack([radii * np.cos(turned), radii * np.sin(turned), risen], axis=-1).reshape(-1, 3)
    places = np.stack((*np.unravel_index(np.arange(side**2), (side, side)), np.zeros(side**2)), axis=1)
    axes = HELICES_APART * places
    cell = np.diag([side * HELICES_APART, side * HELICES_APART, RESIDUES * RISE])
    numbers = np.tile([atomic_numbers[symbol] for symbol in symbols], RESIDUES * side**2)
    return Structure(numbers, (one + axes[:, None]).reshape(-1, 3), cell, (True, True, True))


def diamond(n_atoms: int) -> Structure:
    """A slab of diamond, bare surfaces, about so many atoms in a cell."""
    side = max(1, round((n_atoms / 8 / LAYERS) ** 0.5))
    cells = np.stack(np.unravel_index(np.arange(side * side * LAYERS), (side, side, LAYERS)), axis=1)
    faces = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = (cells[:, None] + np.concatenate([faces, faces + 0.25])).reshape(-1, 3) * LATTICE
    cell = np.diag([side, side, LAYERS]) * LATTICE
    return Structure(np.full(len(positions), 6), positions, cell, (True, True, False))


SYSTEMS: dict[str, tuple[Callable[[int], Structure], list[int]]] = {
    "water": (lambda n: molecules(n // 3, SIDE, periodic=False), [102, 999, 9999]),
    "box": (lambda n: molecules(n // 3, SIDE, periodic=True), [102, 999, 9999]),
    "peptide": (peptide, [180, 1000, 9000]),
    "gas": (lambda n: molecules(n // 3, APART, periodic=False), [102, 999, 9999]),
    "slab": (diamond, [160, 1000, 5000]),
}
"""What is measured, by name, and its numbers of atoms."""


def check_parts(system: str) -> float:
    """The largest difference that parts make in the density of 300 atoms, of its highest value."""
    model, structure = orbdens.load(), SYSTEMS[system][0](300)
    low, high = structure.positions.min(axis=0), structure.positions.max(axis=0)
    points = np.concatenate([structure.positions, np.random.default_rng(0).uniform(low, high, (20_000, 3))])
    values = []
    for memory, sites in ((10**12, 10**6), (backbone.MEMORY["cpu"] // 4, 100)):
        backbone.MEMORY["cpu"], backbone.SITES_AT_ONCE = memory, sites
        values.append(model.predict(structure).at(points))
    return float(np.abs(values[0] - values[1]).max() / values[0].max())


def measure(system: str, n_atoms: int, threads: int, stream: bool) -> dict[str, Any]:
    """Time and memory of one structure, in this process."""
    torch.set_num_threads(threads)
    model, make = orbdens.load(), SYSTEMS[system][0]
    model.predict(make(12)).at(np.zeros((1, 3)))  # whatever is compiled or made once
    structure = make(n_atoms)
    times = [time.perf_counter()]
    used = time.process_time()
    model.place(structure, model.count_electrons(structure))
    times.append(time.perf_counter())
    placing = time.process_time() - used
    density = model.predict(structure)
    times.append(time.perf_counter())
    low, high = structure.positions.min(axis=0), structure.positions.max(axis=0)
    density.at(np.random.default_rng(0).uniform(low, high, (POINTS * structure.n_atoms, 3)))
    times.append(time.perf_counter())
    processor = time.process_time() - used - placing
    row = {
        "system": system,
        "n_atoms": structure.n_atoms,
        "place_s": times[1] - times[0],
        "encode_s": times[2] - times[1],
        "points_s": times[3] - times[2],
        "ms_per_atom": 1000 * (times[3] - times[1]) / structure.n_atoms,
        "processor_ms_per_atom": 1000 * processor / structure.n_atoms,
        "place_processor_ms_per_atom": 1000 * placing / structure.n_atoms,
        "peak_memory_mb": peak_memory_mb(),
        "electrons": model.count_electrons(structure),
        "electrons_missing": model.count_electrons(structure) - density.n_electrons,
    }
    return row | (streamed(density) if stream else {})


def streamed(density: Density) -> dict[str, Any]:
    """Time, size and memory of a density that goes to disk on its grid, by format."""
    grid, found = density.suited_grid(), {"grid_points": 0}
    found["grid_points"] = grid.n_points
    for name in ("cube", "hdf5"):
        slabs = CountedSlabs(density.slabs(grid), grid.steps)
        with tempfile.TemporaryDirectory() as folder:
            path, begun = Path(folder) / name, time.perf_counter()
            WRITERS[name].write(path, density.structure, grid, iter(slabs))
            found |= {f"{name}_s": time.perf_counter() - begun, f"{name}_mb": path.stat().st_size / 1e6}
        found |= {f"{name}_peak_memory_mb": peak_memory_mb(), f"{name}_electrons": slabs.n_electrons}
    return found


def report(row: dict[str, Any]) -> None:
    print(
        f"{row['system']:8} {row['n_atoms']:6d} atoms  sites {row['place_s']:6.2f} s  encode {row['encode_s']:7.2f} s  "
        f"points {row['points_s']:6.2f} s  {row['ms_per_atom']:6.2f} ms an atom (processor "
        f"{row['processor_ms_per_atom']:6.2f})  peak {row['peak_memory_mb']:6.0f} MB  "
        f"missing {row['electrons_missing']:8.1e} of {row['electrons']} e",
        flush=True,
    )
    for name in ("cube", "hdf5"):
        if f"{name}_s" in row:
            print(
                f"    {name}: {row['grid_points']:,} points in {row[f'{name}_s']:.1f} s, {row[f'{name}_mb']:.0f} MB; "
                f"peak {row[f'{name}_peak_memory_mb']:.0f} MB, {row[f'{name}_electrons']:.4f} electrons",
                flush=True,
            )


def summary(rows: list[dict[str, Any]]) -> None:
    """How time an atom grows within each system, and what 10,000 atoms of water take at most."""
    for system in dict.fromkeys(row["system"] for row in rows):
        times = [row["processor_ms_per_atom"] for row in rows if row["system"] == system]
        ratio = max(times) / min(times)
        held = "held" if ratio <= FLAT else "missed"
        print(f"{system:8} processor time an atom, longest over shortest: {ratio:.2f} ({FLAT}: {held})")
    for row in rows:
        if row["system"] in ("water", "box") and row["n_atoms"] > 9000:
            seconds, memory = row["encode_s"] + row["points_s"], row["peak_memory_mb"]
            held = "held" if seconds <= SECONDS and memory <= MEGABYTES else "missed"
            print(f"{row['system']:8} {seconds:.0f} s and {memory:.0f} MB ({SECONDS} s and {MEGABYTES} MB: {held})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--atoms", type=int, nargs="+", help="instead of each system's own numbers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    context, rows = multiprocessing.get_context("spawn"), []
    for system in arguments.systems:
        with context.Pool(1) as pool:
            different = pool.apply(check_parts, (system,))
        if different > SAME:
            raise SystemExit(f"{system}: parts change the density by {different:.1e} of its peak: no times are told")
        print(f"{system:8} parts give what the whole gives, to {different:.1e} of its peak", flush=True)
        numbers = arguments.atoms or SYSTEMS[system][1]
        for n_atoms in numbers:
            stream = system == "box" and n_atoms == max(numbers)
            with context.Pool(1) as pool:  # a process of its own, which tells its own peak
                row = pool.apply(measure, (system, n_atoms, arguments.threads, stream))
            if abs(row["electrons_missing"]) > ALLOWED * row["electrons"]:
                raise SystemExit(f"{row['electrons_missing']:.2g} electrons are missing: no times are told")
            rows.append(row | {"parts_differ": different})
            report(row)
            if arguments.json:
                machine = describe_machine(arguments.threads) | describe_versions("torch", "numba")
                arguments.json.write_text(json.dumps({"machine": machine, "structures": rows}, indent=2) + "\n")
    summary(rows)


if __name__ == "__main__":
    main()
