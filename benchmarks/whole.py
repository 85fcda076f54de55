"""Do cubes with cores hold all electrons, and how fast are potentials: ``python -m benchmarks.whole STORE``.

Every structure of a split is predicted, made whole as by `orbdens predict --core`, and its cube summed up. The
potential is that of the structure with the number of atoms next to ``--atoms``, at random points around it, one warm
call at a time.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

import orbdens
from orbdens.density import Density
from orbdens.electrons import electrons_on_grid
from orbdens.machine import describe_machine
from orbdens.observables.cores import WholeDensity
from orbdens.observables.potential import potential
from orbdens.sampling import evenly_spaced

POINTS = 10_000
"""At which the potential is timed."""


def lost_electrons(density: Density, spacing: float) -> float:
    """Electrons of a whole density on its grid, less those it has, e."""
    grid, values = WholeDensity.of(density).on_grid(spacing)
    structure = density.structure
    return electrons_on_grid(values, grid.steps) - (int(structure.numbers.sum()) - structure.charge)


def seconds_of_potential(density: Density, repeats: int) -> tuple[float, float]:
    """Medians of the warm calls, s: by the clock, and of processor time, which other work hardly changes."""
    positions = density.structure.positions
    rng = np.random.default_rng(0)
    points = rng.uniform(positions.min(axis=0) - 4, positions.max(axis=0) + 4, size=(POINTS, 3))
    times, busy = [], []
    for _ in range(repeats + 1):
        begun, used = time.perf_counter(), time.process_time()
        potential(density, points)
        times.append(time.perf_counter() - begun)
        busy.append(time.process_time() - used)
    return statistics.median(times[1:]), statistics.median(busy[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default=None, help="model file or run folder [default: general, which ships]")
    parser.add_argument("--n", type=int, default=None, help="at most so many structures, evenly spaced")
    parser.add_argument("--grid", type=float, default=[0.2], nargs="+", help="spacings in Å")
    parser.add_argument("--atoms", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    store = orbdens.Store(arguments.store)
    keys = store.keys(arguments.split)
    keys = keys if arguments.n is None else evenly_spaced(keys, arguments.n)
    model = orbdens.load(arguments.model)
    densities = model.predict([store.structure(key) for key in keys])
    for spacing in arguments.grid:
        lost = [lost_electrons(density, spacing) for density in densities]
        worst = int(np.abs(lost).argmax())
        formula = densities[worst].structure.formula
        print(
            f"{len(keys)} cubes at {spacing:g} Å: at most {lost[worst]:+.1e} e off, {formula} ({keys[worst]})",
            flush=True,
        )
    timed = min(densities, key=lambda density: abs(density.structure.n_atoms - arguments.atoms))
    seconds, busy = seconds_of_potential(timed, arguments.repeats)
    print(
        f"potential of {timed.structure.formula} ({timed.structure.n_atoms} atoms) at {POINTS:,} points: "
        f"{1000 * seconds:.0f} ms ({1000 * busy:.0f} ms of processor time), {torch.get_num_threads()} threads"
    )
    print(describe_machine())


if __name__ == "__main__":
    main()
