"""Numbers out of text that arrives in pieces are those of Python; what is none is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orbdens.errors import UserError
from orbdens.formats.numbers import leading_numbers
from orbdens.formats.text import Text


def numbers_of(text: bytes, count: int, cuts: list[int]) -> np.ndarray[Any, Any]:
    """Numbers of a text that arrives in pieces."""
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = (text[a:b] for a, b in pairwise(edges) if b > a)
    return Text(pieces, "text").grid((1, 1, count), dtype=np.float64).reshape(-1)


FORMS = ["{:.11E}", "{:.5e}", "{!r}", "{:+.3E}", "{:.17g}", "{:010.4f}"]
finite = st.floats(-1e300, 1e300)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(finite, st.sampled_from(FORMS), st.sampled_from([" ", "\n", "  \t", "\r\n"])), min_size=1),
    st.lists(st.integers(0, 10_000), max_size=4),
)
@example([(5e-324, "{!r}", " "), (2.2250738585072014e-308, "{!r}", "\n"), (-0.0, "{!r}", " ")], [3])
def test_numbers_are_those_of_python(numbers: list[tuple[float, str, str]], cuts: list[int]) -> None:
    words = [form.format(number) for number, form, _ in numbers]
    text = "".join(word + space for word, (_, _, space) in zip(words, numbers, strict=True))
    expected = np.array([float(word) for word in words])
    np.testing.assert_allclose(numbers_of(text.encode(), len(words), cuts), expected, rtol=1e-15, atol=1e-322)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=30), st.integers(-99, 99))
def test_numbers_in_fixed_columns_may_touch(digits: list[int], exponent: int) -> None:
    words = [f"{digit / 1e11:+.11f}{letter}{exponent:+03d}" for digit in digits for letter in "ED"]
    expected = [float(word.replace("D", "E")) for word in words]
    np.testing.assert_allclose(numbers_of("".join(words).encode(), len(words), []), expected, rtol=1e-15)


@settings(max_examples=150, deadline=None)
@given(st.text("0123456789+-.eEdD* \nn,x", min_size=1, max_size=30))
@example("1E+")
@example("1.2.3")
@example("0.12-100 0.5-200")
def test_what_is_no_number_is_refused(text: str) -> None:
    """Whatever the parser accepts is what Python reads out of the same words."""
    try:
        got = numbers_of(text.encode(), 1, [])[0]
    except UserError:
        return
    word = text.split()[0].lower().replace("d", "e")
    readings = []
    for end in range(1, len(word) + 1):  # what touches it is the next number, or the exponent that Fortran writes
        for candidate in (word[:end], word[: end - 4] + "e" + word[end - 4 : end]):
            try:
                readings.append(float(candidate))
            except ValueError:
                continue
    assert any(math.isclose(got, reading, rel_tol=1e-15) for reading in readings)


@pytest.mark.parametrize(
    ("text", "most", "values", "rest"),
    [
        (b"1 2 3\n4", 4, [1, 2, 3, 4], b""),
        (b"1 2 3\n4", 3, [1, 2, 3], b"\n4"),
        (b"1 2 3\n", 3, [1, 2, 3], b"\n"),
        (b"1 2 x", 3, [1, 2], b"x"),
        (b"1-2 .1-100 1d2 ****", 5, [1, -2, 1e-101, 100], b"****"),
        (b"1 2 1e31 3", 4, [1, 2], b"1e31 3"),
        (b"1 nan", 2, [1], b"nan"),
        (b" \n", 2, [], b""),
        (b"", 2, [], b""),
    ],
)
def test_where_numbers_end(text: bytes, most: int, values: list[float], rest: bytes) -> None:
    found, end = leading_numbers(text, most, 1e30)
    np.testing.assert_allclose(found, values)
    assert text[end:] == rest
