"""The files that a source is made of: files, folders of files and tar archives, one member after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_tools.sources.archives import bare_name, is_archive, is_archive_name, members
from orbdens.errors import UserError
from orbdens.formats.streams import chunks
from orbdens.formats.text import Text
from orbdens.progress import Progress

HASHED_AT_ONCE = 1 << 24
"""Bytes."""

NAMED = 200
"""At most so many names of files are written down."""


@dataclass(frozen=True)
class Member:
    """A file or a member of an archive.

    Attributes:
        key: its name without endings, unique in its source.
        place: names it in messages.
        pieces: its bytes, decompressed; of an archive's member only until the next one is asked for.
        name: in its folder or archive.
    """

    key: str
    place: str
    pieces: Callable[[], Iterator[bytes]]
    name: str = ""

    def text(self) -> Text:
        """Its lines and numbers, from the first on."""
        return Text(self.pieces(), self.place)

    def whole(self, most: int) -> bytes:
        """All its bytes.

        Raises:
            UserError: there are more than ``most``, or they are damaged.
        """
        parts, size = [], 0
        for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > most:
                raise UserError(f"{self.place} holds more than {most >> 20} MiB, as no file of its kind should")
        return b"".join(parts)


def plain_name(name: str) -> str:
    """The last part of a name in lower case, without the ending of a compression."""
    return PurePosixPath(bare_name(name)).name.lower()


def has_ending(plain: str, endings: Sequence[str]) -> bool:
    """Whether a plain name has one of some endings, or is one of them but for its first point or dash."""
    return any(plain.endswith(ending) or plain == ending.lstrip("._") for ending in endings)


def record_key(name: str, endings: Sequence[str]) -> str:
    """The key of a record: the name of its file without endings and without steps that lead out of a folder.

    A file whose whole name is an ending (``mp-1/CHGCAR``) is called as its folder.
    """
    parts = [part for part in PurePosixPath(bare_name(name)).parts if part not in ("/", ".", "..")] or [name]
    last = parts[-1].lower()
    if len(parts) > 1 and any(last == ending.lstrip("._") for ending in endings):
        return "/".join(parts[:-1])
    ending = next((ending for ending in endings if last.endswith(ending) and last != ending), "")
    return "/".join([*parts[:-1], parts[-1][: len(last) - len(ending)]])


def printable(name: str) -> str:
    """A name on one line, in characters that every terminal and key can hold."""
    return "".join(c if c.isprintable() else "?" for c in name)


class Files:
    """Files of one kind in given files, folders (in the order of their names) and tar archives.

    Args:
        paths: as the user gave them.
        kind: what is looked for, for messages.
        endings: endings of the plain names of wanted files, see ``has_ending``; a file given by its own name is taken
            whatever it is called.
        without: a file that is none of them, whatever its name.

    Raises:
        UserError: from the constructor if a path does not exist; from iteration if an archive is damaged.
    """

    def __init__(self, paths: Sequence[Path], kind: str, endings: Sequence[str], without: Path | None = None) -> None:
        self.endings = tuple(endings)
        self._files: list[tuple[Path, str]] = []
        for path in paths:
            if not path.exists():
                raise UserError(f"{path} does not exist")
            if path.is_dir():
                left_out = without.resolve() if without is not None else None
                inside = sorted(file for file in path.rglob("*") if file.is_file() and file.resolve() != left_out)
                named = [(file, printable(file.relative_to(path).as_posix())) for file in inside]
                wanted = [(file, name) for file, name in named if self._wants(name) or is_archive_name(name)]
                if not wanted:
                    raise UserError(f"{path} holds no {kind}, by the names of its files")
                self._files += wanted
            else:
                alone = bare_name(path.name).lower() in {ending.lstrip("._") for ending in endings}
                self._files.append((path, printable(f"{path.parent.name}/{path.name}" if alone else path.name)))
        self._sizes = [file.stat().st_size for file, _ in self._files]
        self._before = 0
        self._at: BinaryIO | None = None

    def _wants(self, name: str) -> bool:
        return has_ending(plain_name(name), self.endings)

    def facts(self) -> dict[str, Any]:
        """What the provenance says of these files."""
        names = [name for _, name in self._files]
        return {"files": len(names), "names": names[:NAMED]}

    def digest(self, progress: Progress) -> str:
        """A hash of the names and contents of all files, as they are on the disk: sha256 in hexadecimal digits."""
        digest = hashlib.sha256()
        done, total = 0, sum(self._sizes)
        for (file, name), size in zip(self._files, self._sizes, strict=True):
            digest.update(f"{name}\0{size}\0".encode())
            with file.open("rb") as handle:
                while piece := handle.read(HASHED_AT_ONCE):
                    digest.update(piece)
                    done += len(piece)
                    if total > HASHED_AT_ONCE:  # else it takes no time
                        progress("checking the files, MB", done >> 20, max(total, done) >> 20)
        return digest.hexdigest()

    def megabytes(self) -> tuple[int, int]:
        """How much of the files lies behind, and how much there is, MB."""
        position = self._at.tell() if self._at is not None and not self._at.closed else 0
        return (self._before + position) >> 20, sum(self._sizes) >> 20

    def __iter__(self) -> Iterator[Member]:
        self._before = 0
        for (file, name), size in zip(self._files, self._sizes, strict=True):
            with file.open("rb") as handle:
                self._at = handle
                if not is_archive_name(name) and (self._wants(name) or not is_archive(file, name)):
                    yield self._member(handle.read, str(file), name)
                else:
                    for inner, read in members(handle, str(file), name, self._wants):
                        yield self._member(read, f"{file}, member {printable(inner)}", printable(inner))
            self._before += size

    def _member(self, read: Callable[[int], bytes], place: str, name: str) -> Member:
        return Member(record_key(name, self.endings), place, lambda: chunks(read, place, name), name)


def folders_like(paths: Sequence[Path], is_one: Callable[[Path], bool]) -> list[Path]:
    """The folders of a kind among and below some folders, in the order of their names."""
    found: list[Path] = []
    for path in paths:
        below = sorted(folder for folder in path.rglob("*") if folder.is_dir()) if path.is_dir() else []
        found += [folder for folder in [path, *below] if is_one(folder)]
    return found


def single(values: NDArray[np.floating], place: str) -> NDArray[np.float32]:
    """Values in float32, in C order.

    Raises:
        UserError: some are not finite, there or before.
    """
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(rounded).all():
        raise UserError(f"{place} holds values that are not finite")
    return rounded
