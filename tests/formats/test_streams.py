"""Bytes are decompressed in bounded memory."""

from __future__ import annotations

import gzip
import io

from orbdens.formats.streams import chunks


def test_a_bomb_is_taken_in_small_pieces() -> None:
    bomb = io.BytesIO(gzip.compress(bytes(20_000_000), 1))
    sizes = [len(piece) for piece in chunks(bomb.read, "bomb.gz", "bomb.gz")]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 1 << 20
