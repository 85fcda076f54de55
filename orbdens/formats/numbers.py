"""Decimal numbers out of text: by numpy's reader, and what Fortran writes otherwise one by one."""

from __future__ import annotations

import re
import warnings

import numpy as np
from numpy.typing import NDArray

NUMBER = re.compile(rb"\s*([+-]?(?:\d+\.?\d*|\.\d+))(?:[EeDd]([+-]?\d+)|([+-]\d{3})(?![\d.]))?(?=[\s+-]|\Z)")
"""A mantissa and an exponent, which has a letter or, as Fortran writes three digits of it, a sign alone (``0.1-100``).
The number ends at white space or, in fixed columns, where the sign of the next one touches it."""

WHITE = np.isin(np.arange(256), [9, 10, 11, 12, 13, 32])


def leading_numbers(text: bytes, most: int, largest: float) -> tuple[NDArray[np.float64], int]:
    """The numbers at the front of a text, and where they end.

    Args:
        text: must not end within a number.
        most: how many are wanted.
        largest: what is larger without its sign, or nan, counts as no number.

    Returns:
        At most ``most`` numbers, and the position after the last of them if they are so many, else that of the first
        word that is no number, or the length of ``text``.
    """
    values = _by_numpy(text, largest)
    if values is not None and len(values) <= most:
        return values, len(text) if len(values) < most else len(text.rstrip())
    # not numbers alone, or more of them than wanted; the words that would be the wanted ones may be read at once
    white = WHITE[np.frombuffer(text, dtype=np.uint8)]
    ends = np.flatnonzero(~white & np.append(white[1:], True)) + 1
    if len(ends) >= most:
        values = _by_numpy(text[: ends[most - 1]], largest)
        if values is not None and len(values) == most:
            return values, int(ends[most - 1])
    return _one_by_one(text, most, largest)


def _by_numpy(text: bytes, largest: float) -> NDArray[np.float64] | None:
    """The numbers of a text; None if there is anything else in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # older versions warn where newer ones raise
        try:
            values = np.fromstring(text.strip(), sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    return values if np.abs(values).max(initial=0) <= largest else None


def _one_by_one(text: bytes, most: int, largest: float) -> tuple[NDArray[np.float64], int]:
    values: list[float] = []
    position = 0
    while len(values) < most:
        match = NUMBER.match(text, position)
        if match is not None:
            mantissa, exponent, bare = match.groups()
            value = float(mantissa + b"E" + (exponent or bare or b"0"))
        if match is None or not abs(value) <= largest:
            return np.array(values), len(text) - len(text[position:].lstrip())
        values.append(value)
        position = match.end()
    return np.array(values), position
