"""A cache of tensors on disk, for what is dear to compute once per record (basis projections, fitted coefficients).

SQLite and not LMDB, as many processes may write to a cache, on disks of a network too. Two that compute the same
targets at once do work twice and no harm.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from orbdens.errors import UserError
from orbdens.files import reason
from orbdens.store.encoding import decode_tensors, encode_tensors

MAGIC = b"SQLite format 3\0"
APPLICATION_ID = 0x6F726264
"""In the header of the file, at byte 68: this is one of our caches."""

WAIT = 120.0
"""Seconds to wait for another process that writes."""


class TensorCache:
    """A file of {key: {name: tensor}} that belongs to a header; a cache of another header or a damaged one is emptied.

    Every call opens the file and closes it again (0.05 ms), so that it may be handed to loader workers (pickled or
    forked). Any number of processes may read and write. A kill loses nothing but the ``put_many`` under way. A cache
    may be deleted at any time: what is missing is computed again.

    Args:
        path: the file, made if missing; anything but a cache is refused.
        header: JSON values that what is cached depends on (basis, metric, versions).

    Raises:
        UserError: there is something else at ``path``, or it cannot be written. All methods raise it if the file
            cannot be read or the disk is full.
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        self.path = Path(path)
        text = json.dumps(dict(header), sort_keys=True)
        with self._user_errors("written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._make_way()
            seen = self._identity()
            try:
                self._begin(text)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                if self._identity() == seen:  # else another process has just made a new one
                    Path(f"{self.path}-journal").unlink(missing_ok=True)
                    self.path.unlink()
                self._begin(text)

    def _make_way(self) -> None:
        """Raise UserError if there is anything but a cache; one that an older version made (an LMDB) is deleted."""
        if self.path.is_dir():
            names = {file.name for file in self.path.iterdir()}
            if "header.json" in names and names <= {"header.json", "data.mdb", "lock.mdb"}:
                shutil.rmtree(self.path, ignore_errors=True)
                return
        elif not self.path.exists():
            return  # looked at once: another process may begin it at any moment
        else:
            with self.path.open("rb") as file:
                start = file.read(72)
            if not start or (start[:16] == MAGIC and int.from_bytes(start[68:], "big") == APPLICATION_ID):
                return  # empty: another process has just begun it
        raise UserError(f"{self.path} is in the way of a cache; move it or choose another folder")

    def _identity(self) -> tuple[int, int] | None:
        """Tells a file from another one of its name."""
        return (self.path.stat().st_ino, self.path.stat().st_mtime_ns) if self.path.exists() else None

    def _begin(self, header: str) -> None:
        """Make the tables if there are none, and empty them if they are of another header."""
        with self._open() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")  # alone from here to the commit
            if not connection.execute("SELECT name FROM sqlite_schema").fetchall():
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("CREATE TABLE header (text TEXT NOT NULL)")
                connection.execute("CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
            if connection.execute("SELECT text FROM header").fetchall() != [(header,)]:
                connection.execute("DELETE FROM entries")
                connection.execute("DELETE FROM header")
                connection.execute("INSERT INTO header VALUES (?)", (header,))

    def _open(self) -> closing[sqlite3.Connection]:
        # without an isolation level Python leaves transactions to us
        return closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None))

    @contextmanager
    def _user_errors(self, how: str) -> Iterator[None]:
        """UserError in place of what SQLite and the system raise."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            words = reason(error) if isinstance(error, OSError) else error
            raise UserError(f"the cache {self.path} cannot be {how}: {words}") from None

    def _select(self, what: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._user_errors("read"), self._open() as connection:
            return connection.execute(f"SELECT {what} FROM entries" + " WHERE key = ?" * len(values), values).fetchall()

    def __contains__(self, key: str) -> bool:
        return bool(self._select("1", key.encode()))

    def __len__(self) -> int:
        return int(self._select("count(*)")[0][0])

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of some keys that are not here, in their order."""
        held = {key for (key,) in self._select("key")}
        return [key for key in keys if key.encode() not in held]

    def get(self, key: str) -> dict[str, torch.Tensor]:
        """The tensors of a key, as they were put.

        Raises:
            UserError: the key is missing or its value damaged; deleting the file is the cure.
        """
        found = self._select("value", key.encode())
        if not found:
            raise UserError(f"the cache {self.path} has no '{key}'")
        try:
            return {name: torch.from_numpy(array) for name, array in decode_tensors(found[0][0])[0].items()}
        except ValueError as error:
            raise UserError(f"'{key}' of the cache {self.path} cannot be read ({error}); delete that file") from None

    def put_many(self, entries: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Add or replace entries, all or none; float16/32/64, int32/64 or uint8 tensors on any device."""
        rows = [
            (key.encode(), encode_tensors({name: t.detach().cpu().numpy() for name, t in tensors.items()}, {}))
            for key, tensors in entries.items()
        ]
        with self._user_errors("written"), self._open() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)
