"""What users state about files that do not tell it themselves, and how a source is made of files of one kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.choices import Density, Precision
from data_tools.sources.files import Files, Member
from data_tools.sources.record_source import Item, RecordSource
from data_tools.sources.valence import valence_electrons
from data_tools.stores.split_files import KeysOrPlaces, read_split_file
from orbdens.errors import UserError
from orbdens.store.manifest import Manifest
from orbdens.store.records import Record


@dataclass(frozen=True)
class UserStatement:
    """What a user states about the files of a source.

    Attributes:
        density: what electrons the files hold; None for what they say themselves, or valence.
        valence: electrons of an atom in the density, by symbol, where the defaults do not hold.
        elements: elements of the atoms, or of the kinds of atoms of a CHGCAR, in order.
        charge: charge of each structure, e.
        level: level of theory, beyond what the kind of source tells.
        dtype: type of the values of grids in the store.
        splits: a file of named lists of keys, or of places in the order of the source.
    """

    density: Density | None = None
    valence: Mapping[str, int] = field(default_factory=dict)
    elements: Sequence[str] = ()
    charge: int = 0
    level: Mapping[str, str] = field(default_factory=dict)
    dtype: Precision = "float32"
    splits: Path | None = None

    def manifest(self, source: Mapping[str, Any], level: Mapping[str, Any]) -> Manifest:
        """The manifest of a store of grids, of a source that ``source`` tells from others."""
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
        if self != UserStatement(splits=self.splits):
            raise UserError(
                f"{path} tells itself what its density is: --density, --valence, --elements, --charge, --level and "
                "--dtype are for files of grids"
            )

    def named_splits(self) -> KeysOrPlaces:
        """The named lists of the split file; none without a file.

        Raises:
            UserError: it is missing or of another form, or an entry stands in it twice.
        """
        return {} if self.splits is None else read_split_file(self.splits)


def file_source(
    paths: Sequence[Path],
    statement: UserStatement,
    title: str,
    endings: Sequence[str],
    level: Mapping[str, Any],
    read: Callable[[Member], Record],
) -> RecordSource:
    """The source of all files of one kind in files, folders and tar archives.

    Args:
        paths: the files, folders and archives.
        statement: what the user states.
        title: title of the kind, for messages.
        endings: endings of the names of its files.
        level: level of theory, as far as the kind tells it.
        read: the record of a file.

    Raises:
        UserError: a path does not exist, a folder holds no such file, or the split file is broken.
    """
    files = Files(paths, title, endings, without=statement.splits)
    return RecordSource(
        source_name(paths),
        statement.manifest({"kind": title, **files.facts()}, level),
        (Item(member.key, member.place, partial(read, member)) for member in files),
        digest=files.digest,
        megabytes=files.megabytes,
        splits=statement.named_splits(),
        dtype=statement.dtype,
    )


def source_name(paths: Sequence[Path]) -> str:
    """What messages call a source."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
