"""Lines and grids of numbers out of a stream of bytes, with the place of everything that is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_input, reason
from orbdens.formats.numbers import leading_numbers
from orbdens.formats.streams import chunks

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
        line_number: number of the line read last, or of the line that the number read last is on; the first is 1.
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
        if len(numbers) < least or not all(map(math.isfinite, numbers)):
            raise self.wrong(f"expected {what}, but found {quoted(line)}")
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
            divisor: what every value is divided by.
            x_fastest: in the file, as VASP writes it; z by default, as in cube files.
            dtype: type of the values, float32 or float64.

        Returns:
            [nx, ny, nz] in C order.

        Raises:
            UserError: something is not a finite number, or the file ends before the last value.
        """
        nx, ny, nz = shape
        if not 0 < nx * ny * nz <= MOST_POINTS or min(shape) < 1:
            raise self.wrong(f"expected a grid of 1 to {MOST_POINTS} points, but found {nx} x {ny} x {nz}")
        values = np.empty(nx * ny * nz, dtype=dtype)
        largest = min(float(np.finfo(dtype).max) * divisor, float(np.finfo(np.float64).max))
        done, ended = 0, False
        self.line_number += 1  # the line that the first value is on
        while done < values.size:
            whole = len(self._data) if ended else 1 + max(self._data.rfind(space) for space in (b" ", b"\n", b"\t"))
            part = self._data[self._at : whole]
            found, end = leading_numbers(part, values.size - done, largest)
            values[done : done + len(found)] = found / divisor
            done += len(found)
            self.line_number += part.count(b"\n", 0, end)
            self._at += end
            if end < len(part) and done < values.size:
                word = part[end : end + 40].split(maxsplit=1)[0].decode("ascii", "replace")
                if not (ended and end + len(word) == len(part)):
                    raise self.wrong(f"expected value {done + 1} of {nx} x {ny} x {nz}, but found {quoted(word)}")
            if ended and done < values.size:
                sizes = f"{nx} x {ny} x {nz}"
                raise UserError(f"{self.place} ends in line {self.line_number}, after {done} values of {sizes}")
            if not part and len(self._data) - self._at > LONGEST_LINE:
                raise self.wrong(f"expected value {done + 1}, but found something that is not text")
            ended = done < values.size and not self._more()
        return np.ascontiguousarray(values.reshape(nz, ny, nx).T) if x_fastest else values.reshape(shape)

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


def quoted(text: str) -> str:
    """A word or line for a message: in quotes, cut, what cannot be printed escaped."""
    text = text.strip()
    return repr(text if len(text) <= 40 else text[:37] + "...") if text else "an empty line"


def leading_lines(text: bytes, n: int) -> list[list[float]]:
    """The numbers on each of the first lines of a text; none on a line that holds anything else."""

    def numbers(line: str) -> list[float]:
        try:
            return [float(word) for word in line.split()]
        except ValueError:
            return []

    return [numbers(line) for line in text.decode("ascii", "replace").split("\n")[:n]]


@contextmanager
def opened_text(path: Path) -> Iterator[Text]:
    """The text of a file, decompressed if it is compressed.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    check_input(path)
    try:
        with path.open("rb") as file:
            yield Text(chunks(file.read, str(path), path.name), str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from None
