"""Paths: may this be read, may that be written; and files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orbdens.errors import UserError


def check_output(path: Path, force: bool) -> None:
    """Make sure, before any work, that ``path`` can be written; creates the folder it lies in.

    Raises:
        UserError: it exists and ``force`` is off, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise UserError(f"expected a file to write, but {path} is a folder")
    if path.exists() and not force:
        raise UserError(f"{path} exists; --force replaces it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"cannot write to the folder {path.parent}: {reason(error)}") from None


def check_room(paths: Sequence[Path], n_bytes: float) -> None:
    """Make sure, before any work, that files of so many bytes in all fit the disk that the first is on.

    Raises:
        UserError: they do not.
    """
    free = shutil.disk_usage(paths[0].parent).free
    if n_bytes > free:
        names = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files in {paths[0].parent}"
        raise UserError(f"{names} would take {n_bytes / 1e9:.2g} GB, but the disk has {free / 1e9:.2g} GB left")


def check_input(path: Path) -> None:
    """UserError unless there is a file at ``path``."""
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if path.is_dir():
        raise UserError(f"expected a file, but {path} is a folder")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; what the block wrote there takes the final name once it is on the disk.

    If the block fails, the temporary file vanishes and what was at ``path`` stays. A kill may leave the temporary
    file, whose name begins with a dot and ends with ``.part``.

    Raises:
        UserError: the file cannot be written, be it that the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        with suppress(OSError):  # some file systems have no sync of folders
            sync(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the contents of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: OSError) -> str:
    """What the system says went wrong, as the end of a sentence."""
    return (error.strerror or str(error)).lower()


def is_pickle(data: bytes) -> bool:
    """Whether a file that begins so is a Python pickle, which nothing here opens."""
    return data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
