"""Paths: may this be read, may that be written; and files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def check_input(path: Path) -> None:
    """UserError unless there is a file at ``path``."""
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if path.is_dir():
        raise UserError(f"expected a file, but {path} is a folder")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; it takes the final name if the block ends well, and vanishes if not.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def reason(error: OSError) -> str:
    """What the system says went wrong, as the end of a sentence."""
    return (error.strerror or str(error)).lower()
