"""A look at the pages of an LMDB file without LMDB, which ends the whole process when it trips over a wrong one.

The layout is that of LMDB 0.9 (``MDB_page`` and ``MDB_node`` of its ``mdb.c``). Pages 0 and 1 say where the tree
begins, branch pages lead down to leaf pages, and a value too long for a leaf has overflow pages of its own. The pages
of one level of the tree are looked at together, as arrays.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
"""Kinds of pages, in their flags."""

DIRTY = 0x10
"""A flag of pages in memory, without meaning on disk."""

PAGE_HEADER = struct.Struct("=QHHHH")
"""Number of the page, padding, flags, end of the table of its nodes, start of its nodes."""

START = struct.Struct("=16xII16xI50xH32xQQQ")
"""Pages 0 and 1: two numbers that all LMDBs have, page size; depth and root of the tree, last page, transaction."""

MAGIC = (0xBEEFC0DE, 1)
PAGE_SIZES = [1 << n for n in range(8, 17)]

DEEPEST = 32
"""Levels that LMDB can go down."""

NODE_HEADER = 8
"""Bytes: low and high half of the bytes of its value (of a page number in a branch), flags, bytes of its key."""

IN_OVERFLOW = 1
"""Flags of a node that has the number of the first of its overflow pages in place of its value; else they are 0."""

FAR = 1 << 40
"""Stands for all page numbers beyond the end of any file, so that no product with one overflows."""

Numbers = NDArray[np.int64]


def first_damaged_page(path: Path) -> int | None:
    """Number of a page that LMDB could trip over; None if it can walk the whole tree.

    Looks at the tree alone, as records have their own checksums: 0.1 s for a million of them. For a file that no
    writer is changing.

    Raises:
        ValueError: it is no LMDB, or both of the pages that say where the tree begins are damaged.
        OSError: it cannot be read.
    """
    file = _File(path)
    nodes, _, damaged = _read_tree(file)
    _, wrong = _find_values(file, nodes, overflow_headers=False)
    return min(damaged.union(wrong, file.damaged_starts), default=None)


def read_entries(path: Path, everywhere: bool = False) -> tuple[dict[bytes, memoryview], list[str]]:
    """All entries of an LMDB file that can be found; what lies on a damaged page or below it is left out.

    Args:
        path: path of a file that no writer is changing.
        everywhere: add entries of leaf pages that the tree does not lead to, because it is damaged, or because they
            are of an older state; of two values of a key the longer counts.

    Returns:
        Values by key, in mapped memory, and what is damaged, each a few words like ``page 7``.

    Raises:
        ValueError: it is no LMDB, or both of the pages that say where the tree begins are damaged.
        OSError: it cannot be read.
    """
    file = _File(path)
    nodes, leaves, damaged = _read_tree(file)
    values, wrong = _find_values(file, nodes, overflow_headers=True)
    damaged = damaged.union(wrong, file.damaged_starts)
    entries: dict[bytes, memoryview] = {}
    for page, key, value in _cut_out(file, nodes, values):
        if entries.setdefault(key, value) is not value:
            damaged.add(page)  # another page has that key
    if everywhere:
        nodes, _ = _read_nodes(file, np.setdiff1d(np.arange(2, len(file.words)), leaves), LEAF)
        values, _ = _find_values(file, nodes, overflow_headers=False)
        for _, key, value in _cut_out(file, nodes, values):
            # LMDB's list of free pages has numbers as keys
            is_number = len(key) == 8 and key.endswith(b"\x00\x00\x00")
            if not is_number and (key not in entries or len(value) > len(entries[key])):
                entries[key] = value
    damage = [f"page {number}" for number in sorted(damaged)]
    if len(file.data) < file.expected_size:
        damage.insert(0, f"the end of the file ({len(file.data)} bytes of {file.expected_size} are there)")
    return entries, damage


class _File:
    """An LMDB file, mapped into memory.

    Attributes:
        data: all its bytes.
        words: the same as numbers of two bytes [n_pages, page_size / 2], whole pages only.
        page_size: bytes of a page.
        depth, root, last: levels of the tree, its first page, and the last page in use.
        expected_size: bytes up to the end of the last page in use.
        damaged_starts: which of the pages 0 and 1 are damaged.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            empty = file.seek(0, 2) == 0  # and cannot be mapped
            self.data = memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.page_size = mmap.PAGESIZE
        self.damaged_starts: list[int] = []
        starts = []
        for number in (0, 1):
            try:
                stated, _, flags, _, _ = PAGE_HEADER.unpack_from(self.data, number * self.page_size)
                *magic, page_size, depth, root, last, transaction = START.unpack_from(
                    self.data, number * self.page_size
                )
                if (stated, flags & ~DIRTY, *magic) != (number, META, *MAGIC) or page_size not in PAGE_SIZES:
                    raise ValueError
                self.page_size = page_size
                starts.append((transaction, depth, root, last))
            except (ValueError, struct.error):
                self.damaged_starts.append(number)
        if not starts:
            raise ValueError("it is not an LMDB, or its first two pages are damaged")
        _, self.depth, root, last = max(starts, key=lambda start: start[0])
        self.root, self.last = min(root, FAR), min(last, FAR)
        self.expected_size = (self.last + 1) * self.page_size
        n_pages = len(self.data) // self.page_size
        words: NDArray[np.uint16] = np.frombuffer(self.data[: n_pages * self.page_size], np.uint16)
        self.words = words.reshape(n_pages, self.page_size // 2)


class _Nodes(NamedTuple):
    """Nodes of tree pages, an item of each array for every node; places are bytes of the file."""

    page: Numbers
    """Number of the page it is on."""
    key: Numbers
    """Where its key begins."""
    value: Numbers
    """Where its key ends and its value, or the number of its first overflow page, begins."""
    size: Numbers
    """Bytes of its value; in a branch, the number of the page below."""
    flags: Numbers


def _read_tree(file: _File) -> tuple[_Nodes, Numbers, set[int]]:
    """Nodes of all leaf pages that the tree leads to, these pages, and which pages of the tree are damaged."""
    level = np.array([file.root], dtype=np.int64)
    if not 0 < file.depth <= DEEPEST:
        nodes, _ = _read_nodes(file, level[:0], LEAF)
        return nodes, level[:0], {0, 1} if file.depth else set()
    damaged: set[int] = set()
    for height in range(file.depth, 0, -1):
        nodes, wrong = _read_nodes(file, level, LEAF if height == 1 else BRANCH)
        damaged |= wrong
        if height > 1:
            level, times = np.unique(nodes.size, return_counts=True)
            damaged.update(level[times > 1].tolist(), level[level > file.last].tolist())
    return nodes, level, damaged


def _read_nodes(file: _File, numbers: Numbers, kind: int) -> tuple[_Nodes, set[int]]:
    """Nodes of pages of one kind, and which pages are not of that kind or have nodes that leave them."""
    header = PAGE_HEADER.size
    there = numbers[numbers < len(file.words)]
    stated, stated_kind, heads = _headers(file, there)
    lower, upper = heads[:, 6], heads[:, 7]
    least = header + (4 if kind == BRANCH else 0)  # LMDB demands two nodes of a branch
    sound = (stated == there) & (stated_kind == kind) & (least <= lower) & (lower <= upper) & (upper <= file.page_size)
    pages, counts = there[sound], (lower[sound] - header) // 2
    page = np.repeat(pages, counts)
    row = np.arange(len(page)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = file.words[page, header // 2 + row].astype(np.int64)
    fits = (place >= header) & (place % 2 == 0) & (place + NODE_HEADER <= file.page_size)
    damaged = set(numbers.tolist()) - set(pages.tolist()) | set(page[~fits].tolist())
    page, place = page[fits], place[fits]
    low, high, flags, key_size = file.words[page[:, None], place[:, None] // 2 + np.arange(4)].astype(np.int64).T
    key = page * file.page_size + place + NODE_HEADER
    nodes = _Nodes(page, key, key + key_size, low | high << 16 | (flags << 32 if kind == BRANCH else 0), flags)
    fits = nodes.value <= (page + 1) * file.page_size
    return _Nodes(*(array[fits] for array in nodes)), damaged | set(page[~fits].tolist())


def _find_values(file: _File, nodes: _Nodes, overflow_headers: bool) -> tuple[Numbers, set[int]]:
    """Where the values of nodes of leaves begin and end [n_nodes, 2], and the pages of those that are not whole.

    Args:
        file: that they are in.
        nodes: nodes of leaves.
        overflow_headers: look at the headers of overflow pages as well.
    """
    end_of_page = (nodes.page + 1) * file.page_size
    begin, end = nodes.value.copy(), nodes.value + nodes.size
    whole = (nodes.flags == 0) & (end <= end_of_page)
    end = np.minimum(end, end_of_page)
    far = np.flatnonzero((nodes.flags == IN_OVERFLOW) & (nodes.value + 8 <= end_of_page))
    first = np.frombuffer(file.data, np.uint8)[nodes.value[far][:, None] + np.arange(8)].view(np.uint64)[:, 0]
    first = np.minimum(first, FAR).astype(np.int64)
    begin[far] = first * file.page_size + PAGE_HEADER.size
    end[far] = begin[far] + nodes.size[far]
    whole[far] = end[far] <= min(file.expected_size, len(file.data))
    if overflow_headers:
        stated, kind, heads = _headers(file, np.minimum(first, len(file.words) - 1))
        n_pages = heads[:, 6] | heads[:, 7] << 16
        capacity = n_pages * file.page_size - PAGE_HEADER.size
        whole[far] &= (stated == first) & (kind == OVERFLOW) & (nodes.size[far] <= capacity)
    return np.minimum(np.stack([begin, end], axis=1), len(file.data)), set(nodes.page[~whole].tolist())


def _headers(file: _File, numbers: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """What the headers of pages say: their own numbers and kinds, and all in numbers of two bytes [n_pages, 8]."""
    heads = file.words[numbers, : PAGE_HEADER.size // 2].astype(np.int64)
    return heads[:, 0] | heads[:, 1] << 16 | heads[:, 2] << 32 | heads[:, 3] << 48, heads[:, 5] & ~DIRTY, heads


def _cut_out(file: _File, nodes: _Nodes, values: Numbers) -> Iterator[tuple[int, bytes, memoryview]]:
    """Page, key and value of nodes of leaves."""
    places = np.column_stack([nodes.page, nodes.key, nodes.value, values])
    for page, key, end, first, last in places.tolist():
        yield page, bytes(file.data[key:end]), file.data[first:last]
