"""A cache of tensors on disk, for what is dear to compute once per record (basis projections, fitted coefficients)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import torch

from orbdens.errors import UserError
from orbdens.store.reader import Reader, close_reader, open_reader
from orbdens.store.records import decode_tensors, encode_tensors


class TensorCache:
    """A folder with an LMDB of {key: {name: tensor}} that belongs to a header; a cache of another header is emptied.

    Reads open the file per process, so it may be handed to loader workers (pickled or forked). One process at a time
    writes. What a kill cuts off is computed again: ``put_many`` is whole or absent.

    Args:
        path: the cache's folder, made if missing; anything in it but a cache is refused.
        header: JSON values that what is cached depends on (basis, metric, versions).

    Raises:
        UserError: ``path`` is a file or a folder of something else, or cannot be written.
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._reader: Reader | None = None
        text = json.dumps(dict(header), sort_keys=True)
        marker = self.path / "header.json"
        try:
            if self.path.exists():
                if not self.path.is_dir() or (not marker.exists() and any(self.path.iterdir())):
                    raise UserError(f"{self.path} is in the way of a cache; move it or choose another folder")
                if marker.exists() and (marker.read_text(encoding="utf-8") != text or not self._whole()):
                    close_reader(self.path)
                    shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                # made before the marker, so that a folder with a marker always has an LMDB
                temporary = Path(tempfile.mkdtemp(prefix=f"{self.path.name}.", dir=self.path.parent))
                lmdb.open(str(temporary), map_size=1 << 26).close()
                (temporary / "header.json").write_text(text, encoding="utf-8")
                temporary.replace(self.path)
        except OSError as error:
            raise UserError(f"the cache {self.path} cannot be written: {error.strerror}") from None

    def _whole(self) -> bool:
        try:
            open_reader(self.path)
        except UserError:
            return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_reader": None}

    def _open(self) -> Reader:
        if self._reader is None or self._reader.pid != os.getpid():
            self._reader = open_reader(self.path)
        return self._reader

    def __contains__(self, key: str) -> bool:
        return self._open().get(key) is not None

    def __len__(self) -> int:
        return len(self._open())

    def get(self, key: str) -> dict[str, torch.Tensor]:
        """The tensors of a key, as they were put.

        Raises:
            UserError: the key is missing or its value damaged; deleting the folder is the cure.
        """
        value = self._open().get(key)
        if value is None:
            raise UserError(f"the cache {self.path} has no '{key}'")
        try:
            return {name: torch.from_numpy(array) for name, array in decode_tensors(value)[0].items()}
        except ValueError as error:
            raise UserError(f"'{key}' of the cache {self.path} cannot be read ({error}); delete that folder") from None

    def put_many(self, entries: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Add or replace entries in one commit; float16/32/64, int32/64 or uint8 tensors on any device."""
        values = {
            key.encode(): encode_tensors({n: t.detach().cpu().numpy() for n, t in tensors.items()}, {})
            for key, tensors in entries.items()
        }
        close_reader(self.path)
        environment = lmdb.open(str(self.path), map_size=1 << 26)
        try:
            while True:
                try:
                    with environment.begin(write=True) as transaction:
                        for key, value in values.items():
                            transaction.put(key, value)
                    break
                except lmdb.MapFullError:
                    environment.set_mapsize(2 * environment.info()["map_size"])
        finally:
            environment.close()
