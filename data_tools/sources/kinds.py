"""Which kind of source some files are, and the importer that opens it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from data_tools.sources.files import Files, bare_name, is_archive_name
from data_tools.sources.importing import Source
from data_tools.sources.reading import Reading
from data_tools.sources.streams import chunks
from orbdens.errors import UserError

FORMATS = {
    "npz": "data_tools.sources.npz",
    "orbitals": "data_tools.sources.orbital_files",
    "chgcar": "data_tools.sources.chgcar",
    "cube": "data_tools.sources.cube",
    "md": "data_tools.sources.md_sets",
    "residual-cnn": "data_tools.sources.residual_cnn",
    "crystal-json": "data_tools.sources.crystal_json",
}
"""Modules by the kind of source they import."""

ENDINGS = {
    "npz": (".npz",),
    "orbitals": (".chk", ".chkfile", ".molden", ".molden.input", ".fchk", ".fch"),
    "chgcar": (".chgcar", "_chgcar", ".chg", ".vasp"),
    "cube": (".cube", ".cub"),
    "md": ("dft_densities.npy", "densities.txt"),
    "residual-cnn": ("centered.xyz",),
    "crystal-json": (".json",),
}
"""What names of files of each kind end with, in lower case, that of a compression aside; the first kind found wins."""

LOOKED_AT, LOOKED_AT_IN_ARCHIVES = 20_000, 50
"""Files of a folder, and members of an archive, that are looked at to tell what it holds."""


def open_source(paths: Sequence[Path], reading: Reading, kind: str | None = None) -> Source:
    """The source of some files.

    Args:
        paths: files, folders, archives, all of one kind.
        reading: what the user states about them.
        kind: one of ``FORMATS``; by default what the first of them is.

    Raises:
        UserError: a path does not exist, the kind is unknown or cannot be told, or the importer refuses the files.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
    kind = kind or kind_of(paths[0])
    if kind not in FORMATS:
        raise UserError(f"expected one of {', '.join(FORMATS)} as format, but got '{kind}'")
    module = importlib.import_module(FORMATS[kind])
    opening = module.orbital_source if kind == "orbitals" else module.open_source
    source: Source = opening(paths, reading)
    return source


def kind_of(path: Path) -> str:
    """The kind of a file, folder or archive, by names and, of a single file, by content.

    Raises:
        UserError: it is none that is known.
    """
    if path.is_dir():
        inside = [file for file in islice(path.rglob("*"), LOOKED_AT) if file.is_file()]
        kind = kind_of_names(file.name for file in inside)
        archives = sorted(file for file in inside if is_archive_name(file.name))
        if archives and kind in (None, "crystal-json"):  # a split file may lie beside archives
            return kind_of(archives[0])
    else:
        kind = kind_of_names([path.name])
        if kind is None and is_archive_name(path.name):
            anything = Files([path], "file", [""])
            kind = kind_of_names(member.name for member in islice(anything, LOOKED_AT_IN_ARCHIVES))
        elif kind is None:
            kind = _kind_of_content(path)
    if kind is None:
        raise UserError(f"cannot tell what {path} holds; --format names one of {', '.join(FORMATS)}")
    return kind


def kind_of_names(names: Iterable[str]) -> str | None:
    """The first kind, in the order of ``ENDINGS``, of which there is a file by name."""
    found = set()
    for name in names:
        last = bare_name(name).lower().rpartition("/")[2]
        for kind, endings in ENDINGS.items():
            if any(last.endswith(ending) or last == ending.lstrip("._") for ending in endings):
                found.add(kind)
    return next((kind for kind in ENDINGS if kind in found), None)


def _kind_of_content(path: Path) -> str | None:
    with path.open("rb") as file:
        first = next(chunks(file.read, str(path), path.name))
    if first.startswith(b"PK\x03\x04"):
        return "npz"
    if first.lstrip().startswith(b"{"):
        return "crystal-json"
    lines = [_numbers(line) for line in first[:4096].decode("ascii", "replace").split("\n")[:6]]
    if len(lines) == 6 and [len(line) for line in lines[2:5]] == [3, 3, 3] and len(lines[1]) in (1, 3):
        return "chgcar"
    if len(lines) == 6 and len(lines[2]) in (4, 5) and [len(line) for line in lines[3:6]] == [4, 4, 4]:
        return "cube"
    return None


def _numbers(line: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return []
