"""Small text files that go with published sets: xyz frames, and tables of a few numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.formats.text import Text, opened_text, quoted

MOST_ROWS = 100
"""Rows of a table that are read."""


def xyz_frame(text: Text) -> tuple[list[int], NDArray[np.float64]] | None:
    """Atomic numbers and positions of the next frame of an xyz file; None at its end.

    Raises:
        UserError: with the line at which the frame is not what it should be.
    """
    line = text.line()
    while line is not None and not line.strip():
        line = text.line()
    if line is None:
        return None
    if not line.strip().isdecimal() or not 0 < int(line) < 100_000:
        raise text.wrong(f"expected the number of atoms of a frame, but found {quoted(line)}")
    text.needed("comment")
    numbers, positions = [], []
    for i in range(int(line)):
        words = text.needed(f"atom {i + 1} of {int(line)}").split()
        try:
            symbol = words[0] if not words[0].isdecimal() else ""
            numbers.append(atomic_numbers[symbol] if symbol else int(words[0]))
            positions.append([float(word) for word in words[1:4]])
        except (KeyError, ValueError, IndexError):
            positions.append([])
        if len(positions[-1]) != 3 or not np.isfinite(positions[-1]).all() or not 0 < numbers[-1] < 119:
            raise text.wrong(f"expected an element and x, y, z, but found {quoted(' '.join(words))}")
    return numbers, np.array(positions)


def table(path: Path) -> NDArray[np.float64]:
    """The numbers of a small text file.

    Raises:
        UserError: no such file, or it holds no table of finite numbers.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    rows: list[list[float]] = []
    with opened_text(path) as text:
        while (line := text.line()) is not None and len(rows) < MOST_ROWS:
            try:
                rows.append([float(word) for word in line.split()])
            except ValueError:
                raise text.wrong(f"expected numbers, but found {quoted(line)}") from None
    rows = [row for row in rows if row]
    if not rows or len({len(row) for row in rows}) > 1 or not np.isfinite(rows).all():
        raise UserError(f"{path} is not a table of numbers")
    return np.array(rows).squeeze()
