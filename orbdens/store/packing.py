"""Safetensors bytes in fewer bytes, without loss: shuffled by byte, then zstd with a dictionary of headers.

Coefficients are noise but for sign and exponent, so shuffled ones shrink by 5 to 10 %; a header of 480 bytes takes 60.
Values on a grid are smooth: differences of neighbours, taken as integers, shrink further (README of ``data_tools``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

TAG = b"\x01"
"""First byte of packed bytes. Safetensors begin with the length of their header, a multiple of 8."""

WIDTHS = {"F16": 2, "F32": 4, "F64": 8}
"""Bytes of the numbers that are shuffled."""

LARGE = 1 << 18
"""Bytes; larger values are packed fast, as they gain little from more effort."""

EFFORT, FAST = 12, 3
"""Levels of zstd. Orbitals of ethanol: 0.936 of their raw size at level 12, 0.966 at level 3."""

HIGHEST_RATIO, ALWAYS_ALLOWED = 500, 1 << 28
"""Packed bytes may hold so many times their own number, or so many bytes however few they are themselves.

Zstd alone could make 40,000 bytes of one, which would fill the memory. Densities shrink by 1.1 to 10; what shrinks by
more than 500 is nearly all vacuum in float16.
"""

DICTIONARY = zstandard.ZstdCompressionDict(
    b'{"__metadata__":{"charge":"0","crc32":"00000000","kind":"grid","multiplicity":"1","pbc":"TTT"},'
    b'"cell":{"dtype":"F64","shape":[3,3],"data_offsets":[0,72]},"dipole":{"dtype":"F64","shape":[3],'
    b'"data_offsets":[72,96]},"energy":{"dtype":"F64","shape":[],"data_offsets":[96,104]},"origin":{"dtype":"F64",'
    b'"shape":[3],"data_offsets":[104,128]},"steps":{"dtype":"F64","shape":[3,3],"data_offsets":[128,200]},'
    b'"positions":{"dtype":"F64","shape":[9,3],"data_offsets":[200,416]},"spin_values":{"dtype":"F16","shape":'
    b'[53,56,59],"data_offsets":[416,350640]},"values":{"dtype":"F16","shape":[53,56,59],"data_offsets":'
    b'[350640,700864]},"numbers":{"dtype":"U8","shape":[9],"data_offsets":[700864,700873]}}'
    b'"spins":{"dtype":"I8","shape":[10],"data_offsets":['
    b"\x06\x06\x08"
    + 6 * b"\x01"
    + 16 * b"\x00"
    + 8 * b"\x40"  # atoms, and pairs of electrons
    + b'{"__metadata__":{"charge":"0","crc32":"00000000","kind":"orbital","multiplicity":"1"},"dipole":{"dtype":"F64",'
    b'"shape":[3],"data_offsets":[0,24]},"energy":{"dtype":"F64","shape":[],"data_offsets":[24,32]},"occupations":'
    b'{"dtype":"F32","shape":[10],"data_offsets":[32,72]},"orbitals":{"dtype":"F32","shape":[69,10],"data_offsets":'
    b'[72,2832]},"positions":{"dtype":"F32","shape":[9,3],"data_offsets":[2832,2940]},"numbers":{"dtype":"U8",'
    b'"shape":[9],"data_offsets":[2940,2949]}}',
    dict_type=zstandard.DICT_TYPE_RAWCONTENT,
)
"""Part of format version 2: packed bytes are read with the very dictionary that they were made with."""


_local = threading.local()
"""Holds the decompressor of each thread: to make one takes longer than to use it."""


def pack(value: bytes, *, fast: bool = False) -> bytes:
    """Safetensors bytes packed, or as they are if that would not shrink them or shrink them more than is allowed.

    Args:
        value: what ``unpack`` gives back.
        fast: make little effort, whatever the size.
    """
    level = FAST if fast or len(value) >= LARGE else EFFORT
    compressor = zstandard.ZstdCompressor(level=level, dict_data=DICTIONARY, write_dict_id=False)
    packed = TAG + compressor.compress(change_tensors(value, shuffle))
    return packed if len(packed) < len(value) <= _most(packed) else value


def unpack(packed: bytes, only: Collection[str] | None = None) -> bytes:
    """The inverse of ``pack``; safetensors bytes stay as they are.

    Args:
        packed: what ``pack`` gave.
        only: names of tensors; the bytes of all others may stay shuffled, which saves time.

    Raises:
        ValueError: with the reason, if these are damaged packed bytes.
    """
    if packed[:1] != TAG:
        return packed
    try:
        size = zstandard.frame_content_size(packed[1:])
        if not 0 <= size <= _most(packed):
            raise ValueError(f"it claims to hold {size} bytes")
        if not hasattr(_local, "decompressor"):
            _local.decompressor = zstandard.ZstdDecompressor(dict_data=DICTIONARY)
        return change_tensors(_local.decompressor.decompress(packed[1:]), unshuffle, only)
    except (zstandard.ZstdError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"its packed bytes are damaged ({error})") from None


def _most(packed: bytes) -> int:
    """Bytes that packed bytes may hold."""
    return max(ALWAYS_ALLOWED, HIGHEST_RATIO * len(packed))


def change_tensors(
    value: bytes, change: Callable[[bytes, int, bool], bytes], only: Collection[str] | None = None
) -> bytes:
    """Safetensors bytes with the bytes of each tensor of floating-point numbers changed, header and order kept."""
    start = 8 + int.from_bytes(value[:8], "little")
    parts = [value[:start]]
    entries = [(name, entry) for name, entry in json.loads(value[8:start]).items() if name != "__metadata__"]
    for name, entry in sorted(entries, key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        data = value[start + begin : start + end]
        width = WIDTHS.get(entry["dtype"]) if only is None or name in only else None
        parts.append(change(data, width, len(entry["shape"]) == 3) if width else data)
    return b"".join(parts)


def shuffle(data: bytes, width: int, smooth: bool) -> bytes:
    """The first bytes of all numbers, then their second bytes and so on; of differences if the numbers are smooth.

    Args:
        data: numbers in a row.
        width: bytes of one of them.
        smooth: whether neighbours are alike.
    """
    numbers: NDArray[Any] = np.frombuffer(data, dtype=f"<u{width}")
    if smooth:
        numbers = np.diff(numbers, prepend=numbers.dtype.type(0))
    return numbers.view(np.uint8).reshape(-1, width).T.tobytes()


def unshuffle(data: bytes, width: int, smooth: bool) -> bytes:
    """The inverse of ``shuffle``; ValueError if these are not whole numbers."""
    numbers = np.frombuffer(data, dtype=np.uint8).reshape(width, -1).T.copy().view(f"<u{width}").reshape(-1)
    if smooth:
        numbers = np.cumsum(numbers, dtype=numbers.dtype)
    return numbers.tobytes()
