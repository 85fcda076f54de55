"""Gaussian cube files of densities: plain, compressed, in tar archives; streamed from header to last value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_tools.sources.record_source import RecordSource
from data_tools.sources.statement import UserStatement, file_source
from orbdens.formats.cube import CUBE_SUFFIXES, parse_cube
from orbdens.formats.text import Text, leading_lines
from orbdens.store.records import GridRecord

ENDINGS = CUBE_SUFFIXES


def recognises(beginning: bytes) -> bool:
    """Whether lines 3 to 6 of a text hold numbers as those of a cube file."""
    lines = leading_lines(beginning, 6)
    return len(lines) == 6 and len(lines[2]) in (4, 5) and [len(line) for line in lines[3:6]] == [4, 4, 4]


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """All cube files in files, folders and tar archives, each a record."""
    return file_source(
        paths, statement, "cube file", ENDINGS, {}, lambda member: cube_record(member.text(), statement.charge)
    )


def cube_record(text: Text, charge: int = 0) -> GridRecord:
    """The density of a cube file as a record in float32, see ``parse_cube``.

    Args:
        text: the file from its first line on.
        charge: charge of the molecule, in e, which the file does not tell.

    Raises:
        UserError: with the line at which the file is not what it should be.
    """
    structure, grid, values = parse_cube(text, np.float32)
    structure = replace(structure, charge=charge).check(text.place)
    return GridRecord(structure, grid.origin, grid.steps, values)
