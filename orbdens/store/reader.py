"""Reading a store, in any number of processes at once.

Format version 1 has a value per record; version 2 packs records and puts many in one value (``packing``,
``lmdb_values``); version 3 has more kinds of records. All are read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

import lmdb

from orbdens.errors import UserError
from orbdens.store.checks import check_record
from orbdens.store.encoding import STRUCTURE, decode_record, decode_structure
from orbdens.store.lmdb_pages import first_damaged_page
from orbdens.store.lmdb_values import FIRST_KEY, count_blocks, read_record
from orbdens.store.manifest import Manifest
from orbdens.store.packing import unpack
from orbdens.store.records import Record
from orbdens.structure import Structure

T = TypeVar("T")


class Reader:
    """An LMDB open for reading in one process.

    Args:
        folder: holds ``data.mdb``.

    Raises:
        UserError: there is none, it is no LMDB or not a whole one, it may not be read, or this process writes to it.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "data.mdb"
        if not path.is_file():
            raise UserError(f"{folder} is not a whole store: it has no data.mdb")
        if not os.access(path, os.R_OK):
            raise UserError(f"{path} may not be read")
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

    @property
    def n_records(self) -> int:
        """Number of records that the file says it has: any number if it is damaged."""
        with self._begin() as transaction:
            return int(transaction.stat()["entries"]) - count_blocks(transaction)

    def get(self, key: str) -> bytes | None:
        """The stored bytes of a record; None if there is none, UserError if the file is damaged."""
        if not key or key.startswith("\0"):  # no record has such a key
            return None
        try:
            with self._begin() as transaction:
                return read_record(transaction.get, key.encode())
        except lmdb.BadValsizeError:
            return None
        except (lmdb.Error, ValueError) as error:
            raise UserError(f"'{key}' of {self.environment.path()} is damaged: {error}") from None

    def keys(self) -> Iterator[str]:
        """All keys in byte order; UserError if the file is damaged."""
        try:
            with self._begin() as transaction, transaction.cursor() as cursor:
                if cursor.set_range(FIRST_KEY):
                    for key in cursor.iternext(keys=True, values=False):
                        yield bytes(key).decode("utf-8", "replace")
        except lmdb.Error as error:
            raise UserError(f"{self.environment.path()} is damaged: {error}") from None

    def check_pages(self) -> None:
        """Check the file's pages, once per process; UserError if one is damaged. Not while a writer is at work."""
        if not self._checked:
            path = Path(self.environment.path()) / "data.mdb"
            try:
                page = first_damaged_page(path)
            except (OSError, ValueError) as error:
                raise UserError(f"{path} cannot be read: {error}") from None
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
                held = sum(reader.n_records for reader in opened)
                if held != self.manifest.count:
                    raise UserError(f"{self.path} is damaged: it holds {held} records of {self.manifest.count}")
            self._open = opened
        return self._open

    def __len__(self) -> int:
        return sum(reader.n_records for reader in self._readers())

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
        return self._decode(key, self._record)

    def structure(self, key: str) -> Structure:
        """The structure of a record without the rest of it, several times faster.

        The checksum is one of the whole record and is not computed here: other damage than that of a file shows only
        when the record itself is read.

        Raises:
            UserError: there is no such record, or it cannot be decoded.
        """
        return self._decode(key, lambda value: decode_structure(unpack(value, only=STRUCTURE)))

    def _record(self, value: bytes) -> Record:
        record = decode_record(unpack(value))
        check_record(record, self.manifest.label_basis, self.manifest.site_orbitals)
        return record

    def _decode(self, key: str, decode: Callable[[bytes], T]) -> T:
        value = self.stored(key)
        try:
            return decode(value)
        except (ValueError, UserError) as error:
            raise UserError(f"record '{key}' of {self.path} cannot be read: {error}") from None
