"""All electrons, or valence electrons and frozen cores: ``python -m benchmarks.cores COMMAND FOLDER``.

``make FOLDER --from STORE`` takes a store of closed-shell all-electron records (``orbdens data generate``) apart:
``whole.store``, and ``valence.store`` without the orbitals of the cores, both with the same splits; every fifth record
is in ``val``. ``floors`` fits both in several ways, ``models`` measures trained models. All is compared with the
whole density on the quadrature of ``orbdens evaluate``, on ``val``. Frozen cores are the means of those of ``train``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.checkpoint import load_model
from orbdens.comparison import comparison
from orbdens.density import Density, OrbitalDensity
from orbdens.kernels import Metric
from orbdens.labels import stored_density
from orbdens.machine import describe_machine
from orbdens.metrics import Summary, nmae
from orbdens.models.basis import Basis, make_basis
from orbdens.models.basis_options import BasisConfig
from orbdens.models.density_fitting import fit_label
from orbdens.models.interface import DensityModel
from orbdens.observables.cores import WholeDensity
from orbdens.pyscf.integrals import dipole
from orbdens.sites import place_sites
from orbdens.store import OrbitalRecord, Store, StoreWriter, open_store
from orbdens.structure import Structure

SHARP = 30_000.0
"""Å⁻²; largest exponent of l = 0 in a basis that holds cores."""

FITS: list[tuple[str, str, float | list[float], Metric]] = [
    ("whole", "one limit of 72 Å⁻² (L2)", 72.0, "overlap"),
    ("whole", "sharp s functions (L2)", [SHARP, 72.0], "overlap"),
    ("whole", "sharp s functions (Coulomb)", [SHARP, 72.0], "coulomb"),
    ("valence", "one limit of 72 Å⁻² (L2)", 72.0, "overlap"),
    ("valence", "sharp s functions (Coulomb)", [SHARP, 72.0], "coulomb"),
]

Figures = dict[str, dict[str, Any]]
"""By what they are of."""

Values = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A density in e/Å³ at points in Å."""


def core_electrons(structure: Structure) -> int:
    """Electrons in shells below the valence, of elements up to neon."""
    return 2 * int((structure.numbers > 2).sum())


def make(folder: Path, source: Store) -> None:
    """Both stores, of the records that are there so far."""
    keys = source.keys()
    splits = {"train": [key for i, key in enumerate(keys) if i % 5 != 3], "val": keys[3::5]}
    electrons = {s: n if n <= 2 else n - 2 for s, n in source.manifest.valence_electrons.items()}
    valence = replace(source.manifest, density="valence", valence_electrons=electrons, splits={}, finished=False)
    with (
        StoreWriter(folder / "whole.store", replace(source.manifest, splits={}, finished=False)) as whole_writer,
        StoreWriter(folder / "valence.store", valence) as valence_writer,
    ):
        for key in keys:
            record = source[key]
            assert isinstance(record, OrbitalRecord) and (record.occupations == 2).all()
            whole_writer.put(key, record)
            n = core_electrons(record.structure) // 2
            outer = replace(record, orbitals=record.orbitals[:, n:], occupations=record.occupations[n:], dipole=None)
            valence_writer.put(key, replace(outer, dipole=dipole(outer, valence)))
        whole_writer.finish(splits)
        valence_writer.finish(splits)
    print(f"{len(keys)} records: {len(splits['train'])} train, {len(splits['val'])} val")


def twins(store: Store, others: Store) -> dict[str, str]:
    """For keys of a store those of the same structures in another, where it has them."""
    structures = {key: others.structure(key) for key in others.keys()}  # noqa: SIM118 (a store is no dict)
    found = {}
    for key in store.keys():  # noqa: SIM118
        own = store.structure(key)
        for twin, one in structures.items():
            if one.symbols == own.symbols and np.allclose(one.positions, own.positions, atol=1e-3):
                found[key] = twin
    return found


def make_gth(folder: Path, others: Store) -> None:
    """``gth.store``: the records of the same molecules in a store of GTH-PBE valence densities, in the same splits."""
    whole = open_store(folder / "whole.store")
    twin = twins(whole, others)
    with StoreWriter(folder / "gth.store", replace(others.manifest, splits={}, finished=False)) as writer:
        for key, its_twin in twin.items():
            writer.put(key, others[its_twin])
        writer.finish({split: [k for k in whole.keys(split) if k in twin] for split in ("train", "val")})


class FrozenCores:
    """Spherical cores of every element: means over the training records, closest in the Coulomb metric."""

    def __init__(self, whole: Store) -> None:
        keys = whole.keys("train")
        numbers = sorted({int(z) for key in keys for z in whole.structure(key).numbers})
        self.basis = make_basis(numbers, BasisConfig(l_max=0, max_exponent=SHARP))
        per_type: list[list[torch.Tensor]] = [[] for _ in numbers]
        for key in keys:
            record = whole[key]
            assert isinstance(record, OrbitalRecord)
            n = core_electrons(record.structure) // 2
            core = replace(record, orbitals=record.orbitals[:, :n], occupations=record.occupations[:n], dipole=None)
            label = replace(stored_density(whole, key), record=core)  # type: ignore[type-var]
            fit = fit_label(label, self.basis, "atoms", "coulomb")["coefficients"].double()
            types = torch.as_tensor(self.basis.index(record.structure.numbers))
            for kind, coefficients in enumerate(self.basis.per_type(fit, types)):
                per_type[kind].append(coefficients)
        self.means = [torch.cat(sites).mean(dim=0) for sites in per_type]

    def of(self, structure: Structure) -> OrbitalDensity:
        """The cores of a structure."""
        types = self.basis.index(structure.numbers)
        coefficients = [mean.expand(int((types == kind).sum()), -1) for kind, mean in enumerate(self.means)]
        return density_of(structure, structure.positions, types, self.basis, coefficients)


def density_of(
    structure: Structure,
    positions: NDArray[np.float64],
    types: NDArray[np.int64],
    basis: Basis,
    per_type: Sequence[Any],
) -> OrbitalDensity:
    """The density of coefficients of orthonormal functions, for each type [n_sites_of_type, n]."""
    flat = basis.primitives(list(per_type), torch.as_tensor(types))
    return OrbitalDensity(structure, positions, types, basis.shells, flat, None)


def fitted(label: Density, limit: float | list[float], metric: Metric) -> OrbitalDensity:
    """The closest density with orbitals on atoms and bonds."""
    structure, placed = label.structure, place_sites(label.structure, "bonds")
    basis = make_basis(sorted({int(t) for t in placed.types}), BasisConfig(max_exponent=limit))
    types = basis.index(placed.types)
    coefficients = fit_label(label, basis, "bonds", metric)["coefficients"].double()
    return density_of(structure, placed.positions, types, basis, basis.per_type(coefficients, torch.as_tensor(types)))


def with_cores(density: Density, cores: FrozenCores | None) -> Values:
    """A density and the cores it lacks, added at points."""
    if cores is None:
        return density.at
    core = cores.of(density.structure)
    return lambda points: density.at(points).astype(np.float64) + core.at(points)


def measure(whole: Store, name: str, densities: Callable[[str], Values | None]) -> dict[str, Any]:
    """NMAE in % and ∫|Δρ| dr in e of densities, by key, on the records of ``val``; one line is printed."""
    errors, misplaced = [], []
    for key in whole.keys("val"):
        label, values = stored_density(whole, key), densities(key)
        if values is None:
            continue
        places = comparison(label)
        reference = places.values(label)
        errors.append(nmae(values(places.points), reference, places.volumes))  # type: ignore[union-attr]
        misplaced.append(errors[-1] / 100 * float((reference.astype(np.float64) * places.volumes).sum()))
    summary = Summary.of(errors)
    line = {"nmae": summary.mean, "max": summary.max, "misplaced": Summary.of(misplaced).mean, "n": len(errors)}
    print(
        f"{name:56s} {summary.mean:8.4f} % (max {summary.max:.3f})  {line['misplaced']:.4f} e  {len(errors)}",
        flush=True,
    )
    return line


def floors(folder: Path, levels: Sequence[str]) -> Figures:
    """What bases, frozen cores, and another level of theory can reach at best."""
    whole, valence = open_store(folder / "whole.store"), open_store(folder / "valence.store")
    cores = FrozenCores(whole)
    found = {}
    for kind, name, limit, metric in FITS:
        store, frozen = (whole, None) if kind == "whole" else (valence, cores)

        def of(key: str, s: Store = store, f: Any = frozen, x: Any = limit, m: Metric = metric) -> Values:
            return with_cores(fitted(stored_density(s, key), x, m), f)

        title = f"{kind}{'' if frozen is None else ' + frozen cores'}, {name}"
        found[title] = measure(whole, title, of)
    title = "exact valence + frozen cores"
    found[title] = measure(whole, title, lambda key: with_cores(stored_density(valence, key), cores))
    for level in levels:
        others = open_store(level)
        twin_of = twins(whole, others)

        def other(key: str, s: Store = others, twin: dict[str, str] = twin_of) -> Values | None:
            if key not in twin:
                return None
            label = stored_density(s, twin[key])
            return label.at if label.has_cores else WholeDensity.of(label).at

        title = " ".join(str(others.manifest.level[name]) for name in ("xc", "basis"))
        title = f"exact {title}{'' if others.manifest.density == 'all-electron' else ' valence + cores of --core'}"
        found[title] = measure(whole, title, other)
    return found


def models(folder: Path, whole_runs: Sequence[Path], valence_runs: Sequence[Path], gth_runs: Sequence[Path]) -> Figures:
    """Trained models."""
    whole = open_store(folder / "whole.store")
    cores = FrozenCores(whole)
    complete: dict[str, Callable[[Density], Values]] = {
        "whole": lambda density: density.at,
        "valence + frozen cores": lambda density: with_cores(density, cores),
        "GTH-PBE valence + cores of --core": lambda density: WholeDensity.of(density).at,
    }
    found = {}
    for (kind, values), runs in zip(complete.items(), (whole_runs, valence_runs, gth_runs), strict=True):
        for run in runs:
            model = load_model(run)

            def of(key: str, m: DensityModel = model, v: Callable[[Density], Values] = values) -> Values:
                return v(m.predict(whole.structure(key)))

            title = f"model {run.name}: {kind}"
            found[title] = measure(whole, title, of)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["make", "floors", "models"])
    parser.add_argument("folder", type=Path, help="holds whole.store and valence.store")
    parser.add_argument("--from", dest="source", help="store of all-electron records to make them of")
    parser.add_argument("--levels", nargs="*", default=[], help="stores of these molecules at other levels of theory")
    for kind in ("whole", "valence", "gth"):
        parser.add_argument(f"--{kind}", nargs="*", type=Path, default=[], help=f"runs trained on {kind}.store")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "make":
        make(arguments.folder, open_store(arguments.source))
        if arguments.levels:
            make_gth(arguments.folder, open_store(arguments.levels[0]))
        return
    if arguments.command == "floors":
        found = floors(arguments.folder, arguments.levels)
    else:
        found = models(arguments.folder, arguments.whole, arguments.valence, arguments.gth)
    if arguments.json:
        arguments.json.write_text(json.dumps({"figures": found, "machine": describe_machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
