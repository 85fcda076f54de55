"""Measured reflections: SHELX's formats HKLF 4 and 5, and the loops of CIF and fcf files that hold the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError

COLUMNS = ((0, 4), (4, 8), (8, 12), (12, 20), (20, 28), (28, 32))
"""Of h, k, l, F² and its uncertainty: 3I4, 2F8.2, as Fortran counts; a number of the batch may follow."""

LARGEST = 999
"""Of an index; where blanks are missing, the words of a line would give larger ones."""

LOOPS = (
    ("_refln_f_squared_meas", "_refln_f_squared_sigma"),
    ("_diffrn_refln_intensity_net", "_diffrn_refln_intensity_u"),
    ("_diffrn_refln_intensity_net", "_diffrn_refln_intensity_sigma"),
    ("_refln_intensity_meas", "_refln_intensity_sigma"),
)
"""Names, in lower case, of intensities and their uncertainties in CIF."""


@dataclass(frozen=True, eq=False)
class Reflections:
    """Measured reflections.

    Attributes:
        indices: h, k, l, in the file's order, repeated where a reflection was measured again, int64 [n, 3].
        intensities: F² on any scale [n].
        sigmas: their standard uncertainties [n]; not above zero where a reflection was left out.
    """

    indices: NDArray[np.int64]
    intensities: NDArray[np.float64]
    sigmas: NDArray[np.float64]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Those with an intensity and its uncertainty [n]."""
        return np.isfinite(self.intensities) & np.isfinite(self.sigmas) & (self.sigmas > 0)


def parse_hkl(text: str, where: str) -> Reflections:
    """Reflections of a text in SHELX's format HKLF 4, which ends with 0 0 0 or with the text.

    Of a twin's HKLF 5 all reflections are there, but only those of the first crystal alone count as measured.

    Args:
        text: a line for each reflection.
        where: names it in messages.

    Raises:
        UserError: it is of another format.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            if rows:
                break
            continue
        if line.split()[:3] == ["0", "0", "0"]:
            break
        row = _row(line)
        if row is None:
            if rows and "." not in line:  # what SHELX writes after the reflections, where 0 0 0 was left out
                break
            raise UserError(
                f"{where}, line {number}: expected h, k, l, F² and its uncertainty as SHELX writes them (HKLF 4: 3I4, "
                f"2F8.2), but got '{line.strip()[:40]}'"
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{where} holds no reflections")
    table = np.array(rows)
    return Reflections(table[:, :3].astype(np.int64), table[:, 3], np.where(_of_one_crystal(table), table[:, 4], 0.0))


def _row(line: str) -> list[float] | None:
    """h, k, l, F², its uncertainty and the batch of a line, by its words or the fixed columns; None if neither fits."""
    for words in (line.split()[:6], [line[a:b].strip() for a, b in COLUMNS]):
        try:
            row = [float(word) for word in words[:5]]
        except ValueError:
            continue
        whole = all("." not in word and abs(x) <= LARGEST for word, x in zip(words[:3], row, strict=False))
        if len(row) == 5 and whole and not any(x % 1 for x in row[:3]):
            batch = words[5] if len(words) > 5 else ""
            return [*row, float(batch) if batch.lstrip("-").isdigit() else 1.0]
    return None


def _of_one_crystal(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows are of the first crystal alone, should this be the HKLF 5 of a twin [n].

    There a negative batch says that the next row belongs to the same spot, with the same intensity.
    """
    shared = (table[:-1, 5] < 0) & (table[:-1, 3:5] == table[1:, 3:5]).all(axis=1)
    shared &= (table[:-1, :3] != table[1:, :3]).any(axis=1)
    if not shared.any():
        return np.ones(len(table), dtype=np.bool_)
    overlapped = np.append(shared, False) | np.insert(shared, 0, False)
    alone: NDArray[np.bool_] = (table[:, 5] == 1) & ~overlapped
    return alone


def reflections_of_block(block: Mapping[str, Any], where: str) -> Reflections | None:
    """Reflections that a block of a CIF holds as a loop or as SHELX's text; None if there are none.

    Raises:
        UserError: they are there but cannot be read.
    """
    text = block.get("_shelx_hkl_file", block.get("_iucr_refine_reflections_details"))
    if isinstance(text, str) and len(text.strip()) > 1:
        return parse_hkl(text, f"the reflections in {where}")
    for prefix in ("_refln", "_diffrn_refln"):
        names = [f"{prefix}_index_{axis}" for axis in "hkl"]
        for intensity, sigma in LOOPS:
            if intensity.startswith(f"{prefix}_") and all(n in block for n in (*names, intensity, sigma)):
                try:
                    columns = [np.array(block[n], dtype=np.float64) for n in (*names, intensity, sigma)]
                except (TypeError, ValueError):
                    raise UserError(f"the reflections in {where} are not all numbers") from None
                indices = np.stack(columns[:3], axis=1).astype(np.int64)
                return Reflections(indices, columns[3], columns[4])
    return None
