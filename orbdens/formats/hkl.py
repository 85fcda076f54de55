"""Measured reflections: SHELX's format HKLF 4, and the loops of CIF and fcf files that hold the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError

COLUMNS = ((0, 4), (4, 8), (8, 12), (12, 20), (20, 28))
"""Of h, k, l, F² and its uncertainty: 3I4, 2F8.2, as Fortran counts."""

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
        row = _row(line)
        if row is None:
            if rows and "." not in line:  # what SHELX writes after the reflections, where 0 0 0 was left out
                break
            raise UserError(
                f"{where}, line {number}: expected h, k, l, F² and its uncertainty as SHELX writes them (HKLF 4: 3I4, "
                f"2F8.2), but got '{line.strip()[:40]}'"
            )
        if row[:3] == [0, 0, 0]:
            break
        rows.append(row)
    if not rows:
        raise UserError(f"{where} holds no reflections")
    table = np.array(rows)
    return Reflections(table[:, :3].astype(np.int64), table[:, 3], table[:, 4])


def _row(line: str) -> list[float] | None:
    """Numbers of a line in the fixed columns, or in words where the columns do not hold such; None if neither does."""
    for words in ([line[a:b].strip() for a, b in COLUMNS], line.split()[:5]):
        try:
            row = [float(word) for word in words]
        except ValueError:
            continue
        if len(row) == 5 and not any(x % 1 for x in row[:3]) and all("." not in word for word in words[:3]):
            return row
    return None


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
