"""The set of cubic crystals: a JSON file for each, compressed with xz, its density as VASP printed it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from data_tools.sources.files import Member, single
from data_tools.sources.record_source import RecordSource
from data_tools.sources.statement import UserStatement, file_source
from orbdens.errors import UserError
from orbdens.formats.text import MOST_POINTS, quoted
from orbdens.store.records import GridRecord
from orbdens.structure import Structure

ENDINGS = (".json",)

LARGEST = 1 << 28
"""Bytes of such a file, unpacked."""


def recognises(beginning: bytes) -> bool:
    """Whether a file begins as a JSON object does."""
    return beginning.lstrip().startswith(b"{")


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """All JSON files of crystals in files, folders and tar archives, each a record."""
    return file_source(
        paths,
        statement,
        "JSON file of a crystal",
        ENDINGS,
        {"code": "VASP", "xc": "PBE", "potential": "PAW"},
        lambda member: read_crystal_json(member, statement.charge),
    )


def read_crystal_json(member: Member, charge: int = 0) -> GridRecord:
    """The density of a JSON file of the cubic crystals; values that VASP could not print (``*``) are taken as zero.

    Raises:
        UserError: the JSON is broken, or its entries do not fit together.
    """
    data, place = member.whole(LARGEST), member.place
    try:
        tree = json.loads(data)
        scale = float(_inner(tree["vector"], 1)[0])
        cell = np.array(_inner(tree["lattice"], 2), dtype=np.float64) * scale
        counts = [int(n) for n in _inner(tree["elements_number"])]
        symbols = [str(symbol) for symbol in _inner(tree["elements"])]
        fractions = np.array(_inner(tree["coordinates"], 2), dtype=np.float64)
        shape = tuple(int(n) for n in _inner(tree["FFTgrid"]))
        words = _words(tree["chargedensity"])
    except KeyError as error:
        raise UserError(f"{place} is not the JSON of a crystal: it has no {error}") from None
    except (ValueError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise UserError(f"{place} is not the JSON of a crystal: {' '.join(str(error).split())}") from None
    n_atoms = sum(counts)
    if len(counts) != len(symbols) or min(counts, default=0) < 1 or fractions.shape != (n_atoms, 3):
        raise UserError(f"{place} names {n_atoms} atoms of {' '.join(symbols)}, but {len(fractions)} coordinates")
    unknown = [symbol for symbol in symbols if symbol not in atomic_numbers]
    if unknown:
        raise UserError(f"{place}: expected element symbols, but found {quoted(unknown[0])}")
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 0:
        raise UserError(f"{place}: expected three lattice vectors, but found {cell.tolist()}")
    n_points = math.prod(shape) if len(shape) == 3 and min(shape) > 0 else 0
    if not 0 < n_points <= MOST_POINTS or len(words) < n_points:
        raise UserError(f"{place} holds {len(words)} values, expected a grid of {' x '.join(map(str, shape))}")
    try:
        flat = np.array(["0" if word.startswith("*") else word for word in words[:n_points]], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{place}: {error} among the values of its chargedensity") from None
    values = (flat / abs(np.linalg.det(cell))).reshape(shape[::-1]).transpose(2, 1, 0)
    numbers = np.repeat([atomic_numbers[symbol] for symbol in symbols], counts)
    structure = Structure(numbers, fractions @ cell, cell, (True, True, True), charge=charge).check(place)
    steps = cell / np.array(shape)[:, None]
    return GridRecord(structure, np.zeros(3), steps, single(values, place))


def _inner(entry: Any, depth: int = 1) -> Any:
    """A list of ``depth`` dimensions; the files wrap most entries in one more list."""
    levels, first = 0, entry
    while isinstance(first, list):
        levels, first = levels + 1, first[0]
    if levels < depth:
        raise ValueError(f"expected lists in lists, but found {quoted(str(entry))}")
    return entry[0] if levels > depth else entry


def _words(entry: Any) -> list[str]:
    """The words of a text, or of lists of texts of any depth."""
    if isinstance(entry, list):
        return [word for part in entry for word in _words(part)]
    return entry.split() if isinstance(entry, str) else [str(float(entry))]
