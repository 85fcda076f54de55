"""A look at the pages of an LMDB file before LMDB walks them: on a wrong one it would abort the whole process."""

from __future__ import annotations

import struct
from pathlib import Path

BRANCH, LEAF = 1, 2
HEADER = struct.Struct("=QHHHH")
"""Of every page: its number, padding, kind (flags), end of the node table, start of the nodes."""

META = struct.Struct("=40x48x6xH32xQQQ")
"""Of pages 0 and 1: depth and root of the main tree, last page, number of the transaction."""


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
