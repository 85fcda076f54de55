"""A look at the pages of an LMDB file without LMDB, which would abort the whole process on a wrong one."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

BRANCH, LEAF, OVERFLOW, FIRST = 1, 2, 4, 8
HEADER = struct.Struct("=QHHHH")
"""Of every page: its number, padding, kind (flags), end of the node table, start of the nodes."""

META = struct.Struct("=40x48x6xH32xQQQ")
"""Of pages 0 and 1: depth and root of the main tree, last page, number of the transaction."""

MARK = struct.Struct("=16xII16xI")
"""Of the same pages: two numbers that all LMDBs have there, and the page size."""

MAGIC = (0xBEEFC0DE, 1)
NODE = struct.Struct("=HHHH")
"""Of an entry: low and high half of the bytes of its value (of a page number in a branch), flags, bytes of its key."""

OWN_PAGES = 1
"""Flag of an entry whose value lies in pages of its own."""


def damaged_page(path: Path, page_size: int) -> int | None:
    """Number of the first branch or leaf page that is not what the tree says it is; None if all are.

    Reads only page headers and branches, in time proportional to the number of leaf pages (about 3 µs each). The
    contents of records have their own checksums. For a file that no writer is changing.
    """
    with path.open("rb") as file:

        def page(number: int, size: int) -> bytes:
            file.seek(number * page_size)
            return file.read(size)

        depth, root, last, _ = max((META.unpack(page(n, META.size)) for n in (0, 1)), key=lambda meta: meta[-1])
        level: list[int] = [root] if depth else []
        for height in range(depth, 0, -1):
            kind = LEAF if height == 1 else BRANCH
            below: list[int] = []
            for number in level:
                data = page(number, HEADER.size if kind == LEAF else page_size) if number <= last else b""
                if len(data) < HEADER.size:
                    return number
                own_number, _, flags, lower, upper = HEADER.unpack_from(data)
                if own_number != number or flags & 0xF != kind or not HEADER.size <= lower <= upper <= page_size:
                    return number
                if kind == BRANCH:
                    for place in struct.unpack_from(f"={(lower - HEADER.size) // 2}H", data, HEADER.size):
                        if place + 8 > page_size:
                            return number
                        low, middle, high = struct.unpack_from("=HHH", data, place)
                        below.append(low | middle << 16 | high << 32)
            level = below
    return None


def read_entries(path: Path, everywhere: bool = False) -> tuple[dict[bytes, memoryview], list[str]]:
    """All entries of an LMDB file that can be found; what lies on a damaged page or below it is left out.

    Args:
        path: of a file that no writer is changing.
        everywhere: add entries of leaf pages that the tree does not lead to, because it is damaged, or because they
            are of an older state; of two values of a key the longer counts.

    Returns:
        Values by key, in mapped memory, and what is damaged, each a few words like ``page 7``.

    Raises:
        ValueError: it is no LMDB, or both of the pages that say where the others are are damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    page_size, (depth, root, last, _), damaged = _newest(data)
    if size < (last + 1) * page_size:
        damaged.append(f"the end of the file ({size} bytes of {(last + 1) * page_size} are there)")
    entries: dict[bytes, memoryview] = {}
    pages, seen = [(root, depth)] if depth else [], set()
    while pages:
        number, height = pages.pop()
        page = data[number * page_size : (number + 1) * page_size] if number <= last else data[:0]
        if number in seen or not _is_tree_page(page, number, LEAF if height == 1 else BRANCH, page_size):
            damaged.append(f"page {number}")
            continue
        seen.add(number)
        if height > 1:
            children, whole = _read_branch(page)
            pages += [(child, height - 1) for child in children]
        else:
            found, whole = _read_leaf(data, page)
            whole = whole and not entries.keys() & found.keys()
            entries = found | entries
        if not whole:
            damaged.append(f"page {number}")
    for number in range(2, size // page_size) if everywhere else ():
        page = data[number * page_size : (number + 1) * page_size]
        if number not in seen and _is_tree_page(page, number, LEAF, page_size):
            for key, value in _read_leaf(data, page)[0].items():
                # LMDB's list of free pages has numbers as keys
                is_number = len(key) == 8 and key.endswith(b"\x00\x00\x00")
                if not is_number and (key not in entries or len(value) > len(entries[key])):
                    entries[key] = value
    return entries, damaged


def _newest(data: memoryview) -> tuple[int, tuple[int, int, int, int], list[str]]:
    """Page size, the newer of the two starting points (``META``), and which of them is damaged."""
    page_size, starts, damaged = mmap.PAGESIZE, [], []
    for number in (0, 1):
        try:
            own, _, kind, _, _ = HEADER.unpack_from(data, number * page_size)
            *magic, size = MARK.unpack_from(data, number * page_size)
            start = META.unpack_from(data, number * page_size)
            if (own, kind & 0xF, *magic) != (number, FIRST, *MAGIC) or size not in (1 << n for n in range(8, 17)):
                raise ValueError
            starts.append(start)
            page_size = size
        except (ValueError, struct.error):
            damaged.append(f"page {number}")
    if not starts:
        raise ValueError("it is not an LMDB, or its first two pages are damaged")
    return page_size, max(starts, key=lambda start: start[-1]), damaged


def _is_tree_page(page: memoryview, number: int, kind: int, page_size: int) -> bool:
    if len(page) < page_size:
        return False
    own, _, flags, lower, upper = HEADER.unpack_from(page)
    return bool(own == number and flags & 0xF == kind and HEADER.size <= lower <= upper <= page_size)


def _places(page: memoryview) -> tuple[int, ...]:
    """Where the entries of a page begin."""
    return struct.unpack_from(f"={(HEADER.unpack_from(page)[3] - HEADER.size) // 2}H", page, HEADER.size)


def _read_branch(page: memoryview) -> tuple[list[int], bool]:
    """Numbers of the pages below a page, and whether all can be read."""
    children, whole = [], True
    for place in _places(page):
        try:
            _, low, high, _ = _node(page, place)
            children.append(low | high << 32)
        except (ValueError, struct.error):
            whole = False
    return children, whole


def _read_leaf(data: memoryview, page: memoryview) -> tuple[dict[bytes, memoryview], bool]:
    """Entries of a leaf page, and whether all can be read."""
    entries: dict[bytes, memoryview] = {}
    whole = True
    for place in _places(page):
        try:
            key, size, flags, end = _node(page, place)
            entries[key], sound = _value(data, page, size, flags, end)
            whole = whole and sound
        except (ValueError, struct.error):
            whole = False
    return entries, whole


def _node(page: memoryview, place: int) -> tuple[bytes, int, int, int]:
    """Key, bytes of the value (or page number), flags, and where the key ends; ValueError if it leaves the page."""
    low, high, flags, length = NODE.unpack_from(page, place)
    end = place + NODE.size + length
    if place < HEADER.size or end > len(page):
        raise ValueError
    return bytes(page[place + NODE.size : end]), low | high << 16, flags, end


def _value(data: memoryview, page: memoryview, size: int, flags: int, end: int) -> tuple[memoryview, bool]:
    """A value, perhaps cut off, and whether what LMDB says about it is sound; ValueError if it cannot be found."""
    if flags != OWN_PAGES:
        return page[end : end + size], flags == 0 and end + size <= len(page)
    (first,) = struct.unpack_from("=Q", page, end)
    begin = first * len(page)
    if begin + HEADER.size > len(data):
        raise ValueError
    own, _, kind, low, high = HEADER.unpack_from(data, begin)
    begin += HEADER.size
    pages = low | high << 16
    sound = own == first and kind & 0xF == OVERFLOW and HEADER.size + size <= pages * len(page)
    return data[begin : begin + size], sound and begin + size <= len(data)
