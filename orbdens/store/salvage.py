"""What can be found in the files of a store, whole or damaged, and new files in place of damaged ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from orbdens.errors import UserError
from orbdens.files import reason
from orbdens.store.encoding import decode_record
from orbdens.store.lmdb_pages import read_entries
from orbdens.store.lmdb_values import FIRST_KEY, read_record
from orbdens.store.manifest import Manifest
from orbdens.store.packing import unpack
from orbdens.store.reader import Reader, close_reader, open_reader
from orbdens.store.records import Record
from orbdens.store.writer import StoreWriter

MOST_PAGES = 5
"""Damaged pages that a line names."""

DAMAGED = "damaged"
"""Name of a file after its whole records went to a new one."""

MENDED = "mended"
"""Folder within a store where new files are made."""


@dataclass(frozen=True)
class FoundRecord:
    """What lies in a file under a key.

    Attributes:
        key: key of the record.
        record: None if it cannot be read.
        problem: why it cannot be read.
        in_place: whether a reader finds it under its key.
    """

    key: str
    record: Record | None
    problem: str = ""
    in_place: bool = True


class Salvage:
    """All records that can be found in the files of a store that no writer is changing; iterating reads them.

    A damaged file harms neither the process nor the records elsewhere in it.

    Args:
        path: folder of the store.
        manifest: that of the store.
        everywhere: look beyond what a reader would find, for records in any page of the files.

    Attributes:
        damage: what is wrong with the files, in words.
    """

    def __init__(self, path: Path, manifest: Manifest, everywhere: bool = False) -> None:
        self.damage: list[str] = []
        self._manifest = manifest
        self._shards: list[tuple[int, dict[bytes, memoryview], Reader | None]] = []
        for shard, folder in enumerate(manifest.folders(path)):
            file = folder / "data.mdb"
            try:
                entries, damage = read_entries(file, everywhere)
            except (OSError, ValueError) as error:
                words = reason(error) if isinstance(error, OSError) else error
                self.damage.append(f"{file} cannot be read: {words}")
                continue
            reader = None
            if damage:
                more = f" and {len(damage) - MOST_PAGES} more" if len(damage) > MOST_PAGES else ""
                self.damage.append(f"{file} is damaged: {', '.join(damage[:MOST_PAGES])}{more}")
            elif not everywhere:
                reader = self._reader(folder, sum(key >= FIRST_KEY for key in entries))
            self._shards.append((shard, entries, reader))

    def _reader(self, folder: Path, n_found: int) -> Reader | None:
        """The reader of a file without damage, which LMDB cannot trip over."""
        try:
            reader = open_reader(folder)
        except UserError as error:
            self.damage.append(str(error))
            return None
        if reader.n_records != n_found:
            self.damage.append(
                f"{folder / 'data.mdb'} is damaged: it says that it has {reader.n_records} records, not {n_found}"
            )
        return reader

    def __len__(self) -> int:
        return sum(key >= FIRST_KEY for _, entries, _ in self._shards for key in entries)

    def __iter__(self) -> Iterator[FoundRecord]:
        for shard, entries, reader in self._shards:
            for key in sorted(key for key in entries if key >= FIRST_KEY):
                name = key.decode("utf-8", "replace")
                try:
                    stored = read_record(entries.get, key) or b""
                    record = decode_record(unpack(stored))
                except (ValueError, UserError) as error:
                    yield FoundRecord(name, None, problem=str(error))
                    continue
                found = reader is None or _has(reader, name, stored)
                yield FoundRecord(name, record, in_place=found and self._manifest.shard_of(name) == shard)


def _has(reader: Reader, key: str, stored: bytes) -> bool:
    try:
        return reader.get(key) == stored
    except UserError:
        return False


def write_anew(path: Path, manifest: Manifest, records: Iterable[tuple[str, Record]]) -> set[str]:
    """Write records to new files that take the place of those of a store, which stay beside them, named ``damaged``.

    The store is unfinished afterwards, as after a kill on the way.

    Args:
        path: folder of the store.
        manifest: the manifest of the new files; their format version may be a later one.
        records: may be read from the old files meanwhile; of several with one key the first counts.

    Returns:
        The keys of the new files.

    Raises:
        UserError: they cannot be written.
    """
    keys: set[str] = set()
    manifest = replace(manifest, finished=False, format_version=manifest.written_version)
    manifest.write(path)
    try:
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
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason(error)}") from None
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
