"""The files that a source is made of: files, folders of files and tar archives, one member after the other."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from data_tools.sources.streams import SUFFIXES, Forward, chunks, compression
from data_tools.sources.text import Text
from orbdens.errors import UserError

BLOCK = 512
"""Bytes of a block of a tar archive."""

HEAD = 4096
"""Bytes of the beginning of a file that tell it from others."""

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


def bare_name(name: str) -> str:
    """A name without the ending of a compression."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def key_of(name: str, endings: Sequence[str]) -> str:
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
        endings: of the names of wanted files in lower case, with their point, without that of a compression; a file
            given by its own name is taken whatever it is called.
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
                ours = without.resolve() if without is not None else None
                inside = sorted(file for file in path.rglob("*") if file.is_file() and file.resolve() != ours)
                named = [(file, printable(file.relative_to(path).as_posix())) for file in inside]
                wanted = [(file, name) for file, name in named if self.wants(name) or is_archive_name(name)]
                if not wanted:
                    raise UserError(f"{path} holds no {kind}, by the names of its files")
                self._files += wanted
            else:
                alone = bare_name(path.name).lower() in {ending.lstrip("._") for ending in endings}
                self._files.append((path, printable(f"{path.parent.name}/{path.name}" if alone else path.name)))
        self._sizes = [file.stat().st_size for file, _ in self._files]
        self._before = 0
        self._at: BinaryIO | None = None

    def wants(self, name: str) -> bool:
        """Whether a file of a folder or archive is of this kind, by its name."""
        last = PurePosixPath(bare_name(name)).name.lower()
        return any(last.endswith(ending) or last == ending.lstrip("._") for ending in self.endings)

    def facts(self) -> dict[str, Any]:
        """What tells these files from others: their names, and a hash of these and of how every file begins."""
        digest = hashlib.sha256()
        for file, name in self._files:
            with file.open("rb") as handle:
                digest.update(f"{name}\0".encode() + handle.read(HEAD))
        names = [name for _, name in self._files]
        return {"files": len(names), "names": names[:NAMED], "sha256_of_heads": digest.hexdigest()}

    def fraction(self) -> float:
        """How much of all files lies behind."""
        here = self._at.tell() if self._at is not None and not self._at.closed else 0
        return (self._before + here) / max(1, sum(self._sizes))

    def __iter__(self) -> Iterator[Member]:
        self._before = 0
        for (file, name), size in zip(self._files, self._sizes, strict=True):
            with file.open("rb") as handle:
                self._at = handle
                if not is_archive_name(name) and (self.wants(name) or not _is_archive(file, name)):
                    yield self._member(handle.read, str(file), name)
                else:
                    yield from self._archived(handle, file, name)
            self._before += size

    def _member(self, read: Callable[[int], bytes], place: str, name: str) -> Member:
        return Member(key_of(name, self.endings), place, lambda: chunks(read, place, name), name)

    def _archived(self, handle: BinaryIO, file: Path, name: str) -> Iterator[Member]:
        place = str(file)
        plain = compression(place, name, handle.read(BLOCK)) is None
        handle.seek(0)
        stream = Forward(handle if plain else chunks(handle.read, place, name), place)
        try:
            # without its own decompression, tarfile only ever goes forward
            with tarfile.open(fileobj=cast(Any, stream), mode="r:") as archive:
                while (member := archive.next()) is not None:
                    cast(Any, archive).members.clear()  # it would keep every one of them
                    if not member.isreg() or not self.wants(member.name):
                        continue
                    data = archive.extractfile(member)
                    assert data is not None
                    inner = printable(member.name)
                    yield self._member(_whole(data.read, place), f"{place}, member {inner}", inner)
        except (tarfile.TarError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{place} is truncated or damaged at byte {stream.tell()}: {reason}") from None
        if len(stream.last) < BLOCK or stream.last.strip(b"\0"):
            # tarfile takes whatever is no header for the end
            raise UserError(f"{place} is truncated or damaged at byte {stream.tell()}: it has no end marker")


def _whole(read: Callable[[int], bytes], place: str) -> Callable[[int], bytes]:
    def reader(size: int) -> bytes:
        try:
            return read(size)
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{place} is truncated: {error}") from None

    return reader


def is_archive_name(name: str) -> bool:
    """Whether a name is one of a tar archive."""
    return PurePosixPath(bare_name(name)).suffix == ".tar" or name.lower().endswith((".tgz", ".txz"))


def _is_archive(file: Path, name: str) -> bool:
    with file.open("rb") as handle:
        try:
            return _tar_in(next(chunks(handle.read, str(file), name))[:BLOCK])
        except UserError:
            return False


def _tar_in(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def folders_like(paths: Sequence[Path], is_one: Callable[[Path], bool]) -> list[Path]:
    """The folders of a kind among and below some folders, in the order of their names."""
    found: list[Path] = []
    for path in paths:
        below = sorted(folder for folder in path.rglob("*") if folder.is_dir()) if path.is_dir() else []
        found += [folder for folder in [path, *below] if is_one(folder)]
    return found


def load_array(path: Path) -> NDArray[Any]:
    """An array of real numbers of an ``.npy`` file, not read before it is used, without pickles.

    Raises:
        UserError: no such file, or not a whole one.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, OSError, EOFError) as error:
        pickled = "pickle" in str(error) or "Object arrays" in str(error)
        reason = "pickles are never opened" if pickled else " ".join(str(error).split())
        raise UserError(f"{path} is not a whole .npy file of numbers: {reason}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UserError(f"{path} is not an .npy file of real numbers")
    return array


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
