"""The one way from a source of records to a store: streamed, checked, resumable; every importer goes through here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from data_tools.sources.record_source import Item, RecordSource
from data_tools.stores.rounding import Rounding
from data_tools.stores.split_files import KeysOrPlaces
from orbdens.errors import UserError
from orbdens.labels import label_density
from orbdens.progress import Progress, silent
from orbdens.store import Manifest, Record, StoreWriter
from orbdens.store.checks import check_record

TOLERANCE = 0.05
"""Electrons by which the sum over a grid may miss the number of electrons."""

QUIET = 1.0
"""Seconds after which progress is told, and between two times that it is."""


@dataclass(frozen=True)
class Imported:
    """What an import has done.

    Attributes:
        count: records of the store now.
        skipped: why records were left out, by key.
        not_found: entries of splits that are no records.
    """

    count: int
    skipped: Mapping[str, str]
    not_found: int


def import_source(
    source: RecordSource,
    target: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    tolerance: float = TOLERANCE,
    skip_broken: bool = False,
    limit: int | None = None,
    progress: Progress = silent,
) -> Imported:
    """Stream a source into a store.

    Nothing is written before the first record is read and found right. After a kill at any moment the store opens, and
    a resumed import ends with the same store as one that was left alone.

    Args:
        source: what to import.
        target: folder of the store.
        resume: go on with a store of the same source; what is there is not read again.
        overwrite: replace a store at ``target``.
        tolerance: electrons by which the sum of a grid record may miss its number of electrons.
        skip_broken: leave out records that cannot be read or fail the check, and write the reasons into the provenance.
        limit: look only at so many records from the front.
        progress: told of the work.

    Raises:
        UserError: a record is broken (what came before it stays), two have one key, the source holds none, or the
            store exists or is of another source, or its files have changed.
    """
    taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken and not resume and not overwrite:
        raise UserError(f"{target} exists; resume or overwrite it, or choose another name")
    if limit is not None and source.count is not None:
        source = replace(source, count=min(limit, source.count))
    if source.digest is not None:
        provenance = dict(source.manifest.provenance)
        provenance["source"] = {**provenance["source"], "sha256": source.digest(progress)}
        source = replace(source, manifest=replace(source.manifest, provenance=provenance))
    run = _Run(source, target, tolerance, resume, overwrite, progress)
    try:
        if taken and resume:
            run.open()
        for item in islice(source.items, limit):
            run.take(item, skip_broken)
        return run.finish()
    finally:
        run.close()


class _Run:
    """One import: its writer, which is opened for the first good record, and what is to be said at the end."""

    def __init__(
        self,
        source: RecordSource,
        target: Path,
        tolerance: float,
        resume: bool,
        overwrite: bool,
        progress: Progress,
    ) -> None:
        self.source = source
        self.target = target
        self.tolerance = tolerance
        self.resume = resume
        self.overwrite = overwrite
        self.writer: StoreWriter | None = None
        self.rounding = Rounding(target)
        self.splits: dict[str, str | None] = {}
        self.skipped: dict[str, str] = {}
        self.progress = progress
        self._told = time.monotonic()

    def open(self) -> StoreWriter:
        """The writer, opened if it is not."""
        if self.writer is not None:
            return self.writer
        if not self.resume:
            self.rounding.forget()
        elif self.target.is_dir() and any(self.target.iterdir()):
            self._check_origin(Manifest.read(self.target))
        manifest = replace(self.source.manifest, valence_electrons={})
        writer = self.writer = StoreWriter(self.target, manifest, resume=self.resume, overwrite=self.overwrite)
        if self.resume:
            self.rounding.take_up(writer.manifest.provenance, len(writer))
        return writer

    def _check_origin(self, manifest: Manifest) -> None:
        """Raise UserError if a store was made from another source or read in another way."""
        for name in self.source.identity:
            known, wanted = manifest.provenance.get(name), self.source.manifest.provenance.get(name)
            if known != json.loads(json.dumps(wanted)):
                other = f"another file than {self.source.name}, or that has changed since"
                other = f"other options: {known}" if name == "options" else other
                raise UserError(f"{self.target} cannot be resumed: it was made from {other}")

    def take(self, item: Item, skip_broken: bool) -> None:
        """Put one item into the store, unless it is there."""
        if item.key in self.splits:
            raise UserError(f"{self.source.name} holds two records that would be named '{item.key}'")
        self.splits[item.key] = item.split
        if self.writer is not None and item.key in self.writer:
            return
        try:
            record = checked(item.read(), self.source.manifest, self.tolerance, item.place)
            if self.source.dtype == "float16":
                record = self.rounding.round(item.key, record, item.place)
        except UserError as error:
            if not skip_broken:
                raise
            self.skipped[item.key] = str(error)
            return
        writer = self.open()
        self._admit(writer, record)
        self.rounding.write()
        writer.put(item.key, record)
        self._tell()

    def _admit(self, writer: StoreWriter, record: Record) -> None:
        """Name the elements of a record in the manifest before it is in the store."""
        known = writer.manifest.valence_electrons
        symbols = {chemical_symbols[z] for z in np.unique(record.structure.numbers)}
        if not symbols <= known.keys():
            merged = {s: n for s, n in self.source.manifest.valence_electrons.items() if s in symbols | known.keys()}
            writer.manifest = replace(writer.manifest, valence_electrons=merged)
            writer.manifest.write(writer.path)

    def finish(self) -> Imported:
        """Splits, reasons and errors into the manifest, and the finished marker."""
        if self.writer is None and not self.skipped:
            raise UserError(f"{self.source.name} holds no records of this kind")
        if self.writer is None:
            reason = next(iter(self.skipped.values()))
            raise UserError(f"none of the {len(self.skipped)} records of {self.source.name} can be read: {reason}")
        writer = self.writer
        splits = self.source.splits
        if not splits:
            names = dict.fromkeys(name for name in self.splits.values() if name is not None)
            there = [(key, name) for key, name in self.splits.items() if key not in self.skipped]
            splits = {name: [key for key, its_name in there if its_name == name] for name in names}
        named, not_found = resolved(splits, list(self.splits), writer)
        provenance = {name: value for name, value in writer.manifest.provenance.items() if name != "skipped"}
        provenance |= {"skipped": self.skipped} if self.skipped else {}
        writer.flush()
        provenance |= self.rounding.provenance()
        writer.manifest = replace(writer.manifest, provenance=provenance)
        count = len(writer)
        writer.finish(named)
        self.rounding.forget()
        return Imported(count, self.skipped, not_found)

    def close(self) -> None:
        """Commit what there is."""
        if self.writer is not None:
            self.writer.close()

    def _tell(self) -> None:
        if time.monotonic() - self._told < QUIET:
            return
        self._told = time.monotonic()
        if self.source.count is not None:
            self.progress("importing", len(self.splits), self.source.count)
        elif self.source.megabytes is not None:
            self.progress("importing, MB", *self.source.megabytes())


def checked(record: Record, manifest: Manifest, tolerance: float, place: str) -> Record:
    """The record, if its arrays fit, its elements are known and, on a grid, it sums to its number of electrons.

    Raises:
        UserError: with the place, and the sum and what was expected.
    """
    symbols = [chemical_symbols[z] for z in np.unique(record.structure.numbers)]
    unknown = [symbol for symbol in symbols if symbol not in manifest.valence_electrons]
    if unknown:
        raise UserError(f"{place} holds {unknown[0]}, whose valence electrons are not known; --valence {unknown[0]}=n")
    try:
        check_record(record, manifest.label_basis)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    label = label_density(record, manifest)
    if not label.tabulated:
        return record
    count = label.n_electrons
    expected = manifest.n_electrons(record.structure)
    if not abs(count - expected) <= tolerance:
        each = ", ".join(f"{symbol} {manifest.valence_electrons[symbol]}" for symbol in symbols)
        raise UserError(
            f"{place} integrates to {count:.4f} electrons, expected {expected} ({each}); "
            f"is it another --valence or --charge, or more than --tolerance {tolerance:g}?"
        )
    return record


def resolved(splits: KeysOrPlaces, keys: Sequence[str], store: StoreWriter) -> tuple[dict[str, list[str]], int]:
    """Splits as lists of keys that the store has, and how many entries it does not have.

    Raises:
        UserError: it has none of them.
    """
    named: dict[str, list[str]] = {}
    missing = 0
    for name, entries in splits.items():
        wanted = [(keys[e] if e < len(keys) else "") if isinstance(e, int) else e for e in entries]
        there = [key for key in wanted if key and key in store]
        missing += len(wanted) - len(there)
        if there:
            named[name] = there
    if splits and not named:
        raise UserError(f"the splits name none of the records, which are named like '{keys[0]}'")
    return named, missing
