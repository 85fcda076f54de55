"""One pass of a model over a store: errors of every structure that it can compute, and what tells structures apart."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import torch

from benchmarks.general.structures import GROUPS, LEFT_OUT, far_pairs
from orbdens.density import Density
from orbdens.evaluation.measure import measure_each
from orbdens.metrics import dipole_error
from orbdens.models.interface import DensityModel
from orbdens.sites import bonded_pairs
from orbdens.store import Store
from orbdens.structure import Structure

SOURCES = Path(__file__).parent.parent / "data" / "general_test.csv"
"""Where the records of ``general.store``'s test split come from."""

HOT = 25
"""Conformers ``des-N`` below this N are snapshots of hot dynamics, the others were cooled: GFN2-xTB leaves root mean
square forces of 1.1 and 0.6 eV/Å on their atoms, and of 0.02 on those of minima."""

DISTANCES = (10.0, 20.0, 40.0)
"""Å; between the centres of two far molecules, along z: benzene lies across."""


@dataclass(frozen=True)
class Row:
    """One structure measured.

    Attributes:
        store: which one holds it: general, organics, organics_large, or a group of the exam.
        kind: what it is within the store.
        name: within the store; a key, or the name of the exam.
        elements: symbols, sorted.
        bonds: pairs of elements that are bonded, as ``H-C``.
        heavy: atoms but hydrogens.
        charge: e.
        multiplicity: 2S + 1.
        nmae, expected: true and expected NMAE, %.
        dipole: error, Debye.
        flagged: the model called it an extrapolation.
    """

    store: str
    kind: str
    name: str
    elements: list[str]
    bonds: list[str]
    heavy: int
    charge: int
    multiplicity: int
    nmae: float
    expected: float
    dipole: float
    flagged: bool


def elements_of(structure: Structure) -> list[str]:
    """Symbols, sorted."""
    return sorted(set(structure.symbols))


def bonds_of(structure: Structure) -> list[str]:
    """Pairs of elements between which there are bonds, as ``H-C``."""
    return sorted(bonded_pairs(structure))


def heavy_atoms(structure: Structure) -> int:
    """The number of atoms but hydrogens."""
    return int((structure.numbers > 1).sum())


def measure_store(model: DensityModel, store: Store, name: str, named: Mapping[str, tuple[str, str]]) -> Iterator[Row]:
    """Rows of the records whose elements the model knows.

    Args:
        model: any that expects an error.
        store: of orbital records.
        name: of the store in the rows.
        named: kind and name of each record, by key.
    """
    known = set(model.facts["valence_electrons"])
    keys = [key for key in named if set(store.structure(key).symbols) <= known]
    if len(keys) < len(named):
        print(f"{name}: {len(named) - len(keys)} of {len(named)} structures hold elements that the model never saw")
    densities = model.predict_many([store.structure(key) for key in keys])
    for one in measure_each(densities, store, keys):
        kind, label = named[one.key]
        assert one.expected is not None and one.dipole is not None
        yield Row(
            store=name,
            kind=kind,
            name=label,
            elements=elements_of(one.structure),
            bonds=bonds_of(one.structure),
            heavy=heavy_atoms(one.structure),
            charge=one.structure.charge,
            multiplicity=one.structure.multiplicity,
            nmae=one.density.nmae,
            expected=one.expected,
            dipole=one.dipole,
            flagged=one.flagged,
        )


def named_in_general(store: Store) -> dict[str, tuple[str, str]]:
    """Kinds and keys of the records of the test split of ``general.store``."""
    with SOURCES.open(encoding="utf-8") as file:
        sources = {row["key"]: row["source"] for row in csv.DictReader(file)}
    return {key: (kind_of(sources[key]), key) for key in store.keys("test")}


def kind_of(source: str) -> str:
    """What the card calls structures of a source of ``general.store``."""
    family, _, number = source.partition("-")
    if family == "des":
        return "hot conformer" if int(number) < HOT else "cooled conformer"
    return {"freesolv": "minimum", "organics": "distorted"}.get(family, family)


def measure_exam(model: DensityModel, folder: Path) -> Iterator[Row]:
    """Rows of all groups of the exam that are there."""
    for group in GROUPS:
        frames, path = folder / f"{group}.xyz", folder / f"{group}.store"
        if not (frames.is_file() and path.is_dir()):
            print(f"{group}: not in {folder}")
            continue
        frames_read = ase.io.read(frames, index=":")
        store = Store(path)
        keys = store.keys()  # of an unfinished store, too
        infos = {key: frames_read[int(key.split("-")[0])].info for key in keys}
        named = {
            key: ("left out" if info["name"] in LEFT_OUT else info.get("kind", ""), info["name"])
            for key, info in infos.items()
        }
        yield from measure_store(model, store, group, named)


@dataclass(frozen=True)
class Pair:
    """Two molecules far apart.

    Attributes:
        name: of the pair.
        distance: Å.
        dipole: length of the dipole of the pair minus the sum of those of the parts, Debye.
        expected: NMAE expected of the pair, %.
        expected_parts: what the parts' expected NMAEs make of it, weighted by their electrons, %.
    """

    name: str
    distance: float
    dipole: float
    expected: float
    expected_parts: float


def measure_pairs(model: DensityModel) -> Iterator[Pair]:
    """Pairs of molecules that are out of each other's reach, at several distances."""
    for name, first, second in far_pairs():
        for distance in DISTANCES:
            away = second.copy()
            away.translate(first.positions.mean(axis=0) - second.positions.mean(axis=0) + [0, 0, distance])
            whole, *parts = model.predict([first + away, first, away])
            yield Pair(
                name=name,
                distance=distance,
                dipole=dipole_error(whole.dipole, np.sum([part.dipole for part in parts], axis=0)),
                expected=_expected(whole),
                expected_parts=float(
                    np.average([_expected(part) for part in parts], weights=[part.n_electrons for part in parts])
                ),
            )


def _expected(density: Density) -> float:
    assert density.expected_error is not None
    return density.expected_error


def seconds_to_encode(model: DensityModel, structure: Structure, threads: int, repeats: int = 9) -> float:
    """Least seconds of a prediction's coefficients, expected error included: nothing to compile, no other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            model.predict(structure)
            times.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)
    return min(times)


def nearest_in_size(store: Store, keys: Sequence[str], n_atoms: int) -> Structure:
    """The first structure of so many atoms, or of as nearly so many as there is."""
    return min(map(store.structure, keys), key=lambda structure: abs(structure.n_atoms - n_atoms))
