"""Files of named splits: JSON such as ``{"train": [0, 1], "test": ["key"]}``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from orbdens.errors import UserError
from orbdens.formats.streams import chunks

LARGEST_SPLIT_FILE = 1 << 28
"""Bytes."""

KeysOrPlaces = Mapping[str, Sequence[str | int]]
"""Named lists of keys (texts), or of places in an order of records (numbers from 0)."""


def read_split_file(path: Path) -> KeysOrPlaces:
    """The named lists of a file, which may be compressed.

    Raises:
        UserError: there is no such file, it is of another form, or an entry stands in it twice.
    """
    if not path.is_file():
        raise UserError(f"there is no split file {path}")
    with path.open("rb") as file:
        parts, size = [], 0
        for piece in chunks(file.read, str(path), path.name):
            size += len(piece)
            if size > LARGEST_SPLIT_FILE:
                raise UserError(f"{path} is too large for a split file")
            parts.append(piece)
    try:
        tree = json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise UserError(f"the split file {path} is not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or not all(isinstance(entries, list) for entries in tree.values()):
        raise UserError(f'expected named lists in the split file {path}, as in {{"train": [0, 1], "test": [2]}}')
    seen: dict[str | int, str] = {}
    for name, entries in tree.items():
        for entry in entries:
            if isinstance(entry, bool) or not isinstance(entry, str | int) or (isinstance(entry, int) and entry < 0):
                raise UserError(f"split '{name}' of {path} holds {entry!r}, neither a key nor a place from 0 on")
            if entry in seen:
                raise UserError(f"split '{name}' of {path} names {entry!r}, which split '{seen[entry]}' names as well")
            seen[entry] = name
    return tree
