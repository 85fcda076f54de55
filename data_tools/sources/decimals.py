# mypy: disable-error-code="no-untyped-def"
"""Numbers out of text as fast as one core reads it: one compiled loop over bytes (Numba), no copy of the text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")

POWERS = np.array([float(f"1e{k}") for k in range(309)])
"""Powers of ten, each the closest double."""

MOST_DIGITS = 10**18
"""Mantissas up to here take one more digit without leaving 64 bits; later digits only count for the exponent."""

READ, BAD = 0, 1


@_compiled
def read_numbers(data, start, stop, done, count, sizes, strides, divisor, values):
    """Read decimal numbers and put them in their places on a grid.

    Numbers are divided by white space, or touch where the next one has a sign (``-0.1E+01-0.2E+01``). The exponent may
    begin with E, e, D, d or, as Fortran writes three digits of it, with its sign (``0.1-100``).

    Args:
        data: text, uint8; it must not end within a number at ``stop``.
        start, stop: part of it to read.
        done, count: numbers read before, and wanted in all; the loop ends there.
        sizes: length of the fastest, middle and slowest axis; one of infinite length is -1.
        strides: of these axes in ``values``.
        divisor: every number is divided by it.
        values: flat, changed in place.

    Returns:
        ``READ`` or ``BAD``, the position after the last number or of the bad one, numbers read in all, line ends met.
    """
    position, lines = start, 0
    a, b, c = done % sizes[0], (done // sizes[0]) % sizes[1], done // (sizes[0] * sizes[1])
    at = a * strides[0] + b * strides[1] + c * strides[2]
    while done < count:
        while position < stop and (data[position] == 32 or 9 <= data[position] <= 13):
            lines += data[position] == 10
            position += 1
        if position == stop:
            break
        token = position
        negative = data[position] == 45
        if negative or data[position] == 43:
            position += 1
        mantissa, exponent, n_digits = np.uint64(0), 0, 0
        while position < stop and 48 <= data[position] <= 57:
            if mantissa < MOST_DIGITS:
                mantissa = mantissa * np.uint64(10) + np.uint64(data[position] - 48)
            else:
                exponent += 1
            n_digits += 1
            position += 1
        if position < stop and data[position] == 46:
            position += 1
            while position < stop and 48 <= data[position] <= 57:
                if mantissa < MOST_DIGITS:
                    mantissa = mantissa * np.uint64(10) + np.uint64(data[position] - 48)
                    exponent -= 1
                n_digits += 1
                position += 1
        if n_digits == 0:
            return BAD, token, done, lines
        position, written = _exponent(data, position, stop)
        if written == NO_EXPONENT:
            return BAD, token, done, lines
        if position < stop:
            after = data[position]
            if not (after == 32 or 9 <= after <= 13 or after == 45 or after == 43):
                return BAD, token, done, lines
        value = _scaled(mantissa, exponent + written)
        if negative:
            value = -value
        value /= divisor
        values[at] = value
        if not np.isfinite(values[at]):
            return BAD, token, done, lines
        done += 1
        a += 1
        at += strides[0]
        if a == sizes[0]:
            a = 0
            b += 1
            if b == sizes[1]:
                b = 0
                c += 1
            at = b * strides[1] + c * strides[2]
    return READ, position, done, lines


NO_EXPONENT = 1 << 20
LARGEST_EXPONENT = 100_000


@_compiled
def _exponent(data, position, stop):
    """The position after an exponent and its value: 0 if there is none, ``NO_EXPONENT`` if it has no digits."""
    if position == stop:
        return position, 0
    letter = data[position]
    if letter == 69 or letter == 101 or letter == 68 or letter == 100:
        position += 1
    elif letter == 45 or letter == 43:
        # without a letter it is an exponent of three digits, or the next number's sign
        for i in range(1, 4):
            if position + i >= stop or not 48 <= data[position + i] <= 57:
                return position, 0
        if position + 4 < stop and (48 <= data[position + 4] <= 57 or data[position + 4] == 46):
            return position, 0
    else:
        return position, 0
    negative = position < stop and data[position] == 45
    if negative or (position < stop and data[position] == 43):
        position += 1
    if position == stop or not 48 <= data[position] <= 57:
        return position, NO_EXPONENT
    exponent = 0
    while position < stop and 48 <= data[position] <= 57:
        exponent = min(10 * exponent + data[position] - 48, LARGEST_EXPONENT)
        position += 1
    return position, -exponent if negative else exponent


@_compiled
def _scaled(mantissa, exponent):
    """mantissa · 10^exponent, correctly rounded for up to 15 digits and exponents up to 22, else within 2 ulp."""
    value = float(mantissa)
    if mantissa == 0:
        return 0.0
    while exponent < 0 and value != 0.0:
        step = min(-exponent, 308)
        value /= POWERS[step]
        exponent += step
    while exponent > 0 and value < np.inf:
        step = min(exponent, 308)
        value *= POWERS[step]
        exponent -= step
    return value
