"""Bytes of files and archive members in order: decompressed on the way, in bounded memory, nothing written to disk."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

import lz4.frame

from orbdens.errors import UserError

CHUNK = 1 << 20
"""Bytes read, and at most made of them by a decompressor, at a time."""

XZ_MEMORY = 1 << 28
"""Bytes that an .xz file may ask for; its strongest usual setting takes 65 MiB."""

LARGEST_READ = 1 << 24
"""Bytes; an archive whose headers claim to be longer is not read."""

SUFFIXES = {".gz": "gzip", ".tgz": "gzip", ".xz": "xz", ".txz": "xz", ".bz2": "bzip2", ".lz4": "lz4", ".zz": "zlib"}
"""Endings of names that promise a compression."""

MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""First bytes of compressed data."""


class Decompressor(Protocol):
    """What the decompressors of Python's lzma, bz2 and of lz4 have in common."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Zlib:
    """A zlib or gzip decompressor with the methods of the others."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)
        self._tail = b""
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        made = self._inner.decompress(self._tail + data, max_length)
        self._tail = self._inner.unconsumed_tail
        self.eof, self.unused_data = self._inner.eof, self._inner.unused_data
        self.needs_input = not self._tail
        return made


MAKERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: Zlib(31),
    "zlib": lambda: Zlib(15),
    "xz": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
    "bzip2": bz2.BZ2Decompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
}


def compression(place: str, name: str, first: bytes) -> str | None:
    """How data is compressed, by its first bytes; for zlib, whose first bytes could be text, by its name as well.

    Raises:
        UserError: the name promises a compression that the data does not have, or it is of a kind not known here.
    """
    known = next((kind for magic, kind in MAGIC.items() if first.startswith(magic)), None)
    promised = SUFFIXES.get(PurePosixPath(name).suffix.lower())
    if known is None and promised == "zlib" and len(first) > 1 and first[0] & 15 == 8:
        known = promised if int.from_bytes(first[:2]) % 31 == 0 else None
    if known == "zstd":
        raise UserError(f"{place} is compressed with zstd, which the import does not read; unpack it first")
    if known is None and promised is not None:
        raise UserError(f"{place} is named {PurePosixPath(name).suffix}, but is not compressed that way")
    return known


def chunks(read: Callable[[int], bytes], place: str, name: str) -> Iterator[bytes]:
    """The bytes of a file or member, decompressed if they are compressed, none of the pieces above ``CHUNK``.

    Args:
        read: gives at most so many bytes, none at the end.
        place: names the file in messages.
        name: of the file; its ending is a promise.

    Raises:
        UserError: nothing there, a pickle, a damaged or truncated compression.
    """
    first = read(CHUNK)
    if not first:
        raise UserError(f"{place} is empty")
    if first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise UserError(f"{place} is a Python pickle, and pickles are never opened")
    kind = compression(place, name, first)
    if kind is None:
        while first:
            yield first
            first = read(CHUNK)
        return
    yield from filter(None, _decompressed(first, read, kind, place))


def _decompressed(data: bytes, read: Callable[[int], bytes], kind: str, place: str) -> Iterator[bytes]:
    made = 0
    decoder: Decompressor | None = MAKERS[kind]()
    while decoder is not None:
        try:
            piece = decoder.decompress(data, CHUNK)
        except (zlib.error, lzma.LZMAError, OSError, RuntimeError, EOFError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{place} is damaged: its {kind} data breaks after {made} bytes ({reason})") from None
        made += len(piece)
        yield piece
        data = b""
        if decoder.eof:
            # files may be joined one after the other, and padded with zeros
            data = (decoder.unused_data or b"").lstrip(b"\0")
            while not data:
                more = read(CHUNK)
                if not more:
                    return
                data = more.lstrip(b"\0")
            decoder = MAKERS[kind]()
        elif decoder.needs_input and len(piece) < CHUNK:  # after a full piece lz4 may hold more back
            data = read(CHUNK)
            if not data:
                raise UserError(f"{place} is truncated: its {kind} data ends after {made} bytes, in the middle")


class Forward:
    """A file that is read from front to back, for ``tarfile``; remembers what it gave last.

    Args:
        pieces: its bytes, or an open file, where skipped parts are not read.
        place: names it in messages.
    """

    def __init__(self, pieces: Iterator[bytes] | BinaryIO, place: str) -> None:
        self._pieces = pieces
        self._buffer, self._taken = b"", 0
        self._position = 0
        self.place = place
        self.last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0 or position < self._position:
            raise OSError("this file only goes forward")
        skipped = position - self._position
        if hasattr(self._pieces, "seek"):
            self._pieces.seek(skipped, 1)
            self._position = position
            return position
        while skipped:
            piece = self.read(min(skipped, CHUNK))
            if not piece:
                break
            skipped -= len(piece)
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise UserError(f"{self.place} is not a sound archive: one of its headers claims {size} bytes")
        if hasattr(self._pieces, "read"):
            data = self._pieces.read(size)
        else:
            while len(self._buffer) - self._taken < size:
                piece = next(self._pieces, b"")
                if not piece:
                    break
                self._buffer, self._taken = self._buffer[self._taken :] + piece, 0
            data = self._buffer[self._taken : self._taken + size]
            self._taken += len(data)
        self._position += len(data)
        self.last = data
        return data
