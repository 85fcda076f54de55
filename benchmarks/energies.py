"""From density to energy: the Hohenberg-Kohn map's way, beside one Fock matrix from a predicted density.

    python -m benchmarks.energies runs/ethanol-hk-map ethanol.lmdb --orbital runs/ethanol --one-shot 20 --delta 100

As Brockherde et al. (Nat. Commun. 8, 872, 2017) and Bogojeski et al. (Nat. Commun. 11, 5223, 2020) do it: kernel ridge
regression takes the map's densities, on a grid in the frame over which it lays molecules, to the energies that the
store holds. Δ-learning takes them to what coupled cluster, CCSD(T) with the same basis and cores, has over PBE.
One-shot energies, ``orbdens.pyscf.energy``, learn nothing of energies.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyscf.cc
import pyscf.lib
import pyscf.scf
import torch
from numpy.typing import NDArray

import orbdens
from benchmarks.scf import settings_of
from data_tools.generation.scf import mean_field, molecule
from orbdens.grid import Grid
from orbdens.models.hk_map.model import HKMapModel, squared_distances
from orbdens.models.kernel_ridge import choose, gaussian
from orbdens.pyscf import energy
from orbdens.sampling import evenly_spaced
from orbdens.store import Store, open_store
from orbdens.structure import Structure
from orbdens.units import KCAL_PER_MOL

SPACING, MARGIN = 0.3, 2.0
"""Å; of the grid on which densities are compared."""

LENGTHS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
"""Of the kernel, over the median distance of what is learned from."""
RIDGES = [10.0**power for power in range(-12, -3)]

Squares = Callable[[Sequence[int], Sequence[int]], NDArray[np.float64]]
"""Squared distances between structures of two lists of places [n, m]."""


def densities(model: HKMapModel, structures: Sequence[Structure]) -> NDArray[np.float32]:
    """The map's densities of structures laid over its reference, on one grid [n, n_points]."""
    around = Structure(model.numbers, model.reference.positions)
    grid = Grid.around(around, SPACING, MARGIN)
    laid = [Structure(model.numbers, model.lay(structure).positions) for structure in structures]
    return np.stack([density.on(grid).ravel() for density in model.predict_many(laid)])


def regressed(squares: Squares, targets: NDArray[np.float64], n_training: int) -> NDArray[np.float64]:
    """Errors of the targets behind the first ``n_training``, from which they are learned."""
    training, tests = range(n_training), range(n_training, len(targets))
    among, mean = squares(training, training), targets[:n_training].mean()
    median = float(np.sqrt(np.median(among[np.triu_indices(n_training, 1)])))
    column = (targets[:n_training] - mean)[:, None]
    kernels = {median * part: gaussian(among, median * part) for part in LENGTHS}
    chosen = choose(kernels, column, RIDGES, lambda found: float(((found - column) ** 2).mean()), seed=0)
    found = mean + gaussian(squares(tests, training), chosen.name) @ chosen.dual[:, 0]
    result: NDArray[np.float64] = found - targets[n_training:]
    return result


def told(what: str, errors: NDArray[np.float64]) -> dict[str, Any]:
    """Print and return the size of errors given in Hartree."""
    size = KCAL_PER_MOL * np.abs(errors)
    print(f"{what:58} mean |error| {size.mean():.3f}, largest {size.max():.2f} kcal/mol", flush=True)
    return {"what": what, "mean": float(size.mean()), "max": float(size.max()), "n": len(size)}


def coupled_cluster(structure: Structure, level: dict[str, Any]) -> float:
    """Hartree: CCSD(T) with the basis and cores of the store; six seconds of a core for ethanol."""
    mf = pyscf.scf.RHF(molecule(structure, settings_of(level, None, None))).density_fit()
    mf.kernel()
    clusters = pyscf.cc.CCSD(mf)
    clusters.kernel()
    return float(mf.e_tot + clusters.e_corr + clusters.ccsd_t())


def differences(store: Store, keys: Sequence[str], cache: Path | None) -> NDArray[np.float64]:
    """Hartree, CCSD(T) less the stored energies; those in the file ``cache`` are read there, new ones added to it."""
    known: dict[str, float] = {}
    if cache is not None and cache.exists():
        known = json.loads(cache.read_text())
    for key in keys:
        if key not in known:
            whole = coupled_cluster(store.structure(key), dict(store.manifest.level))
            known[key] = whole - float(store[key].energy or 0)
            if cache is not None:
                cache.write_text(json.dumps(known))
    return np.array([known[key] for key in keys])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="run folder of an hk_map")
    parser.add_argument("store", type=Path, help="its store, with energies")
    parser.add_argument("--n", type=int, default=500, help="test structures, evenly spaced")
    parser.add_argument("--orbital", type=Path, help="run folder of an orbital model, for one-shot energies beside it")
    parser.add_argument("--one-shot", type=int, default=0, help="test structures for one-shot energies")
    parser.add_argument(
        "--delta", type=int, default=0, help="training structures for Δ-learning; a third as many tests"
    )
    parser.add_argument("--delta-cache", type=Path, help="file that keeps the energies for Δ-learning")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pyscf.lib.num_threads(1)
    store, model = open_store(options.store), orbdens.load(options.model)
    assert isinstance(model, HKMapModel), "the model should be an hk_map"
    training, tests = store.keys("train"), evenly_spaced(store.keys("test"), options.n)
    keys = training + tests
    energies = np.array([store[key].energy for key in keys], dtype=np.float64)
    structures = [store.structure(key) for key in keys]
    fields = densities(model, structures)
    norms = np.einsum("ij,ij->i", fields, fields, dtype=np.float64)
    positions = np.stack([model.lay(structure).positions for structure in structures])

    def of_densities(some: Sequence[int], others: Sequence[int]) -> NDArray[np.float64]:
        cross = fields[list(some)].astype(np.float64) @ fields[list(others)].astype(np.float64).T
        return np.maximum(norms[list(some), None] + norms[list(others)] - 2 * cross, 0)

    def of_potentials(some: Sequence[int], others: Sequence[int]) -> NDArray[np.float64]:
        return squared_distances(model.numbers, positions[list(some)], positions[list(others)], model.width)

    n = len(training)
    print(f"{n} training and {len(tests)} test structures of {options.store.name}; energies of PBE spread by")
    spread = energies[n:] - energies[:n].mean()
    figures = [told("the mean of the training energies", spread)]
    figures.append(told("density of the map -> energy", regressed(of_densities, energies, n)))
    figures.append(told("potential -> energy, without a density", regressed(of_potentials, energies, n)))
    if options.delta:
        places = evenly_spaced(list(range(n)), options.delta) + evenly_spaced(
            list(range(n, len(keys))), options.delta // 3
        )
        deltas = differences(store, [keys[place] for place in places], options.delta_cache)

        def some_of(squares: Squares) -> Squares:
            return lambda a, b: squares([places[i] for i in a], [places[i] for i in b])

        for what, targets in (("CCSD(T)", energies[places] + deltas), ("CCSD(T) − PBE", deltas)):
            errors_of = regressed(some_of(of_densities), targets, options.delta)
            figures.append(told(f"density -> {what}, from {options.delta}", errors_of))
    for name, its_model in (("hk_map", model), ("orbital model", options.orbital and orbdens.load(options.orbital))):
        if options.one_shot and its_model:
            errors = []
            for key in evenly_spaced(tests, options.one_shot):
                mf = mean_field(
                    molecule(store.structure(key), settings := settings_of(dict(store.manifest.level), None, None)),
                    settings,
                )
                errors.append(
                    energy(mf, its_model.predict(store.structure(key))).energy - float(store[key].energy or 0)
                )
            figures.append(told(f"one Fock matrix from the density of the {name}", np.array(errors)))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
