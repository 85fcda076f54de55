"""Stores: an LMDB (or a folder of shards) of safetensors records beside a JSON manifest. No pickle anywhere.

Format version 1 has a value per record; version 2 packs records and puts many in one value (``packing``, ``blocks``).
Both are read, the second is written, also when a store of version 1 is resumed.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

import lmdb
import numpy as np

from orbdens.data.blocks import FIRST_KEY, append_records, count_blocks, free_share, read_record
from orbdens.data.checks import check_record, check_splits
from orbdens.data.manifest import FORMAT_VERSION, Manifest, sync
from orbdens.data.packing import pack, unpack
from orbdens.data.pages import damaged_page
from orbdens.data.records import (
    GridRecord,
    LabelBasis,
    LabelShell,
    OrbitalRecord,
    Record,
    decode_record,
    encode_record,
)
from orbdens.errors import UserError

T = TypeVar("T")

__all__ = [
    "GridRecord",
    "LabelBasis",
    "LabelShell",
    "Manifest",
    "OrbitalRecord",
    "Record",
    "Store",
    "StoreWriter",
]

COPY = "without-free-pages"
"""Folder, within that of an LMDB, of a copy that a writer is making."""

COMMIT_INTERVAL = 0.25
"""Seconds of ``put`` that may share one commit, which waits for the disk."""

FREE_SHARE = 0.005
"""A finished file with a larger share of free pages is copied without them."""


class Reader:
    """An LMDB open for reading in one process."""

    def __init__(self, folder: Path) -> None:
        path = folder / "data.mdb"
        if not path.is_file():
            raise UserError(f"{folder} is not a whole store: it has no data.mdb")
        size = path.stat().st_size
        try:
            self.environment = lmdb.open(str(folder), readonly=True, lock=False, max_dbs=0, readahead=False)
        except lmdb.Error as error:
            if "already open" in str(error):
                raise UserError(f"{folder} is open for writing in this process") from None
            raise UserError(f"{path} is damaged or not an LMDB ({size} bytes)") from None
        self.pid = os.getpid()
        self._checked = False
        expected = (self.environment.info()["last_pgno"] + 1) * self.environment.stat()["psize"]
        if size < expected:
            # reading on would end the process: the missing pages are mapped memory without a file behind it
            self.environment.close()
            raise UserError(f"{path} is truncated: it has {size} bytes of {expected}")

    def __len__(self) -> int:
        with self._begin() as transaction:
            return int(transaction.stat()["entries"]) - count_blocks(transaction)

    def get(self, key: str) -> bytes | None:
        """The stored bytes of a key; UserError if the file is damaged."""
        try:
            with self._begin() as transaction:
                return read_record(transaction, key.encode()) if key else None
        except lmdb.BadValsizeError:
            return None
        except (lmdb.Error, ValueError) as error:
            raise UserError(f"'{key}' of {self.environment.path()} is damaged: {error}") from None

    def keys(self) -> Iterator[str]:
        """All keys in byte order."""
        with self._begin() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(FIRST_KEY):
                for key in cursor.iternext(keys=True, values=False):
                    yield bytes(key).decode("utf-8", "replace")

    def check_pages(self) -> None:
        """Check the file's pages, once per process; UserError if one is damaged. Not while a writer is at work."""
        if not self._checked:
            path = Path(self.environment.path()) / "data.mdb"
            page = damaged_page(path, self.environment.stat()["psize"])
            if page is not None:
                raise UserError(f"{path} is damaged: page {page} is not what it should be")
            self._checked = True

    def _begin(self) -> lmdb.Transaction:
        try:
            return self.environment.begin(buffers=True)
        except lmdb.MapResizedError:
            self.environment.set_mapsize(0)  # another process wrote more; 0 takes over its size
            return self.environment.begin(buffers=True)

    def close(self) -> None:
        """Close the file; whoever still holds this reader sees a foreign pid and opens a new one."""
        self.environment.close()
        self.pid = -1


_readers: WeakValueDictionary[Path, Reader] = WeakValueDictionary()
_readers_lock = threading.Lock()


def open_reader(folder: Path) -> Reader:
    """The reader of a folder in this process: LMDB forbids to open a file twice in one process."""
    with _readers_lock:
        place = folder.resolve()
        reader = _readers.get(place)
        if reader is not None and reader.pid != os.getpid():
            reader.close()  # inherited by a fork; without locks this touches only the child's own mapping
            reader = None
        if reader is None:
            reader = _readers[place] = Reader(folder)
        return reader


def close_reader(folder: Path) -> None:
    """Close the reader of a folder in this process, if there is one, to make way for a writer."""
    with _readers_lock:
        reader = _readers.pop(folder.resolve(), None)
        if reader is not None:
            reader.close()


class Store:
    """A store, open for reading.

    Cheap to make and to pickle (only its path travels); every process opens the files itself at its first read.

    Args:
        path: the store's folder.

    Raises:
        UserError: from the constructor if there is no store of this format version at ``path``; from a read if
            files are missing, truncated or damaged, or a record is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        self._open: list[Reader] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "manifest": self.manifest, "_open": []}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; a later read opens them again."""
        self._open = []

    def _readers(self) -> list[Reader]:
        if not self._open or any(reader.pid != os.getpid() for reader in self._open):
            opened = [open_reader(folder) for folder in self.manifest.folders(self.path)]
            if self.manifest.finished:
                for reader in opened:
                    reader.check_pages()
                held = sum(len(reader) for reader in opened)
                if held != self.manifest.count:
                    raise UserError(f"{self.path} is damaged: it holds {held} records of {self.manifest.count}")
            self._open = opened
        return self._open

    def __len__(self) -> int:
        return sum(len(reader) for reader in self._readers())

    def keys(self, split: str | None = None) -> list[str]:
        """Keys of a named split in its order, or all keys in byte order.

        Raises:
            UserError: the store has no split of that name.
        """
        if split is None:
            return sorted(key for reader in self._readers() for key in reader.keys())  # noqa: SIM118
        if split not in self.manifest.splits:
            known = ", ".join(self.manifest.splits) or "none"
            raise UserError(f"{self.path} has no split '{split}'; its splits: {known}")
        return list(self.manifest.splits[split])

    def __contains__(self, key: str) -> bool:
        return self._readers()[self.manifest.shard_of(key)].get(key) is not None

    def stored(self, key: str) -> bytes:
        """The bytes of a record as they lie in the file.

        Raises:
            UserError: there is no such record.
        """
        value = self._readers()[self.manifest.shard_of(key)].get(key)
        if value is None:
            raise UserError(f"{self.path} has no record '{key}'")
        return value

    def __getitem__(self, key: str) -> Record:
        value = self.stored(key)
        try:
            record = decode_record(unpack(value))
            check_record(record, self.manifest.label_basis)
        except (ValueError, UserError) as error:
            raise UserError(f"record '{key}' of {self.path} cannot be read: {error}") from None
        return record


class StoreWriter:
    """Writes a store; a kill at any time leaves a store that opens and holds all records up to the last commit.

    Args:
        path: the store's folder, made if missing.
        manifest: its ``splits``, ``count`` and ``finished`` do not count; ``finish`` sets them.
        resume: go on with an unfinished or finished store; ``key in writer`` tells what to skip.
        overwrite: delete the store at ``path`` first.

    Raises:
        UserError: ``path`` is not an empty folder and neither ``resume`` nor ``overwrite`` is set; it is no store; or
            the store to resume is of another level of theory or label basis.
    """

    def __init__(self, path: str | Path, manifest: Manifest, resume: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.manifest = replace(manifest, splits={}, count=0, finished=False, format_version=FORMAT_VERSION)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            self._take_over(resume, overwrite)
        try:
            for folder in self.manifest.folders(self.path):
                folder.mkdir(parents=True, exist_ok=True)
            if not (self.path / "manifest.json").exists():
                self.manifest.write(self.path)
            self._environments = [self._open_environment(folder) for folder in self.manifest.folders(self.path)]
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from None
        self._pending: dict[str, bytes] = {}
        self._committed = 0.0

    def _take_over(self, resume: bool, overwrite: bool) -> None:
        if not resume and not overwrite:
            raise UserError(f"{self.path} exists; resume or overwrite it, or choose another name")
        known = Manifest.read(self.path)
        if overwrite:
            # the manifest goes first: what is left of an interrupted deletion is then no store
            (self.path / "manifest.json").unlink()
            for folder in known.folders(self.path):
                for name in ("data.mdb", "lock.mdb"):
                    (folder / name).unlink(missing_ok=True)
                shutil.rmtree(folder / COPY, ignore_errors=True)
                if folder != self.path and folder.exists():
                    folder.rmdir()
            return
        for name in ("level", "density", "label_basis"):
            if known.to_json()[name] != json.loads(json.dumps(self.manifest.to_json()[name])):
                raise UserError(f"{self.path} cannot be resumed: its {name.replace('_', ' ')} is another one")
        self.manifest = replace(known, format_version=FORMAT_VERSION)
        if known.format_version != FORMAT_VERSION:
            self.manifest.write(self.path)  # first, so that no reader of the old version meets a block

    def _open_environment(self, folder: Path) -> lmdb.Environment:
        close_reader(folder)
        shutil.rmtree(folder / COPY, ignore_errors=True)
        try:
            return lmdb.open(str(folder), map_size=1 << 26, max_dbs=0)
        except lmdb.Error as error:
            reason = "it is open in this process" if "already open" in str(error) else "data.mdb is damaged"
            raise UserError(f"{folder} cannot be written: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        if key in self._pending:
            return True
        with self._environments[self.manifest.shard_of(key)].begin() as transaction:
            return transaction.get(key.encode()) is not None

    def __len__(self) -> int:
        self.flush()
        total = 0
        for environment in self._environments:
            with environment.begin() as transaction:
                total += int(transaction.stat()["entries"]) - count_blocks(transaction)
        return total

    def put(self, key: str, record: Record) -> None:
        """Add a record. At most ``COMMIT_INTERVAL`` seconds of records wait in memory for a common commit.

        Args:
            key: new, 1 to 500 bytes in UTF-8, the first of them not zero.
            record: an orbital record must be in the manifest's label basis.

        Raises:
            UserError: the key is taken or too long, or the record holds other shapes than it should or values that
                are not finite.
        """
        if not 0 < len(key.encode()) <= 500:
            raise UserError(f"a key of a store has 1 to 500 bytes, '{key[:40]}' has {len(key.encode())}")
        if key.startswith("\0"):
            raise UserError(f"the key {key!r} begins with a zero byte, which no key of a store may")
        if key in self:
            raise UserError(f"{self.path} has a record '{key}' already")
        try:
            check_record(record, self.manifest.label_basis)
        except UserError as error:
            raise UserError(f"record '{key}': {error}") from None
        self._pending[key] = pack(encode_record(record))
        if time.monotonic() - self._committed >= COMMIT_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Commit all records so far to the disk."""
        if self._pending and self.manifest.finished:
            self.manifest = replace(self.manifest, finished=False)
            self.manifest.write(self.path)
        for shard, environment in enumerate(self._environments):
            items = sorted((k.encode(), v) for k, v in self._pending.items() if self.manifest.shard_of(k) == shard)
            while items:
                try:
                    with environment.begin(write=True, buffers=True) as transaction:
                        append_records(transaction, items)
                    break
                except lmdb.MapFullError:
                    environment.set_mapsize(2 * environment.info()["map_size"])
                except lmdb.Error as error:
                    raise UserError(f"{self.path} cannot be written: {error}") from None
        self._pending.clear()
        self._committed = time.monotonic()

    def finish(self, splits: Mapping[str, Sequence[str]]) -> None:
        """Commit, write named splits and the finished marker, and close.

        Raises:
            UserError: a split names a record that is not there, or two splits share one.
        """
        self.flush()
        check_splits(splits, self.__contains__, self.path)
        splits = {name: list(keys) for name, keys in splits.items()}
        self.manifest = replace(self.manifest, splits=splits, count=len(self), finished=True)
        for folder, environment in zip(self.manifest.folders(self.path), self._environments, strict=True):
            self._drop_free_pages(folder, environment)
        self.manifest.write(self.path)
        self.close()
        for folder in self.manifest.folders(self.path):
            (folder / "lock.mdb").unlink(missing_ok=True)  # of use to writers alone

    def _drop_free_pages(self, folder: Path, environment: lmdb.Environment) -> None:
        """Close an LMDB; if many of its pages are free and the disk has room, a copy without them takes its place."""
        copied = free_share(environment) > FREE_SHARE
        if copied:
            try:
                (folder / COPY).mkdir()
                environment.copy(str(folder / COPY), compact=True)
                sync(folder / COPY / "data.mdb")
            except (OSError, lmdb.Error):
                copied = False
        environment.close()
        if copied:
            (folder / COPY / "data.mdb").replace(folder / "data.mdb")
        shutil.rmtree(folder / COPY, ignore_errors=True)
        sync(folder)

    def close(self) -> None:
        """Commit and close without the finished marker; the store can be read and resumed."""
        if self._environments:
            self.flush()
        for environment in self._environments:
            environment.close()
        self._environments = []


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items in their order, first and last among them: a sample without chance."""
    return [items[int(i)] for i in np.unique(np.linspace(0, len(items) - 1, min(len(items), count)).round())]
