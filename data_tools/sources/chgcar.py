"""CHGCAR and CHG files of VASP: plain, compressed, in tar archives; streamed from header to last value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_tools.sources.record_source import RecordSource
from data_tools.sources.statement import UserStatement, file_source
from orbdens.formats.chgcar import parse_chgcar
from orbdens.formats.text import Text, leading_lines
from orbdens.store.records import GridRecord

ENDINGS = (".chgcar", "_chgcar", ".chg", ".vasp")
"""Endings of the names of such files, beside CHGCAR and CHG themselves."""

LEVEL = {"code": "VASP", "potential": "PAW"}


def recognises(beginning: bytes) -> bool:
    """Whether lines 2 to 5 of a text hold one number or three, and three lattice vectors."""
    lines = leading_lines(beginning, 6)
    return len(lines) == 6 and [len(line) for line in lines[2:5]] == [3, 3, 3] and len(lines[1]) in (1, 3)


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """All CHGCAR files in files, folders and tar archives, each a record."""
    return file_source(
        paths,
        statement,
        "CHGCAR file",
        ENDINGS,
        LEVEL,
        lambda member: chgcar_record(member.text(), statement.elements, statement.charge),
    )


def chgcar_record(text: Text, elements: Sequence[str] = (), charge: int = 0) -> GridRecord:
    """The density of a CHGCAR as a record, see ``parse_chgcar``.

    Args:
        text: the file from its first line on.
        elements: elements of the kinds of atoms in the file, where it does not name them.
        charge: charge of the cell, in e.

    Raises:
        UserError: with the line at which the file is not what it should be.
    """
    structure, grid, values, spin = parse_chgcar(text, elements)
    structure = replace(structure, charge=charge).check(text.place)
    return GridRecord(structure, grid.origin, grid.steps, values, spin)
