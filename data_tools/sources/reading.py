"""What users state about files that do not tell it themselves, and how a source is made of files of one kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.sources.files import Files, Member
from data_tools.sources.importing import Item, Source, Splits
from data_tools.sources.streams import chunks
from data_tools.sources.valence import valence_electrons
from orbdens.errors import UserError
from orbdens.store.manifest import Manifest
from orbdens.store.records import Record

LARGEST_SPLIT_FILE = 1 << 28
"""Bytes."""


@dataclass(frozen=True)
class Reading:
    """What a user states about the files of a source.

    Attributes:
        density: ``valence`` or ``all-electron``; None for what the files say, or valence.
        valence: electrons of an atom in the density, by symbol, where the defaults do not hold.
        elements: of the atoms, or of the kinds of atoms of a CHGCAR, in order.
        charge: of each structure.
        level: level of theory, beyond what the kind of source tells.
        dtype: of the values of grids in the store, ``float32`` or ``float16``.
        splits: a JSON file of named lists of keys, or of places in the order of the source.
    """

    density: str | None = None
    valence: Mapping[str, int] = field(default_factory=dict)
    elements: Sequence[str] = ()
    charge: int = 0
    level: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    splits: Path | None = None

    def manifest(self, source: Mapping[str, Any], level: Mapping[str, Any]) -> Manifest:
        """The manifest of a store of grids, of a source that ``source`` tells from others."""
        if self.dtype not in ("float32", "float16"):
            raise UserError(f"expected float32 or float16 as dtype, but got '{self.dtype}'")
        density = self.density or "valence"
        options = {
            "density": density,
            "valence": dict(self.valence),
            "elements": list(self.elements),
            "charge": self.charge,
            "dtype": self.dtype,
        }
        provenance = {"importer": "orbdens data import", "source": dict(source), "options": options}
        return Manifest({**level, **self.level}, density, valence_electrons(density, self.valence), None, provenance)

    def only_splits(self, path: Path) -> None:
        """Raise UserError if a user states of a file what it tells itself."""
        if self != Reading(splits=self.splits):
            raise UserError(
                f"{path} tells itself what its density is: --density, --valence, --elements, --charge, --level and "
                "--dtype are for files of grids"
            )

    def named_splits(self) -> Splits:
        """The named lists of the split file; none without a file.

        Raises:
            UserError: it is missing or of another form, or an entry stands in it twice.
        """
        return {} if self.splits is None else read_splits(self.splits)


def stated_level(text: str) -> dict[str, str]:
    """A level of theory from ``xc=PBE,cutoff=400 eV``.

    Raises:
        UserError: the text is of another form.
    """
    level: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (name and equals and value):
            raise UserError(f"expected a level of theory as xc=PBE,cutoff=400 eV, but got '{part}'")
        level[name] = value
    return level


def file_source(
    paths: Sequence[Path],
    reading: Reading,
    title: str,
    endings: Sequence[str],
    level: Mapping[str, Any],
    read: Callable[[Member], Record],
) -> Source:
    """The source of all files of one kind in files, folders and tar archives.

    Args:
        paths: of these.
        reading: what the user states.
        title: of the kind, for messages.
        endings: of the names of its files.
        level: of theory, as far as the kind tells it.
        read: the record of a file.

    Raises:
        UserError: a path does not exist, a folder holds no such file, or the split file is broken.
    """
    files = Files(paths, title, endings, without=reading.splits)
    items = (Item(member.key, member.place, partial(read, member)) for member in files)
    manifest = reading.manifest({"kind": title, **files.facts()}, level)
    return Source(
        source_name(paths),
        manifest,
        items,
        fraction=files.fraction,
        splits=reading.named_splits(),
        dtype=reading.dtype,
    )


def source_name(paths: Sequence[Path]) -> str:
    """What messages call a source."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def read_splits(path: Path) -> Splits:
    """Named lists of keys (texts), or of places in the order of a source (numbers from 0), of a JSON file.

    Raises:
        UserError: there is no such file, it is of another form, or an entry stands in it twice.
    """
    if not path.is_file():
        raise UserError(f"there is no split file {path}")
    with path.open("rb") as file:
        try:
            size = 0
            parts = []
            for piece in chunks(file.read, str(path), path.name):
                size += len(piece)
                if size > LARGEST_SPLIT_FILE:
                    raise UserError(f"{path} is too large for a split file")
                parts.append(piece)
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
