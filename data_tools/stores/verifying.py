"""Check every byte of a store that matters, and keep what is whole of a damaged one."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pyscf import lib

from orbdens.errors import UserError
from orbdens.pyscf.integrals import electron_count, unpaired_electrons
from orbdens.store import StoreWriter
from orbdens.store.checks import check_record
from orbdens.store.lmdb_values import FIRST_KEY, PLACE, block_key, cut, open_place
from orbdens.store.manifest import FORMAT_VERSION, Manifest
from orbdens.store.packing import unpack
from orbdens.store.pages import read_entries
from orbdens.store.reader import close_reader, open_reader
from orbdens.store.records import GridRecord, Record, decode_record

Progress = Callable[[int, int], None]

ORBITAL_TOLERANCE = 2e-3
"""e; integrals of float32 orbitals are analytic."""

GRID_TOLERANCE = (0.1, 0.02)
"""e, and share of the electrons; sums over grids of 0.2 Å are within 0.1 %, tails outside a small box take more."""

UNREADABLE, WRONG, MISCOUNTED = "cannot be read", "has wrong contents", "has a wrong number of electrons"
BROKEN = (UNREADABLE, WRONG, MISCOUNTED)
"""Kinds of damage that cost a record."""

LOST, NAMED, REPEATED = "is not found under its key", "is not there but in a split", "is in several splits"

MOST_PAGES = 5
"""Damaged pages that a line names."""

DAMAGED = "damaged"
"""Name of a file after its whole records went to a new one."""

MENDED = "mended"
"""Folder within a store where a repair makes the new files."""


@dataclass
class Findings:
    """What is wrong with a store.

    Attributes:
        n_records: records that are whole and right.
        files: damage of files, in words.
        records: reason (or nothing) by key, for each kind of damage.
        manifest: what the manifest says wrongly, in words.
        tolerance: electrons by which the sum over a grid was allowed to miss; None is ``GRID_TOLERANCE``.
    """

    n_records: int = 0
    files: list[str] = field(default_factory=list)
    records: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    manifest: list[str] = field(default_factory=list)
    tolerance: float | None = None

    @property
    def fine(self) -> bool:
        return not (self.files or self.records or self.manifest)

    @property
    def broken(self) -> dict[str, dict[str, str]]:
        """Reason by key of the kinds of damage that cost a record."""
        return {kind: self.records[kind] for kind in BROKEN if kind in self.records}

    def lines(self, most: int = 20) -> list[str]:
        """A line for each kind of damage, with at most so many keys."""
        lines = list(self.files)
        for kind, reasons in self.records.items():
            shown = [f"{key} ({reason})" if reason else key for key, reason in list(reasons.items())[:most]]
            more = f" and {len(reasons) - most} more" if len(reasons) > most else ""
            lines.append(f"{kind} ({len(reasons)}): {', '.join(shown)}{more}")
        return lines + self.manifest


def verify(path: Path, on_progress: Progress = lambda done, total: None, tolerance: float | None = None) -> Findings:
    """Check a store that no writer is changing: files, records, splits, count.

    Every record must be found under its key, agree with its checksum, have the shapes of the label basis and finite
    values, and hold as many electrons (and unpaired ones) as its structure has.

    Args:
        path: folder of the store.
        on_progress: called with records checked and in all.
        tolerance: electrons by which the sum over a grid may miss; None is ``GRID_TOLERANCE``.

    Raises:
        UserError: there is no store at ``path``, or its manifest cannot be read.
    """
    manifest = Manifest.read(path)
    findings = Findings(tolerance=tolerance)
    with lib.with_omp_threads(1):  # integrals of one record are too few to share
        keys = {key for key, _ in _whole_records(path, manifest, findings, on_progress)}
    findings.n_records = len(keys)
    held = keys.union(*findings.broken.values())
    splits_of: defaultdict[str, list[str]] = defaultdict(list)
    for name, members in manifest.splits.items():
        for key in members:
            splits_of[key].append(name)
    for key, names in splits_of.items():
        if key not in held:
            findings.records[NAMED][key] = ", ".join(names)
        elif len(names) > 1:
            findings.records[REPEATED][key] = ", ".join(names)
    if not manifest.finished:
        findings.manifest.append(f"the store is not finished: its writer was stopped after {len(held)} records")
    elif len(held) != manifest.count:
        findings.manifest.append(f"the manifest counts {manifest.count} records, but {len(held)} are there")
    return findings


def repair(path: Path, findings: Findings) -> dict[str, str]:
    """Keep the whole records of a store and leave out what is broken, so that ``verify`` finds nothing any more.

    Files with damage are written anew, with what can still be found in any of their pages; the old ones stay beside
    them, named ``damaged``. The provenance tells under ``repaired`` what was wrong and which records are gone. Splits
    lose those, and a key of several splits stays in the first. A kill at any time leaves a store to repair again.

    Args:
        path: folder of the store.
        findings: of ``verify``.

    Returns:
        The known keys of records that are gone, and why.

    Raises:
        UserError: there is no store at ``path``, its manifest cannot be read, or it cannot be written.
    """
    manifest = Manifest.read(path)
    kinds = {*BROKEN, LOST, NAMED}
    rewrite = bool(findings.files or kinds & findings.records.keys() or findings.n_records < manifest.count)
    manifest = replace(manifest, finished=False, format_version=FORMAT_VERSION if rewrite else manifest.format_version)
    try:
        manifest.write(path)
        again = Findings(tolerance=findings.tolerance)
        records = _whole_records(path, manifest, again, everywhere=rewrite)
        keys = _rewrite(path, manifest, records) if rewrite else {key for key, _ in records}
        reasons = {key: kind for kind in findings.records for key in findings.records[kind]}
        reasons |= {
            key: f"{kind}: {reason}" for kind, found in findings.broken.items() for key, reason in found.items()
        }
        gone = {key: reason for key, reason in sorted(reasons.items()) if key not in keys}
        note = {"files": findings.files, "records": gone, "manifest": findings.manifest}
        splits: dict[str, list[str]] = {}
        free = set(keys)
        for name, members in manifest.splits.items():
            splits[name] = [key for key in dict.fromkeys(members) if key in free]
            free -= set(splits[name])
        replace(
            manifest,
            splits={name: members for name, members in splits.items() if members},
            provenance={**manifest.provenance, "repaired": [*manifest.provenance.get("repaired", []), note]},
            count=len(keys),
            finished=True,
        ).write(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    return gone


def _rewrite(path: Path, manifest: Manifest, records: Iterator[tuple[str, Record]]) -> set[str]:
    """Put new files with these records in place of those of a store; returns the keys."""
    keys: set[str] = set()
    shutil.rmtree(path / MENDED, ignore_errors=True)
    with StoreWriter(path / MENDED, manifest) as writer:
        for key, record in records:
            if key not in writer:
                writer.put(key, record)
                keys.add(key)
        writer.finish({})
    for new, old in zip(manifest.folders(path / MENDED), manifest.folders(path), strict=True):
        _exchange(new, old)
    shutil.rmtree(path / MENDED)
    return keys


def _exchange(new: Path, old: Path) -> None:
    """Put the LMDB of one folder in place of another's, which stays there under another name."""
    close_reader(old)
    old.mkdir(exist_ok=True)
    if (old / "data.mdb").exists():
        names = (DAMAGED + (f"-{i}" if i > 1 else "") + ".mdb" for i in range(1, 1000))
        # linked, so that a kill here leaves no moment without a data.mdb
        os.link(old / "data.mdb", next(old / name for name in names if not (old / name).exists()))
    (new / "data.mdb").replace(old / "data.mdb")
    (old / "lock.mdb").unlink(missing_ok=True)


def _whole_records(
    path: Path,
    manifest: Manifest,
    findings: Findings,
    on_progress: Progress = lambda done, total: None,
    everywhere: bool = False,
) -> Iterator[tuple[str, Record]]:
    """The records that are right; what is wrong with the others goes to ``findings``."""
    found = []
    for shard, folder in enumerate(manifest.folders(path)):
        file = folder / "data.mdb"
        try:
            entries, damage = read_entries(file, everywhere)
        except (OSError, ValueError) as error:
            reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
            findings.files.append(f"{file} cannot be read: {reason}")
            continue
        found.append((shard, folder, entries, not damage))
        if damage:
            more = f" and {len(damage) - MOST_PAGES} more" if len(damage) > MOST_PAGES else ""
            findings.files.append(f"{file} is damaged: {', '.join(damage[:MOST_PAGES])}{more}")
    done, total = 0, sum(key >= FIRST_KEY for _, _, entries, _ in found for key in entries)
    for shard, folder, entries, sound in found:
        reader = None
        if sound and not everywhere:  # LMDB walks only files that it cannot trip over
            try:
                reader = open_reader(folder)
            except UserError as error:
                findings.files.append(str(error))
        n = sum(key >= FIRST_KEY for key in entries)
        if reader is not None and len(reader) != n:
            findings.files.append(
                f"{folder / 'data.mdb'} is damaged: it says that it has {len(reader)} records, not {n}"
            )
        for key in sorted(key for key in entries if key >= FIRST_KEY):
            name = key.decode("utf-8", "replace")
            done += 1
            on_progress(done, total)
            try:
                stored = _stored(key, entries)
                record = decode_record(unpack(stored))
            except (ValueError, UserError) as error:
                findings.records[UNREADABLE][name] = str(error)
                continue
            try:
                check_record(record, manifest.label_basis)
            except UserError as error:
                findings.records[WRONG][name] = str(error)
                continue
            wrong = wrong_electrons(record, manifest, findings.tolerance)
            if wrong:
                findings.records[MISCOUNTED][name] = wrong
                continue
            if manifest.shard_of(name) != shard or (reader is not None and not _is_at(reader.get, name, stored)):
                findings.records[LOST][name] = ""
            yield name, record


def _stored(key: bytes, entries: Mapping[bytes, memoryview]) -> bytes:
    """The stored bytes of a record; ValueError if they are not there."""
    entry = entries[key]
    if len(entry) != PLACE.size:
        return bytes(entry)
    number, start, size = open_place(key, entry)
    return cut(entries.get(block_key(number)), start, size)


def _is_at(get: Callable[[str], bytes | None], key: str, stored: bytes) -> bool:
    try:
        return get(key) == stored
    except UserError:
        return False


def wrong_electrons(record: Record, manifest: Manifest, tolerance: float | None = None) -> str | None:
    """What is wrong with the number of electrons or of unpaired ones, in words; None if they are right.

    Args:
        record: of one structure.
        manifest: says how many electrons an atom brings.
        tolerance: electrons by which the sum over a grid may miss; None is ``GRID_TOLERANCE``.
    """
    try:
        expected = manifest.n_electrons(record.structure)
    except KeyError as missing:
        return f"the manifest has no electrons of {missing.args[0]}"
    if isinstance(record, GridRecord):
        count = float(record.values.sum(dtype=np.float64) * abs(np.linalg.det(record.steps)))
        if tolerance is None:
            tolerance = max(GRID_TOLERANCE[0], GRID_TOLERANCE[1] * expected)
    else:
        assert manifest.label_basis is not None  # check_record makes sure
        count, tolerance = electron_count(record, manifest.label_basis), ORBITAL_TOLERANCE
        if record.spins is not None:
            unpaired = unpaired_electrons(record, manifest.label_basis)
            if not abs(unpaired - (record.structure.multiplicity - 1)) <= tolerance:
                return f"{unpaired:.4f} unpaired instead of {record.structure.multiplicity - 1}"
    return None if abs(count - expected) <= tolerance else f"{count:.4f} instead of {expected}"
