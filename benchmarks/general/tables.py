"""What the rows come down to: tables of groups, and how well the expected error tells the true one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from scipy.stats import spearmanr

from benchmarks.general.measure import Row, bonds_of, elements_of, heavy_atoms
from orbdens.metrics import Summary
from orbdens.store import Store

FACTOR = 3.0
"""A true error is foreseen if it lies within this factor of the expected one."""

LARGE, SMALL = 2.0, 0.5
"""NMAE in %: predictions worse than the first should be flagged, and those better than the second should not."""

SIZES = ((1, 2), (3, 4), (5, 7), (8, 10), (11, 16), (17, 99))
"""Classes of heavy atoms, both ends included."""


@dataclass(frozen=True)
class Table:
    """Texts in rows, as Markdown shows them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return f"{self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


ERRORS = ("structures", "NMAE mean / median / 95th / max [%]", "dipole mean / median [Debye]", "expected, median [%]")
"""Columns of ``errors``."""


def errors(rows: Sequence[Row]) -> list[str]:
    """The columns ``ERRORS`` of some rows, and how many of them were flagged."""
    if not rows:
        return ["0", "", "", "", ""]
    nmae, dipole = Summary.of([row.nmae for row in rows]), Summary.of([row.dipole for row in rows])
    expected = np.median([row.expected for row in rows])
    return [
        str(len(rows)),
        f"{nmae.mean:.2f} / {nmae.median:.2f} / {nmae.p95:.2f} / {nmae.max:.2f}",
        f"{dipole.mean:.3f} / {dipole.median:.3f}",
        f"{expected:.2f}",
        str(sum(row.flagged for row in rows)),
    ]


def group_table(groups: Mapping[str, Sequence[Row]]) -> Table:
    """A line for each group."""
    lines = [[name, *errors(rows)] for name, rows in groups.items()]
    return Table("### Errors by group", ["", *ERRORS, "flagged"], lines)


def single_table(title: str, rows: Sequence[Row]) -> Table:
    """A line for each structure."""
    lines = [
        [
            row.name,
            f"{row.charge:+d}" if row.charge else "0",
            str(row.heavy),
            f"{row.nmae:.2f}",
            f"{row.expected:.2f}",
            f"{row.dipole:.3f}",
            "yes" if row.flagged else "",
        ]
        for row in rows
    ]
    return Table(
        title, ["", "charge", "heavy atoms", "NMAE [%]", "expected [%]", "dipole error [Debye]", "flagged"], lines
    )


@dataclass(frozen=True)
class Calibration:
    """How well expected errors tell true ones.

    Attributes:
        structures: how many.
        within: share whose true error is within ``FACTOR`` of the expected one, %.
        large_flagged: share of those worse than ``LARGE`` that are flagged, %; NaN where there are none.
        small_flagged: share of those better than ``SMALL`` that are flagged, %; likewise.
        correlation: Spearman's, of true and expected errors.
    """

    structures: int
    within: float
    large_flagged: float
    small_flagged: float
    correlation: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Calibration:
        true, expected = (np.array([getattr(row, name) for row in rows]) for name in ("nmae", "expected"))
        flagged = np.array([row.flagged for row in rows])
        ratio = np.abs(np.log(true / expected))

        def share(which: np.ndarray) -> float:
            return 100 * float(which.mean()) if len(which) else nan

        return cls(
            structures=len(rows),
            within=share(ratio <= np.log(FACTOR)),
            large_flagged=share(flagged[true > LARGE]),
            small_flagged=share(flagged[true < SMALL]),
            correlation=float(spearmanr(true, expected).statistic),
        )

    def line(self) -> list[str]:
        """Number, and all shares and the correlation as text."""
        shares = (self.within, self.large_flagged, self.small_flagged)
        return [
            str(self.structures),
            *("–" if isnan(share) else f"{share:.0f} %" for share in shares),
            f"{self.correlation:.2f}",
        ]


def calibration_table(groups: Mapping[str, Sequence[Row]]) -> Table:
    """A line for each group of three structures or more."""
    lines = [[name, *Calibration.of(rows).line()] for name, rows in groups.items() if len(rows) > 2]
    columns = [
        "",
        "structures",
        f"true within {FACTOR:g} x expected",
        f"of those above {LARGE:g} % flagged",
        f"of those below {SMALL:g} % flagged",
        "rank correlation",
    ]
    return Table("### Calibration of the expected error", columns, lines)


Classes = Callable[[list[str], list[str], int, int], Iterable[str]]
"""From elements, bonds, charge and number of heavy atoms to the classes that a structure belongs to."""

CLASSES: dict[str, Classes] = {
    "element": lambda elements, bonds, charge, heavy: elements,
    "bond": lambda elements, bonds, charge, heavy: bonds,
    "charge": lambda elements, bonds, charge, heavy: [f"{charge:+d}" if charge else "0"],
    "heavy atoms": lambda elements, bonds, charge, heavy: [
        f"{low} to {high}" if high < 99 else f"{low} or more" for low, high in SIZES if low <= max(heavy, 1) <= high
    ],
}
"""What tables of classes are made by."""


def class_tables(rows: Sequence[Row], trained: Mapping[str, Counter[str]]) -> list[Table]:
    """For elements, bonds, charges and sizes: how much the model was trained on, and the errors of structures with it.

    Args:
        rows: measured.
        trained: numbers of training structures by the names of ``CLASSES``; may be empty.
    """
    tables = []
    for name, classes in CLASSES.items():
        counts = trained.get(name, Counter())
        found: dict[str, list[Row]] = {one: [] for one in sorted(counts)}
        for row in rows:
            for one in classes(row.elements, row.bonds, row.charge, row.heavy):
                found.setdefault(one, []).append(row)
        order = sorted(found, key=lambda one: (_number(one), -counts[one], -len(found[one]), one))
        lines = [[one, *([str(counts[one])] if trained else []), *errors(found[one])] for one in order]
        columns = [name, *(["in training"] if trained else []), *ERRORS, "flagged"]
        tables.append(Table(f"### By {name}", columns, lines))
    return tables


def _number(name: str) -> int:
    first = name.split()[0]
    return int(first) if first.lstrip("+-").isdigit() else 0


def count_training(stores: Sequence[Store], split: str) -> dict[str, Counter[str]]:
    """How many training structures are in each of ``CLASSES``."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in CLASSES}
    for store in stores:
        for key in store.keys(split):
            s = store.structure(key)
            for name, classes in CLASSES.items():
                counts[name].update(classes(elements_of(s), bonds_of(s), s.charge, heavy_atoms(s)))
    return counts
