"""What a person sees while something long runs: a live bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many of it are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """The progress that nobody looks at."""


LINE_EVERY = 15.0
"""Seconds between two lines about the same task where there is no terminal."""


class Display:
    """Progress of tasks one after the other; each has a name, a fraction and a note.

    Args:
        shown: whether anything is shown; of processes that work together only one speaks.
    """

    def __init__(self, shown: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not shown)
        self._live = self.console.is_terminal
        self._progress = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=self.console,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, float]] = {}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def count(self, name: str, done: int, total: int) -> None:
        """Progress of a task that counts, e.g. records."""
        self.show(name, done / max(total, 1), f"{done}/{total}", important=done == total)

    def show(self, name: str, fraction: float, note: str, important: bool = False) -> None:
        """Show a task at a fraction of 1; ``important`` prints a line also where there is no terminal."""
        now = time.monotonic()
        begun, first = self._started.setdefault(name, (now, fraction))
        gone = fraction - first
        left = _clock((now - begun) * (1 - fraction) / gone) if gone > 0 else "?"
        if self._live:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=1.0, note=note, left=left)
            self._progress.update(self._tasks[name], completed=min(fraction, 1.0), note=note, left=left)
        elif important or now - self._last_line > LINE_EVERY:
            self._last_line = now
            self.console.print(f"{name}: {100 * fraction:3.0f} %  {note}  left {left}", highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
