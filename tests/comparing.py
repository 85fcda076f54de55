"""Equality of records, down to the bits of their arrays."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from orbdens.structure import Structure


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, Structure):
            assert_same(x, y)
        elif isinstance(x, np.ndarray):
            assert (x.dtype, x.shape) == (y.dtype, y.shape), f.name
            assert x.tobytes() == y.tobytes(), f.name
        else:
            assert x == y, f.name
