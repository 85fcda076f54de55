"""Tar archives, read by ``tarfile`` from front to back, compressed or not; nothing of them is written to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from orbdens.errors import UserError
from orbdens.formats.streams import CHUNK, SUFFIXES, chunks

BLOCK = 512
"""Bytes of a block of a tar archive."""

LARGEST_READ = 1 << 24
"""Bytes; an archive whose headers claim to be longer is not read."""


def bare_name(name: str) -> str:
    """A name without the ending of a compression."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def is_archive_name(name: str) -> bool:
    """Whether a name is one of a tar archive."""
    return PurePosixPath(bare_name(name)).suffix == ".tar" or name.lower().endswith((".tgz", ".txz"))


def is_archive(file: Path, name: str) -> bool:
    """Whether a file is a tar archive, by its first block; ``name`` may promise a compression."""
    with file.open("rb") as handle:
        try:
            tarfile.TarInfo.frombuf(next(chunks(handle.read, str(file), name))[:BLOCK], "utf-8", "surrogateescape")
        except (UserError, tarfile.HeaderError):
            return False
    return True


def members(
    handle: BinaryIO, place: str, name: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, Callable[[int], bytes]]]:
    """Names of the regular files in an archive, in its order, each with what reads it until the next is asked for.

    Args:
        handle: the open archive.
        place: names it in messages.
        name: name of the archive; its ending may promise a compression.
        wanted: which of the members, by name.

    Raises:
        UserError: the archive is damaged or cut, or a header claims more memory than any should.
    """
    stream = _Forward(chunks(handle.read, place, name), place)
    try:
        # without its own decompression, tarfile only ever goes forward
        with tarfile.open(fileobj=cast(Any, stream), mode="r:") as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # it would keep every one of them
                data = archive.extractfile(member) if member.isreg() and wanted(member.name) else None
                if data is not None:
                    yield member.name, _reader(data.read, place)
    except (tarfile.TarError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{place} is truncated or damaged at byte {stream.tell()}: {reason}") from None
    if len(stream.last) < BLOCK or stream.last.strip(b"\0"):
        # tarfile takes whatever is no header for the end
        raise UserError(f"{place} is truncated or damaged at byte {stream.tell()}: it has no end marker")


def _reader(read: Callable[[int], bytes], place: str) -> Callable[[int], bytes]:
    def reader(size: int) -> bytes:
        try:
            return read(size)
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{place} is truncated: {error}") from None

    return reader


class _Forward:
    """A file of pieces that is read from front to back, for ``tarfile``; remembers what it gave last."""

    def __init__(self, pieces: Iterator[bytes], place: str) -> None:
        self._pieces = pieces
        self._buffer = memoryview(b"")
        self._position = 0
        self.place = place
        self.last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0 or position < self._position:
            raise OSError("this file only goes forward")
        while self._position < position and self.read(min(position - self._position, CHUNK)):
            pass
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise UserError(f"{self.place} is not a sound archive: one of its headers claims {size} bytes")
        parts = []
        while size > 0 and (self._buffer or (piece := next(self._pieces, b""))):
            self._buffer = self._buffer or memoryview(piece)
            parts.append(self._buffer[:size])
            self._buffer = self._buffer[size:]
            size -= len(parts[-1])
        self.last = b"".join(parts)
        self._position += len(self.last)
        return self.last
