"""Self-consistent calculations from predicted densities and PySCF's own guesses: ``python -m benchmarks.scf STORE``.

A guess whose name ends in + is followed by ``orbdens.pyscf.accelerate``'s cycles instead of PySCF's own.

Counted is everything between the geometry and the converged energy, with a model that is loaded: cycles, Fock builds
hidden in the guess, processor time of one thread (which other work on the machine does not change). Coulomb matrices
by density fitting are in the time alone. A calculation that ends in another state than its fellows stands in a line of
its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyscf
import torch

import orbdens
from data_tools.generation.scf import mean_field, molecule
from data_tools.generation.settings import Settings
from orbdens.labels import stored_density
from orbdens.machine import describe_machine, describe_versions
from orbdens.models.interface import DensityModel
from orbdens.pyscf.cycles import accelerate
from orbdens.pyscf.guess import energy_of, first_orbitals, initial_guess
from orbdens.sampling import evenly_spaced
from orbdens.store import open_store
from orbdens.structure import Structure
from orbdens.units import KCAL_PER_MOL

PREDICTED = "orbdens"
ACCELERATED = "+"
SAME_STATE = 1e-6
"""Hartree between energies of one state."""


@dataclass(frozen=True)
class Run:
    """One calculation.

    Attributes:
        key, formula: of the structure.
        guess: its name.
        cycles: of the self-consistent calculation.
        hidden: Fock matrices built before the first cycle.
        seconds: processor time from the geometry to the energy.
        energy: Hartree.
        converged: whether it did.
        errors: kcal/mol of the one-shot energy, of that of the first orbitals, and of Harris' (None for hybrids),
            against the converged energy; of predicted densities alone.
    """

    key: str
    formula: str
    guess: str
    cycles: int
    hidden: int
    seconds: float
    energy: float
    converged: bool
    errors: tuple[float | None, ...] = ()


def settings_of(level: dict[str, Any], xc: str | None, basis: str | None) -> Settings:
    """Those with which a store was made, or all electrons in another basis; PySCF's tolerance where it names none."""
    own = Settings(
        xc=level["xc"],
        basis=level["basis"],
        pseudo=level["pseudo"],
        density_fit=bool(level["auxbasis"]),
        auxbasis=level["auxbasis"],
        grid_level=level["grid_level"],
    )
    if xc is None and basis is None:
        return own
    return replace(own, xc=xc or own.xc, basis=basis or own.basis, pseudo=None if basis else own.pseudo, auxbasis=None)


def measure(
    key: str, structure: Structure, settings: Settings, guesses: Sequence[str], model: DensityModel
) -> list[Run]:
    """One structure from every guess."""
    runs = []
    for guess in guesses:
        begin = time.process_time()
        mol = molecule(structure, settings)
        mf = mean_field(mol, settings)
        first = None
        if guess.endswith(ACCELERATED):
            accelerate(mf)
        if guess.removesuffix(ACCELERATED) == PREDICTED:
            density = model.predict(structure)
            if mol.spin:
                mf.kernel(dm0=initial_guess(mf, density))
            else:
                first = first_orbitals(mf, density)
                mf.kernel(dm0=first.density_matrix)
        else:
            mf.init_guess = guess.removesuffix(ACCELERATED)
            mf.kernel()
        seconds = time.process_time() - begin
        errors: tuple[float | None, ...] = ()
        if first is not None:
            shot = energy_of(mf, first)
            values = (shot.energy, shot.variational, shot.harris)
            errors = tuple(None if e is None else float((e - mf.e_tot) * KCAL_PER_MOL) for e in values)
        cycles, hidden, total = mf.cycles, first.builds if first else 0, float(mf.e_tot)
        runs.append(Run(key, structure.formula, guess, cycles, hidden, seconds, total, bool(mf.converged), errors))
    return runs


def summary(runs: Sequence[Run]) -> list[str]:
    """Lines of a table: what each guess takes, what the first energies are worth, and what went wrong."""
    structures = {run.key for run in runs}
    of_guess = {g: {r.key: r for r in runs if r.guess == g} for g in dict.fromkeys(run.guess for run in runs)}
    against = of_guess.get("minao", {})
    lines = [f"{len(structures)} structures", "guess       cycles (median)   ERIC (median)   processor time, s (sum)"]
    for guess, of_key in of_guess.items():
        shared = [(run, against[key]) for key, run in of_key.items() if key in against]
        figures: list[Callable[[Run], float]] = [
            lambda run: run.cycles,
            lambda run: run.cycles + run.hidden,
        ]
        cells = []
        for figure in figures:
            mine, theirs = ([figure(pair[i]) for pair in shared] for i in (0, 1))
            change = f" ({100 * (statistics.median(mine) / statistics.median(theirs) - 1):+.0f} %)" if shared else ""
            cells.append(f"{statistics.median(map(figure, of_key.values())):g}{change}")
        seconds = sum(run.seconds for run in of_key.values())
        ratio = sum(run.seconds for run, _ in shared) / sum(other.seconds for _, other in shared) if shared else None
        compared = "" if ratio is None else f" ({ratio:.2f} of minao's)"
        lines.append(f"{guess:10}  {cells[0]:>15}   {cells[1]:>13}   {seconds:8.1f}{compared}")
        lines += [
            f"  {run.formula} ({run.key}): {run.cycles} cycles, {other.cycles} from minao"
            for run, other in shared
            if run.cycles > other.cycles + 1
        ]
    for index, name in enumerate(("one-shot", "first orbitals", "Harris")):
        found = [
            e for run in {run.key: run for run in runs if run.errors}.values() if (e := run.errors[index]) is not None
        ]
        if found:
            sizes = np.abs(found)
            lines.append(f"error of {name:15} mean {sizes.mean():.4f}, largest {sizes.max():.4f} kcal/mol")
    for key in sorted(structures):
        own = [run for run in runs if run.key == key]
        lines += [f"  {run.formula} ({key}) from {run.guess}: not converged" for run in own if not run.converged]
        lowest = min(run.energy for run in own)
        lines += [
            f"  {run.formula} ({key}) from {run.guess}: another state, {run.energy - lowest:.6f} Hartree too high"
            for run in own
            if run.energy > lowest + SAME_STATE
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="+", help="folders of stores, whose geometries and level of theory are taken")
    parser.add_argument("--split", help="named split [default: test where there is one, else all]")
    parser.add_argument("--n", type=int, help="largest number of structures of a store, evenly spaced [default: all]")
    parser.add_argument("--model", default="general", help="as `orbdens predict` takes it [default: general]")
    parser.add_argument(
        "--guesses", default="minao,orbdens,minao+,orbdens+", help="of PySCF, or orbdens [default: %(default)s]"
    )
    parser.add_argument("--xc", help="another functional than the store's")
    parser.add_argument("--basis", help="another basis than the store's, with all electrons")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for all figures, written anew after every structure")
    arguments = parser.parse_args()
    pyscf.lib.num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    model = orbdens.load(arguments.model)
    guesses = arguments.guesses.split(",")
    runs: list[Run] = []
    for place in arguments.store:
        store = open_store(place)
        settings = settings_of(store.manifest.level, arguments.xc, arguments.basis)
        keys = store.keys(arguments.split or ("test" if "test" in store.manifest.splits else None))
        keys = keys if arguments.n is None else evenly_spaced(keys, arguments.n)
        structures = [stored_density(store, key).structure for key in keys]
        model.predict(structures[0]).derivatives_at(structures[0].positions)  # type: ignore[attr-defined]  # compiles
        for key, structure in zip(keys, structures, strict=True):
            new = measure(f"{Path(place).stem}/{key}", structure, settings, guesses, model)
            runs += new
            print(f"{new[0].formula:12}", *(f"{r.guess} {r.cycles} in {r.seconds:.1f} s;" for r in new), new[-1].errors)
            if arguments.json:
                machine = describe_machine(arguments.threads) | describe_versions("torch", "numba", "pyscf")
                content = {"machine": machine, "settings": asdict(settings), "model": arguments.model}
                content |= {"table": summary(runs), "runs": [asdict(run) for run in runs]}
                arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("\n".join(summary(runs)))


if __name__ == "__main__":
    main()
