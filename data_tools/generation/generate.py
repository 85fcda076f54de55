"""Densities of many structures by PySCF, in a store that can be read, and gone on with, at any moment."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from data_tools.generation.scf import Failure, Settings
from data_tools.generation.workers import Result, Task, available_cores, in_processes, on_cluster
from data_tools.stores.splitting import random_splits
from orbdens.errors import UserError
from orbdens.formats.structures import read_structures
from orbdens.progress import Display
from orbdens.pyscf.bases import named_basis
from orbdens.store import Manifest, StoreWriter
from orbdens.structure import Structure

HOPELESS = 20
"""If so many structures fail before the first record, the settings are to blame, and the run ends."""

NOTED_EVERY = 10.0
"""Seconds between two writings of failures to the manifest; those in between are found again when a kill loses them."""


@dataclass(frozen=True)
class Source:
    """The structures to calculate.

    Attributes:
        structures: all molecules or all crystals.
        names: where each comes from, for messages.
        files: name and sha256 of each file.
    """

    structures: list[Structure]
    names: list[str]
    files: list[dict[str, str]]

    @classmethod
    def read(cls, paths: Sequence[Path], charge: int | None = None, multiplicity: int | None = None) -> Source:
        """All structures of files that ASE reads.

        Args:
            paths: in this order.
            charge: of every structure; None takes that of the frame's info, or 0.
            multiplicity: of every structure; None takes that of the frame's info, or 1.

        Raises:
            UserError: as ``read_structures``, or molecules and crystals come together.
        """
        structures, names, files = [], [], []
        for path in paths:
            found = read_structures(path)
            structures += found
            names += [f"{path}, structure {i}" for i in range(1, len(found) + 1)]
            with path.open("rb") as file:
                files.append({"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
        if charge is not None:
            structures = [replace(structure, charge=charge) for structure in structures]
        if multiplicity is not None:
            structures = [replace(structure, multiplicity=multiplicity) for structure in structures]
        if len({structure.periodic for structure in structures}) > 1:
            raise UserError("the files hold molecules and crystals; make a store of each")
        return cls(structures, names, files)

    def tasks(self) -> list[Task]:
        """Every structure with its key: its number, its formula and a hash of all that it is."""
        return [(key_of(i, structure), structure) for i, structure in enumerate(self.structures)]


@dataclass(frozen=True)
class Outcome:
    """What a run has made: the number of records in the store, and why the others are missing, by key."""

    count: int
    failed: dict[str, str]


def generate(
    source: Source,
    target: Path,
    settings: Settings,
    *,
    splits: Mapping[str, float] | None = None,
    seed: int = 0,
    processes: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    overwrite: bool = False,
    display: Display | None = None,
) -> Outcome:
    """Calculate the densities of structures and store them.

    Structures that cannot be calculated are left out; the manifest's provenance names them and says why.

    Args:
        source: the structures.
        target: folder of the store.
        settings: of the calculations.
        splits: shares of named splits, drawn at random from the records there are; None puts all of them in ``all``.
        seed: of the splits.
        processes: on this machine, one thread each; None starts one per core that this process may use.
        scheduler: address of a dask.distributed scheduler that calculates instead.
        resume: go on with the store of an interrupted run of the same structures and settings.
        retry_failed: when resuming, calculate again what failed.
        overwrite: replace the store at ``target``.
        display: shows progress.

    Raises:
        UserError: PySCF lacks the functional or the basis, a structure cannot have its charge and multiplicity, the
            store exists or is another one, or nothing at all could be calculated.
    """
    settings.check()
    periodic = source.structures[0].periodic
    symbols = {chemical_symbols[z] for structure in source.structures for z in structure.numbers}
    basis, valence = named_basis(symbols, settings.basis, settings.pseudo)
    manifest = Manifest(
        level=settings.level(source.structures),
        density="all-electron" if settings.pseudo is None else "valence",
        valence_electrons=valence,
        label_basis=None if periodic else basis,
        provenance={
            "command": "orbdens data generate",
            "files": source.files,
            "structures": len(source.structures),
            "states": _states(source.structures),
            "failed": {},
        },
    )
    check_electrons(source, manifest)
    if periodic:
        _check_cells(source, settings)
    if resume and not overwrite and target.exists() and any(target.iterdir()):
        _check_same(target, manifest)
    with StoreWriter(target, manifest, resume=resume, overwrite=overwrite) as writer:
        failed = {} if retry_failed else dict(writer.manifest.provenance["failed"])
        tasks = [task for task in source.tasks() if task[0] not in writer and task[0] not in failed]
        results: Iterable[Result]
        if not tasks:
            results = ()
        elif scheduler is not None:
            results = on_cluster(tasks, settings, scheduler)
        else:
            results = in_processes(tasks, settings, processes or available_cores())
        try:
            _collect(results, writer, failed, len(source.structures), len(tasks), display)
            if len(failed) == len(source.structures):
                raise UserError(_hopeless(failed))
        except UserError:
            if len(writer) == 0:
                shutil.rmtree(target)
            raise
        keys = [key for key, _ in source.tasks() if key not in failed]
        named = {"all": keys} if splits is None else random_splits(keys, splits, seed)
        drawn = {} if splits is None else {"splits": dict(splits), "seed": seed}
        _note(writer, failed=dict(sorted(failed.items())), **drawn)
        writer.finish(named)
        return Outcome(len(keys), failed)


def _collect(
    results: Iterable[Result],
    writer: StoreWriter,
    failed: dict[str, str],
    total: int,
    left: int,
    display: Display | None,
) -> None:
    """Put every result where it belongs; ``left`` of ``total`` structures are to come."""
    begun = noted = time.monotonic()
    empty = left + len(failed) == total
    for done, (key, result) in enumerate(results, start=1):
        if isinstance(result, Failure):
            failed[key] = result.reason
            if empty and done == HOPELESS:
                raise UserError(_hopeless(failed))
            if time.monotonic() - noted > NOTED_EVERY:
                _note(writer, failed=failed)
                noted = time.monotonic()
        else:
            writer.put(key, result)
            empty = False
        if display is not None:
            rate = done / max(time.monotonic() - begun, 1e-9)
            speed = f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
            lost = f", {len(failed)} failed" if failed else ""
            here = total - left + done
            display.show("structures", here / total, f"{here}/{total}  {speed}{lost}", important=done == left)


def _note(writer: StoreWriter, **changes: Any) -> None:
    """Change entries of the provenance in the manifest on the disk."""
    writer.manifest = replace(writer.manifest, provenance={**writer.manifest.provenance, **changes})
    writer.manifest.write(writer.path)


def _hopeless(failed: Mapping[str, str]) -> str:
    key, reason = next(iter(failed.items()))
    return f"none of the first {len(failed)} structures could be calculated; {key}: {reason}"


def _check_same(target: Path, manifest: Manifest) -> None:
    """Raise UserError if the store at ``target`` was made of other structures or with other settings."""
    known = Manifest.read(target)
    for name, value in manifest.level.items():
        if known.level.get(name) != value:
            raise UserError(
                f"{target} cannot be resumed: it was made with {name} {known.level.get(name)}, now it is {value}"
            )
    for name, what in (("files", "files"), ("states", "charges or multiplicities")):
        if _hashes(known.provenance.get(name)) != _hashes(manifest.provenance[name]):
            raise UserError(f"{target} cannot be resumed: it was made of structures with other {what}")


def _hashes(entry: Any) -> Any:
    """Hashes of files without their names, which may change; anything else as it is."""
    return [file["sha256"] for file in entry] if isinstance(entry, list) else entry


def _states(structures: Sequence[Structure]) -> str:
    """A hash of all charges and multiplicities, which may come from the command line."""
    states = [(structure.charge, structure.multiplicity) for structure in structures]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def key_of(index: int, structure: Structure) -> str:
    """Key of a structure by its place in the input and its content, e.g. ``000012-C2H6O-3fa9c1d2``."""
    cell = b"" if structure.cell is None else structure.cell.astype(np.float64).tobytes()
    state = repr((structure.pbc, structure.charge, structure.multiplicity)).encode()
    digest = hashlib.sha256(structure.numbers.tobytes() + structure.positions.tobytes() + cell + state)
    return f"{index:06d}-{structure.formula}-{digest.hexdigest()[:8]}"


def check_electrons(source: Source, manifest: Manifest) -> None:
    """Raise UserError if a structure cannot have its multiplicity with its number of electrons."""
    for structure, name in zip(source.structures, source.names, strict=True):
        n, multiplicity = manifest.n_electrons(structure), structure.multiplicity
        if n < 1:
            raise UserError(f"{name}: {structure.formula} of charge {structure.charge} has {n} electrons")
        if multiplicity < 1 or multiplicity > n + 1 or (n - multiplicity) % 2 == 0:
            raise UserError(
                f"{name}: {structure.formula} has {n} electrons, which a multiplicity of {multiplicity} does not "
                "allow; give another by --multiplicity or in the frame's info"
            )


def _check_cells(source: Source, settings: Settings) -> None:
    for structure, name in zip(source.structures, source.names, strict=True):
        if not all(structure.pbc):
            raise UserError(
                f"{name} repeats along {sum(structure.pbc)} of its cell vectors; only 0 and 3 are supported"
            )
    if settings.pseudo is None:
        raise UserError("crystals need a pseudopotential: a mesh cannot hold the cores of atoms")


def parse_splits(text: str) -> dict[str, float]:
    """Shares of splits from ``train=0.8,test=0.2``.

    Raises:
        UserError: not of that form, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    try:
        for part in text.split(","):
            name, _, share = part.partition("=")
            if not name.strip() or name.strip() in shares:
                raise ValueError
            shares[name.strip()] = float(share)
    except ValueError:
        raise UserError(f"expected splits such as train=0.8,test=0.2, but got '{text}'") from None
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UserError(f"the shares of the splits '{text}' add up to {sum(shares.values()):g} instead of 1")
    return shares
