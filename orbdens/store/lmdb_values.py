"""How records lie in an LMDB: many in one long value (a block), and a short entry per key that says where.

LMDB gives every value above 2 kB pages of its own, 4096 bytes each; blocks of many records lose little to that.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

import lmdb

ENTRY = struct.Struct("<IIIH")
"""Entry of a key: number of its block, first byte in it, bytes, and half a checksum of all that and the key.

A longer entry is the record itself (format version 1).
"""

BLOCK_SIZE = 32 * 4096 - 16
"""Bytes of a block, a record larger than that aside: whole pages but for LMDB's header."""

FIRST_KEY = b"\x01"
"""Keys of blocks sort below this, those of records above."""


def block_key(number: int) -> bytes:
    """Key of a block; no record's key begins with a zero byte."""
    return b"\x00" + number.to_bytes(4, "big")


def read_record(get: Callable[[bytes], bytes | memoryview | None], key: bytes) -> bytes | None:
    """The stored bytes of a record; None if there is none.

    Args:
        get: gives what lies under a key, such as ``get`` of a transaction with ``buffers``, which copies no block.
        key: key of the record.

    Raises:
        ValueError: its entry is damaged, or its block is missing or too short.
    """
    entry = get(key)
    if entry is None or len(entry) != ENTRY.size:
        return None if entry is None else bytes(entry)
    number, start, size = decode_entry(key, entry)
    block = get(block_key(number))
    if block is None or start + size > len(block):
        raise ValueError("the block it is in is missing or cut off")
    return bytes(block[start : start + size])


def encode_entry(key: bytes, number: int, start: int, size: int) -> bytes:
    """The entry of a key."""
    return ENTRY.pack(number, start, size, zlib.crc32(key + struct.pack("<III", number, start, size)) & 0xFFFF)


def decode_entry(key: bytes, entry: bytes | memoryview) -> tuple[int, int, int]:
    """Number of a block, first byte and bytes of an entry; ValueError if it is not what was written for this key."""
    number, start, size, _ = ENTRY.unpack(entry)
    if encode_entry(key, number, start, size) != entry:
        raise ValueError("its entry is not what was written")
    return number, start, size


def count_blocks(transaction: lmdb.Transaction) -> int:
    """Number of blocks; they are numbered from 0."""
    with transaction.cursor() as cursor:
        found = cursor.prev() if cursor.set_range(FIRST_KEY) else cursor.last()
        return int.from_bytes(bytes(cursor.key())[1:], "big") + 1 if found else 0


def append_records(transaction: lmdb.Transaction, items: Sequence[tuple[bytes, bytes]]) -> None:
    """Add records: to the last block while it has room, then to new ones.

    Args:
        transaction: a writing one, opened with ``buffers``. LMDB writes a changed block to free pages, so a kill
            leaves the old one.
        items: keys, in their order and none of them taken, and stored bytes.
    """
    number, block, changed = count_blocks(transaction), bytearray(), False
    if number:
        last = transaction.get(block_key(number - 1))
        if last is not None and len(last) < BLOCK_SIZE:
            number, block = number - 1, bytearray(last)
    with transaction.cursor() as cursor:
        # appending fills pages to the end, where LMDB would otherwise split them in halves
        append = not cursor.last() or bytes(cursor.key()) < items[0][0]
    for key, value in items:
        if block and len(block) + len(value) > BLOCK_SIZE:
            if changed:
                transaction.put(block_key(number), block)
            number, block = number + 1, bytearray()
        transaction.put(key, encode_entry(key, number, len(block), len(value)), append=append)
        block += value
        changed = True
    transaction.put(block_key(number), block)


def free_share(environment: lmdb.Environment) -> float:
    """Share of a file's pages that hold nothing, from 0 to 1."""
    held = environment.stat()
    pages = int(environment.info()["last_pgno"]) + 1
    return 1 - (held["branch_pages"] + held["leaf_pages"] + held["overflow_pages"] + 2) / pages
