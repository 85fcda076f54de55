"""Bytes of files and archive members in order: decompressed on the way, in bounded memory, nothing written to disk.

The decompressors are those of Python and of lz4. Their file objects would be shorter to use, but take any bytes after
the end of bz2, xz or lz4 data for nothing, and are slower: ``python -m benchmarks.parsing`` shows by how much.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from orbdens.errors import UserError
from orbdens.files import is_pickle

CHUNK = 1 << 20
"""Bytes read, and at most made of them by a decompressor, at a time."""

XZ_MEMORY = 1 << 28
"""Bytes that an .xz file may ask for; its strongest usual setting takes 65 MiB."""

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


class _Zlib:
    """A zlib or gzip decompressor with the methods of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 32)  # told by its header
        self.eof, self.needs_input, self.unused_data = False, True, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        made = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.eof, self.unused_data = self._inner.eof, self._inner.unused_data
        self.needs_input = not self._inner.unconsumed_tail
        return made


def _decompressor(kind: str) -> Any:
    """The decompressor of Python's lzma or bz2, of lz4, or ours of zlib: all have the same methods."""
    if kind == "lz4":
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    return bz2.BZ2Decompressor() if kind == "bzip2" else _Zlib()


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
        name: name of the file; its ending is a promise.

    Raises:
        UserError: nothing there, a pickle, a damaged or truncated compression.
    """
    first = read(CHUNK)
    if not first:
        raise UserError(f"{place} is empty")
    if is_pickle(first):
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
    decoder = _decompressor(kind)
    while True:
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
            decoder = _decompressor(kind)
        elif decoder.needs_input and len(piece) < CHUNK:  # after a full piece lz4 may hold more back
            data = read(CHUNK)
            if not data:
                raise UserError(f"{place} is truncated: its {kind} data ends after {made} bytes, in the middle")
