"""Densities at points with volumes: ``density.npz`` as denspart, horton-part and ``orbdens charges`` write it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_tools.sources.files import Member, single
from data_tools.sources.record_source import RecordSource
from data_tools.sources.statement import UserStatement, file_source
from orbdens.formats.denspart import parse_quadrature
from orbdens.store import PointsRecord

ENDINGS = (".density.npz", "_density.npz", "-density.npz")

LARGEST = 1 << 31
"""Bytes of a file."""


def recognises(beginning: bytes) -> bool:
    """False: by its first bytes it is any .npz file."""
    return False


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """All such files in files, folders and tar archives, each a record."""
    return file_source(
        paths, statement, "density at points", ENDINGS, {}, lambda member: points_record(member, statement.charge)
    )


def points_record(member: Member, charge: int = 0) -> PointsRecord:
    """The density of a file as a record.

    Args:
        member: the file.
        charge: charge of the structure, in e, which the file does not tell.

    Raises:
        UserError: it is no such file, an array is missing, or one does not go with the others.
    """
    content = member.whole(LARGEST)
    structure, points, volumes, values = parse_quadrature(io.BytesIO(content), member.place, len(content))
    structure = replace(structure, charge=charge).check(member.place)
    return PointsRecord(structure, points, volumes, single(values, member.place))
