"""Lines and blocks of numbers out of a stream of bytes, with the place of everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from data_tools.sources.decimals import BAD, read_numbers
from data_tools.sources.streams import chunks
from orbdens.errors import UserError

LONGEST_LINE = 1 << 16
"""Bytes of a line of words, and of a number."""

MOST_POINTS = 1 << 29
"""Values of a grid: 2 GiB in float32, of which LMDB still holds two in one record."""


class Text:
    """A text file that is read once, from front to back, a chunk at a time.

    Args:
        pieces: its bytes.
        place: names it in messages.

    Attributes:
        line_number: of the line read last, or of the number read last; the first is 1.
    """

    def __init__(self, pieces: Iterator[bytes], place: str) -> None:
        self._pieces = pieces
        self._data = b""
        self._at = 0
        self.place = place
        self.line_number = 0

    def wrong(self, reason: str) -> UserError:
        """The error to raise about the line read last."""
        return UserError(f"{self.place}, line {self.line_number}: {reason}")

    def line(self) -> str | None:
        """The next line without its end; None after the last.

        Raises:
            UserError: the line is so long that this is no text.
        """
        while (end := self._data.find(b"\n", self._at)) < 0:
            if len(self._data) - self._at > LONGEST_LINE:
                raise UserError(f"{self.place}, line {self.line_number + 1}: expected text, but the line has no end")
            if not self._more():
                end = len(self._data)
                break
        if end - self._at > LONGEST_LINE:
            raise UserError(f"{self.place}, line {self.line_number + 1}: expected text, but the line is too long")
        if end == self._at == len(self._data):
            return None
        line = self._data[self._at : end]
        self._at = min(end + 1, len(self._data))
        self.line_number += 1
        return line.decode("ascii", "replace").rstrip("\r")

    def needed(self, what: str) -> str:
        """The next line.

        Raises:
            UserError: there is none, naming ``what`` it should have been.
        """
        line = self.line()
        if line is None:
            raise UserError(f"{self.place} ends after line {self.line_number}, before its {what}")
        return line

    def floats(self, what: str, least: int, most: int | None = None) -> list[float]:
        """The first ``most`` numbers of the next line; ``most`` is ``least`` by default, and what follows is ignored.

        Raises:
            UserError: there are fewer than ``least``, or they are not finite numbers.
        """
        line = self.needed(what)
        try:
            numbers = [float(word) for word in line.split()[: most or least]]
        except ValueError:
            numbers = []
        if len(numbers) < least or not np.isfinite(numbers).all():
            raise self.wrong(f"expected {what}, but found {shown(line)}")
        return numbers

    def grid(
        self,
        shape: tuple[int, int, int],
        divisor: float = 1.0,
        x_fastest: bool = False,
        dtype: type[np.floating] = np.float32,
    ) -> NDArray[np.floating]:
        """The values of a grid, divided by ``divisor``, never more than the shape says.

        Args:
            shape: number of points along x, y and z.
            divisor: of every value.
            x_fastest: in the file, as VASP writes it; z by default, as in cube files.
            dtype: of the values, float32 or float64.

        Returns:
            [nx, ny, nz] in C order.

        Raises:
            UserError: something is not a finite number, or the file ends before the last value.
        """
        nx, ny, nz = shape
        if not 0 < nx * ny * nz <= MOST_POINTS or min(shape) < 1:
            raise self.wrong(f"expected a grid of 1 to {MOST_POINTS} points, but found {nx} x {ny} x {nz}")
        values = np.empty(nx * ny * nz, dtype=dtype)
        sizes, strides = ((nx, ny, nz), (ny * nz, nz, 1)) if x_fastest else ((nz, ny, nx), (1, nz, ny * nz))
        done, ended = 0, False
        self.line_number += 1  # the line that the first value is on
        while True:
            stop = len(self._data) if ended else 1 + max(self._data.rfind(space) for space in (b" ", b"\n", b"\t"))
            if stop > self._at:
                status, self._at, done, lines = read_numbers(
                    np.frombuffer(self._data, dtype=np.uint8),
                    self._at,
                    stop,
                    done,
                    values.size,
                    sizes,
                    strides,
                    float(divisor),
                    values,
                )
                self.line_number += lines
                if status == BAD:
                    word = self._data[self._at : self._at + 40].split(maxsplit=1)[0].decode("ascii", "replace")
                    if ended and self._at + len(word) == len(self._data):
                        raise self._short(done, shape)  # in the middle of a number
                    raise self.wrong(f"expected value {done + 1} of {nx} x {ny} x {nz}, but found {shown(word)}")
            if done == values.size:
                return values.reshape(shape)
            if ended:
                raise self._short(done, shape)
            if len(self._data) - self._at > LONGEST_LINE and stop <= self._at:
                raise self.wrong(f"expected value {done + 1}, but found something that is not text")
            ended = not self._more()

    def _short(self, done: int, shape: tuple[int, int, int]) -> UserError:
        sizes = " x ".join(map(str, shape))
        return UserError(f"{self.place} ends in line {self.line_number}, after {done} values of {sizes}")

    def rest_of_line(self) -> str:
        """What follows on the line of the last value."""
        self.line_number -= 1  # it is counted again with what is left of it
        line = self.line()
        if line is None:
            self.line_number += 1
        return (line or "").strip()

    def skip_line(self) -> None:
        """Go to the end of the next line, however long it is."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            self._at = len(self._data)
            if not self._more():
                return
        self._at = end + 1
        self.line_number += 1

    def _more(self) -> bool:
        piece = next(self._pieces, b"")
        self._data = self._data[self._at :] + piece
        self._at = 0
        return bool(piece)


def shown(text: str) -> str:
    """A word or line for a message: in quotes, cut, what cannot be printed escaped."""
    text = text.strip()
    return repr(text if len(text) <= 40 else text[:37] + "...") if text else "an empty line"


def text_of(read: Callable[[int], bytes], path: Path) -> Text:
    """The text of an open file."""
    return Text(chunks(read, str(path), path.name), str(path))


def xyz_frame(text: Text) -> tuple[list[int], NDArray[np.float64]] | None:
    """Atomic numbers and positions of the next frame of an xyz file; None at its end."""
    line = text.line()
    while line is not None and not line.strip():
        line = text.line()
    if line is None:
        return None
    if not line.strip().isdecimal() or not 0 < int(line) < 100_000:
        raise text.wrong(f"expected the number of atoms of a frame, but found {shown(line)}")
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
            raise text.wrong(f"expected an element and x, y, z, but found {shown(' '.join(words))}")
    return numbers, np.array(positions)


def table(path: Path) -> NDArray[np.float64]:
    """The numbers of a small text file."""
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    with path.open("rb") as file:
        text = text_of(file.read, path)
        rows: list[list[float]] = []
        while (line := text.line()) is not None and len(rows) < 100:
            try:
                rows.append([float(word) for word in line.split()])
            except ValueError:
                raise text.wrong(f"expected numbers, but found {shown(line)}") from None
    rows = [row for row in rows if row]
    if not rows or len({len(row) for row in rows}) > 1 or not np.isfinite(rows).all():
        raise UserError(f"{path} is not a table of numbers")
    return np.array(rows).squeeze()
