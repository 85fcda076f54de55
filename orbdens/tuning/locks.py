"""Locks on files, which the system opens again when their holder ends, however it ends."""

from __future__ import annotations

import os
import platform
import threading
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """An exclusive lock among threads and processes, also of several machines that share a file system.

    Where the file system has no locks it holds among the threads of one process alone: then one command at a time may
    work in a folder. It has the two methods that optuna asks of a lock of its journal, whose own ones are files that a
    killed holder leaves behind.

    Args:
        path: the file, made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._threads, self._file = path, threading.Lock(), -1

    def acquire(self, blocking: bool = True) -> bool:
        """Take it; False if another holds it and ``blocking`` is off."""
        if not self._threads.acquire(blocking):
            return False
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            if fcntl is not None:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
                except BlockingIOError:
                    self._close()
                    return False
                except OSError:
                    pass  # a file system without locks
        except BaseException:
            self._close()
            raise
        return True

    def release(self) -> None:
        """Give it back."""
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
        self._threads.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *about: object) -> None:
        self.release()


class JournalLock(FileLock):
    """A lock of a file of lines. Whoever takes it finds no line without its end, as a full disk or a kill may leave.

    What is appended to such a line would be lost with it.

    Args:
        journal: the file of lines, which need not exist.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(journal.with_name(f".{journal.name}.lock"))
        self._journal = journal

    def acquire(self, blocking: bool = True) -> bool:
        if not super().acquire(blocking):
            return False
        with suppress(FileNotFoundError), self._journal.open("rb+") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - 1))
            if file.read() not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True


class Presence:
    """That a command is at work in a folder, for as long as it is. One at a time may call ``begin`` and ``others``.

    Args:
        folder: for the files of all that are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"{platform.node()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._lock = FileLock(folder / self.name)

    def begin(self) -> None:
        """Say so."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()

    def end(self) -> None:
        """Say no more."""
        with suppress(OSError):
            (self.folder / self.name).unlink(missing_ok=True)
        self._lock.release()

    def others(self) -> list[str]:
        """Names of the other commands that are at work; what dead ones left is removed."""
        alive = []
        for file in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            if file.name == self.name:
                continue
            lock = FileLock(file)
            try:
                if lock.acquire(blocking=False):
                    file.unlink(missing_ok=True)
                    lock.release()
                else:
                    alive.append(file.name)
            except OSError:
                alive.append(file.name)
        return alive
