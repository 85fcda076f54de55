"""Densities of many structures by PySCF, in a store that can be read, and gone on with, at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ase.data import chemical_symbols

from data_tools.generation.calculation import Failure
from data_tools.generation.settings import Settings
from data_tools.generation.structures import Structures, check_cells, check_electrons, hash_of_states
from data_tools.generation.workers import Result, in_processes, on_cluster
from data_tools.stores.splitting import random_splits
from orbdens.errors import UserError
from orbdens.machine import available_cores
from orbdens.progress import Progress, silent
from orbdens.pyscf.bases import named_basis
from orbdens.store import Manifest, StoreWriter

MAX_FIRST_FAILURES = 20
"""If so many structures fail before the first record, the settings are to blame, and the run ends."""

NOTED_EVERY = 10.0
"""Seconds between two writings of failures to the manifest; those in between are found again when a kill loses them."""


@dataclass(frozen=True)
class Outcome:
    """What a run has made: the number of records in the store, and why the others are missing, by key."""

    count: int
    failed: dict[str, str]


def generate(
    source: Structures,
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
    progress: Progress = silent,
) -> Outcome:
    """Calculate the densities of structures and store them.

    Nothing at ``target`` is touched before the first density is there. Structures that cannot be calculated are left
    out; the manifest's provenance names them and says why.

    Args:
        source: the structures.
        target: folder of the store.
        settings: settings of the calculations.
        splits: shares of named splits, drawn at random from the records there are; None puts all of them in ``all``.
        seed: seed of the splits.
        processes: on this machine, one thread each; None starts one per core that this process may use.
        scheduler: address of a dask.distributed scheduler that calculates instead.
        resume: go on with the store of an interrupted run of the same structures and settings.
        retry_failed: when resuming, calculate again what failed.
        overwrite: replace the store at ``target``.
        progress: told of the work.

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
            "states": hash_of_states(source.structures),
            "failed": {},
        },
    )
    check_electrons(source, manifest)
    if periodic:
        check_cells(source, settings)
    with _Target(target, manifest, resume, overwrite) as store:
        failed = {} if retry_failed else store.failed()
        tasks = [task for task in source.tasks() if task[0] not in store and task[0] not in failed]
        results: Iterable[Result]
        if not tasks:
            results = ()
        elif scheduler is not None:
            results = on_cluster(tasks, settings, scheduler)
        else:
            results = in_processes(tasks, settings, processes or available_cores())
        _collect(results, store, failed, len(source.structures), len(tasks), progress)
        if len(failed) == len(source.structures):
            raise UserError(_none_of(failed))
        keys = [key for key, _ in source.tasks() if key not in failed]
        named = {"all": keys} if splits is None else random_splits(keys, splits, seed)
        drawn = {} if splits is None else {"splits": dict(splits), "seed": seed}
        store.note(failed=dict(sorted(failed.items())), **drawn)
        store.writer().finish(named)
        return Outcome(len(keys), failed)


class _Target:
    """The store of a run. To be continued, it is opened at once; else for its first record, and only then replaced."""

    def __init__(self, path: Path, manifest: Manifest, resume: bool, overwrite: bool) -> None:
        self._path, self._manifest = path, manifest
        self._resume, self._overwrite = resume and not overwrite, overwrite
        self._writer: StoreWriter | None = None
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if not resume and not overwrite:
                raise UserError(f"{path} exists; resume or overwrite it, or choose another name")
            known = Manifest.read(path)  # what is no store is not replaced either
            if self._resume:
                _check_same(path, known, manifest)
                self.writer()
        else:
            folder = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
            if not os.access(folder, os.W_OK):
                raise UserError(f"{path} cannot be written: no permission in {folder}")

    def writer(self) -> StoreWriter:
        """The writer, opened if it is not."""
        if self._writer is None:
            self._writer = StoreWriter(self._path, self._manifest, resume=self._resume, overwrite=self._overwrite)
        return self._writer

    def __contains__(self, key: str) -> bool:
        return self._writer is not None and key in self._writer

    def failed(self) -> dict[str, str]:
        """Reasons of the failures so far, by key."""
        return {} if self._writer is None else dict(self._writer.manifest.provenance["failed"])

    def note(self, **changes: Any) -> None:
        """Change entries of the provenance in the manifest on the disk, if there is a store yet."""
        if self._writer is not None:
            provenance = {**self._writer.manifest.provenance, **changes}
            self._writer.manifest = replace(self._writer.manifest, provenance=provenance)
            self._writer.manifest.write(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _collect(
    results: Iterable[Result],
    store: _Target,
    failed: dict[str, str],
    total: int,
    left: int,
    progress: Progress,
) -> None:
    """Put every result where it belongs; ``left`` of ``total`` structures are to come."""
    noted = time.monotonic()
    empty = left + len(failed) == total
    for done, (key, result) in enumerate(results, start=1):
        if isinstance(result, Failure):
            failed[key] = result.reason
            if empty and done == MAX_FIRST_FAILURES:
                raise UserError(_none_of(failed))
            if time.monotonic() - noted > NOTED_EVERY:
                store.note(failed=failed)
                noted = time.monotonic()
        else:
            store.writer().put(key, result)
            empty = False
        progress("structures", total - left + done, total)


def _none_of(failed: Mapping[str, str]) -> str:
    key, reason = next(iter(failed.items()))
    return f"none of the first {len(failed)} structures could be calculated; {key}: {reason}"


def _check_same(target: Path, known: Manifest, manifest: Manifest) -> None:
    """Raise UserError if the store at ``target`` was made of other structures or with other settings."""
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
