"""Numba's compiler, with the machine code kept wherever this process may write."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit(**options)`` that compiles once a machine, and where nothing can be written once a process.

    Numba keeps machine code in ``NUMBA_CACHE_DIR``, beside the source or in the user's cache folder, and raises
    RuntimeError if it may write to none of them (a read-only installation of a user without a home). Then it is kept
    in a folder for temporary files.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            folder = _temporary_folder()
        if folder is None:
            return numba.njit(**options)(function)
        # Numba chooses the folder of a function in its decorator, and reads this setting then.
        settings: Any = numba.config
        before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(**options)(function)
        finally:
            settings.CACHE_DIR = before

    return decorate


@cache
def _temporary_folder() -> Path | None:
    """A folder that nobody else may write to, because what lies in it is run; None where there can be none."""
    if not hasattr(os, "getuid"):
        return None
    try:
        folder = Path(tempfile.gettempdir()) / f"orbdens-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022
    return folder if private else None
