"""Which kind of source some files are, and the importer that opens it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from data_tools.sources.archives import is_archive_name
from data_tools.sources.files import Files, has_ending, plain_name
from data_tools.sources.record_source import RecordSource
from data_tools.sources.registry import SourceKind
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.formats.streams import chunks

LOOKED_AT, LOOKED_AT_IN_ARCHIVE = 20_000, 50
"""Files of a folder, and members of its first archive, that are looked at to tell what it holds."""

LOOKED_AT_BYTES = 4096
"""Bytes of a single file, whose name does not tell its kind, that are looked at."""


def open_source(paths: Sequence[Path], statement: UserStatement, kind: SourceKind | None = None) -> RecordSource:
    """The source of some files.

    Args:
        paths: files, folders, archives, all of one kind.
        statement: what the user states about them.
        kind: kind of the files; by default that of the first of them.

    Raises:
        UserError: a path does not exist, its kind cannot be told, or the importer refuses the files.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
    source: RecordSource = _module(kind or kind_of(paths[0])).open_source(paths, statement)
    return source


def _module(kind: SourceKind) -> Any:
    return importlib.import_module(kind.module)


def kind_of(path: Path) -> SourceKind:
    """The kind of a file, folder or archive, by names and, of a single file, by content.

    Raises:
        UserError: it is none that is known.
    """
    kind = kind_of_names(_names(path))
    if kind is None and path.is_file() and not is_archive_name(path.name):
        kind = _kind_of_content(path)
    if kind is None:
        raise UserError(f"cannot tell what {path} holds; --format names one of {', '.join(SourceKind)}")
    return kind


def _names(path: Path) -> Iterator[str]:
    """Names of a file, or of the files in a folder, and of members of the first archive among them."""
    inside = [file for file in islice(path.rglob("*"), LOOKED_AT) if file.is_file()] if path.is_dir() else [path]
    yield from (file.name for file in inside)
    for archive in sorted(file for file in inside if is_archive_name(file.name))[:1]:
        yield from (member.name for member in islice(Files([archive], "file", [""]), LOOKED_AT_IN_ARCHIVE))


def kind_of_names(names: Iterable[str]) -> SourceKind | None:
    """The first kind of which there is a file by name."""
    plain = {plain_name(name) for name in names}
    return next((kind for kind in SourceKind if any(has_ending(name, _module(kind).ENDINGS) for name in plain)), None)


def _kind_of_content(path: Path) -> SourceKind | None:
    with path.open("rb") as file:
        first = next(chunks(file.read, str(path), path.name))[:LOOKED_AT_BYTES]
    return next((kind for kind in SourceKind if _module(kind).recognises(first)), None)
