"""Writing a store so that a kill at any time leaves one that opens."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb

from orbdens.errors import UserError
from orbdens.files import reason, sync
from orbdens.store.checks import check_record, check_splits
from orbdens.store.encoding import encode_record
from orbdens.store.lmdb_values import append_records, count_blocks, free_share
from orbdens.store.manifest import WITH_ALL_KINDS, Manifest
from orbdens.store.packing import pack
from orbdens.store.reader import close_reader, open_reader
from orbdens.store.records import CoefficientRecord, PointsRecord, Record

COMPACTION_FOLDER = "without-free-pages"
"""Folder, within that of an LMDB, of a copy that a writer is making."""

FIRST_MAP_SIZE = 1 << 26
"""Bytes that an LMDB may have at first; doubled whenever they do not do."""

COMMIT_INTERVAL = 0.25
"""Seconds of ``put`` that may share one commit, which waits for the disk."""

FREE_SHARE = 0.005
"""A finished file with a larger share of free pages is copied without them."""

FULL = 1 << 20
"""Bytes; a disk with less room is full."""

LOCK_SIZE = 8192
"""Bytes of an LMDB's lock file, for 126 readers."""

LARGEST_RECORD = 4_000_000_000
"""Packed bytes; LMDB counts in 32 bits."""


def packed_record(key: str, record: Record, manifest: Manifest) -> bytes:
    """A record as a store holds it.

    Raises:
        UserError: it holds other shapes than it should or values that are not finite.
    """
    try:
        check_record(record, manifest.label_basis, manifest.site_orbitals)
    except UserError as error:
        raise UserError(f"record '{key}': {error}") from None
    # Coefficients of a model: the last 5 % of their size would cost a twentieth of the time of predicting them.
    return pack(encode_record(record), fast=isinstance(record, CoefficientRecord))


class StoreWriter:
    """Writes a store; a kill at any time leaves a store that opens and holds all records up to the last commit.

    Args:
        path: the store's folder, made if missing.
        manifest: its ``splits``, ``count`` and ``finished`` do not count; ``finish`` sets them.
        resume: go on with an unfinished or finished store; ``key in writer`` tells what to skip.
        overwrite: delete the store at ``path`` first.

    Raises:
        UserError: ``path`` is not an empty folder and neither ``resume`` nor ``overwrite`` is set; it is no store; the
            store to resume is damaged, or of another level of theory or label basis; or nothing can be written
            there. All methods raise it if the disk is full.
    """

    def __init__(self, path: str | Path, manifest: Manifest, resume: bool = False, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.manifest = replace(manifest, splits={}, count=0, finished=False, format_version=manifest.written_version)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            self._take_over(resume, overwrite)
        self._environments: list[lmdb.Environment] = []
        self._pending: dict[str, bytes] = {}
        self._committed = 0.0
        try:
            with self._user_errors():
                for folder in self.manifest.folders(self.path):
                    folder.mkdir(parents=True, exist_ok=True)
                if not (self.path / "manifest.json").exists():
                    self.manifest.write(self.path)
                for folder in self.manifest.folders(self.path):
                    self._environments.append(self._open_environment(folder))
        except UserError:
            self._close_environments()
            raise

    @contextmanager
    def _user_errors(self) -> Iterator[None]:
        """UserError in place of what LMDB and the system raise, but for a map that wants to grow."""
        try:
            yield
        except lmdb.MapFullError:
            raise
        except (OSError, lmdb.Error) as error:
            words = reason(error) if isinstance(error, OSError) else str(error).rpartition(": ")[2].lower()
            if words == os.strerror(errno.EIO).lower() and shutil.disk_usage(self.path).free < FULL:
                words = os.strerror(errno.ENOSPC).lower()  # LMDB does not tell when a write stopped half-way
            raise UserError(f"{self.path} cannot be written: {words}") from None

    def _take_over(self, resume: bool, overwrite: bool) -> None:
        if not resume and not overwrite:
            raise UserError(f"{self.path} exists; resume or overwrite it, or choose another name")
        known = Manifest.read(self.path)
        if overwrite:
            with self._user_errors():
                self._delete(known)
            return
        for name in ("level", "density", "label_basis", "site_orbitals"):
            if known.to_json().get(name) != json.loads(json.dumps(self.manifest.to_json().get(name))):
                raise UserError(f"{self.path} cannot be resumed: its {name.replace('_', ' ')} is another one")
        self.manifest = replace(known, format_version=known.written_version)
        if known.format_version != self.manifest.format_version:
            self.manifest.write(self.path)  # first, so that no reader of the old version meets a block

    def _delete(self, known: Manifest) -> None:
        """Delete the files of the store that is there, and nothing else."""
        # the manifest goes first: what is left of an interrupted deletion is then no store
        (self.path / "manifest.json").unlink()
        for folder in known.folders(self.path):
            for name in ("data.mdb", "lock.mdb"):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / COMPACTION_FOLDER, ignore_errors=True)
            if folder != self.path and folder.exists():
                folder.rmdir()

    def _open_environment(self, folder: Path) -> lmdb.Environment:
        file = folder / "data.mdb"
        if file.exists() and file.stat().st_size > 0:
            open_reader(folder).check_pages()
        close_reader(folder)
        shutil.rmtree(folder / COMPACTION_FOLDER, ignore_errors=True)
        if hasattr(os, "posix_fallocate"):  # LMDB maps its lock file, and a map without room on the disk is a bus error
            with (folder / "lock.mdb").open("ab") as lock:
                os.posix_fallocate(lock.fileno(), 0, LOCK_SIZE)
        return lmdb.open(str(folder), map_size=FIRST_MAP_SIZE, max_dbs=0)

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
        packed = packed_record(key, record, self.manifest)
        if isinstance(record, PointsRecord) and self.manifest.format_version < WITH_ALL_KINDS:
            self.manifest = replace(self.manifest, format_version=WITH_ALL_KINDS)
            self.manifest.write(self.path)  # first, as when an old store is taken over
        self.put_packed(key, packed)

    def put_packed(self, key: str, packed: bytes) -> None:
        """As ``put``, of a record that another process has packed; none at points."""
        if not 0 < len(key.encode()) <= 500:
            raise UserError(f"a key of a store has 1 to 500 bytes, '{key[:40]}' has {len(key.encode())}")
        if key.startswith("\0"):
            raise UserError(f"the key {key!r} begins with a zero byte, which no key of a store may")
        if key in self:
            raise UserError(f"{self.path} has a record '{key}' already")
        if len(packed) > LARGEST_RECORD:
            raise UserError(f"record '{key}' takes {len(packed)} bytes, more than the {LARGEST_RECORD} of a store")
        self._pending[key] = packed
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
                    with self._user_errors(), environment.begin(write=True, buffers=True) as transaction:
                        append_records(transaction, items)
                    break
                except lmdb.MapFullError:
                    environment.set_mapsize(2 * environment.info()["map_size"])
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
        with self._user_errors():
            for folder, environment in zip(self.manifest.folders(self.path), self._environments, strict=True):
                self._drop_free_pages(folder, environment)
            self.manifest.write(self.path)
            self._close_environments()
            for folder in self.manifest.folders(self.path):
                (folder / "lock.mdb").unlink(missing_ok=True)  # of use to writers alone

    def _drop_free_pages(self, folder: Path, environment: lmdb.Environment) -> None:
        """Close an LMDB; if many of its pages are free and the disk has room, a copy without them takes its place."""
        compact = folder / COMPACTION_FOLDER
        copied = free_share(environment) > FREE_SHARE
        if copied:
            try:
                compact.mkdir()
                environment.copy(str(compact), compact=True)
                sync(compact / "data.mdb")
            except (OSError, lmdb.Error):
                copied = False
        environment.close()
        if copied:
            (compact / "data.mdb").replace(folder / "data.mdb")
        shutil.rmtree(compact, ignore_errors=True)
        sync(folder)

    def close(self) -> None:
        """Commit and close without the finished marker; the store can be read and resumed."""
        try:
            if self._environments:
                self.flush()
        finally:
            self._close_environments()

    def _close_environments(self) -> None:
        for environment in self._environments:
            environment.close()
        self._environments = []
