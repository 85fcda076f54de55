"""Every figure of the card of a general model, from weights and stores, and beside each demand whether it holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.general.measure import (
    Pair,
    Row,
    measure_exam,
    measure_pairs,
    measure_store,
    named_in_general,
    nearest_in_size,
    seconds_to_encode,
)
from benchmarks.general.tables import (
    Calibration,
    Table,
    calibration_table,
    class_tables,
    count_training,
    group_table,
    single_table,
)
from orbdens.checkpoint import find_model, load_model
from orbdens.machine import describe_machine, describe_versions
from orbdens.store import Store

UNDISTORTED = ("minimum", "ion", "cooled conformer")
"""Kinds of the general test split that count as undistorted."""

CALIBRATED = {
    "general test, everything": "general",
    "organics, test": "organics",
    "organics, 9 heavy atoms": "organics_large",
    "closed-shell molecules of G2": "g2",
    "ethylene oxide and ethanol, scaled": "scaled",
}
"""Groups over which the expected error is judged, and their stores; not G2's radicals."""

FRESH = "fresh molecules, pairs and distorted ones"
"""The group whose densities were made after all choices."""

RADICALS = "radicals and triplets of G2"
"""The group of open shells."""

ATOMS_TIMED, THREADS_TIMED = 20, 2
"""Of the molecule whose encoding is timed."""


@dataclass(frozen=True)
class Demand:
    """Something that must hold.

    Attributes:
        what: in words.
        value: what was found.
        bound: largest allowed value; smallest if ``at_least``.
        unit: of both.
    """

    what: str
    value: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        return [self.what, f"{self.value:.3g} {self.unit}", f"{sign} {self.bound:g} {self.unit}", _word(self.holds)]


def _word(holds: bool) -> str:
    return "holds" if holds else "**fails**"


def card(
    model: str | Path,
    general: Path,
    organics: Path,
    large: Path,
    exam: Path,
    training: Sequence[Path] = (),
    json_file: Path | None = None,
    split: str = "train",
) -> str:
    """Measure a model on everything, and return its tables as Markdown.

    Args:
        model: model.safetensors, its folder, or the name of weights that ship.
        general: the store whose split ``test`` has the sources of ``benchmarks/data/general_test.csv``.
        organics: the store of small organic molecules, split ``test``.
        large: that of 9 heavy atoms, split ``test``.
        exam: folder of ``make``.
        training: stores that the model was trained on, for the numbers of training structures in the tables.
        json_file: file for all rows and figures.
        split: of the training stores.
    """
    file = find_model(model)
    network = load_model(file)
    stores = {"general": Store(general), "organics": Store(organics), "organics_large": Store(large)}
    rows: list[Row] = []
    for name, store in stores.items():
        named = named_in_general(store) if name == "general" else {key: ("", key) for key in store.keys("test")}
        rows += measure_store(network, store, name, named)
    rows += measure_exam(network, exam)
    pairs = list(measure_pairs(network))
    timed = nearest_in_size(stores["general"], stores["general"].keys("test"), ATOMS_TIMED)
    seconds = seconds_to_encode(network, timed, THREADS_TIMED)
    megabytes = file.stat().st_size / 1e6
    found = [*demands(rows, pairs), Demand(f"{timed.n_atoms} atoms encoded, 2 threads", seconds, 0.05, "s")]
    found.append(Demand("weights", megabytes, 20, "MB"))
    trained = count_training([Store(path) for path in training], split) if training else {}
    if json_file is not None:
        tree = {
            "machine": describe_machine() | describe_versions("torch", "numba", "pyscf"),
            "demands": [asdict(demand) | {"holds": demand.holds} for demand in found],
            "seconds_to_encode": seconds,
            "megabytes": megabytes,
            "pairs": [asdict(pair) for pair in pairs],
            "trained": trained,
            "rows": [{name: _rounded(value) for name, value in asdict(row).items()} for row in rows],
        }
        json_file.write_text(json.dumps(tree) + "\n", encoding="utf-8")
    return "\n".join(table.markdown() for table in tables(rows, pairs, found, trained))


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def tables(
    rows: Sequence[Row], pairs: Sequence[Pair], found: Sequence[Demand], trained: Mapping[str, Counter[str]]
) -> Iterator[Table]:
    """All tables of the card in their order."""
    by_name = groups(rows)
    calibrated = {name: by_name[name] for name in CALIBRATED}
    yield Table("### Demands", ["", "found", "demanded", ""], [demand.line() for demand in found])
    yield group_table(by_name)
    yield calibration_table(
        {"all of these": list(chain(*calibrated.values())), **calibrated}
        | {name: by_name[name] for name in (FRESH, RADICALS)}
    )
    for title, store in (
        ("### Tried first", "first"),
        ("### Stretched and pressed", "scaled"),
        ("### Drugs", "drugs"),
    ):
        yield single_table(title, [row for row in rows if row.store == store])
    yield single_table(
        "### The twenty worst, radicals apart",
        sorted((row for row in rows if row.multiplicity == 1), key=lambda row: -row.nmae)[:20],
    )
    lines = [
        [f"{p.name}, {p.distance:g} Å", f"{p.dipole:.4f}", f"{p.expected:.3f}", f"{p.expected_parts:.3f}"]
        for p in pairs
    ]
    columns = ["", "dipole of the pair less those of the parts [Debye]", "expected NMAE [%]", "of the parts [%]"]
    yield Table("### Molecules far apart", columns, lines)
    yield from class_tables([row for row in rows if row.multiplicity == 1], trained)


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what the card calls them; a row may be in several groups."""

    def some(store: str, *kinds: str, where: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        return [row for row in rows if row.store == store and (not kinds or row.kind in kinds) and where(row)]

    return {
        "general test, undistorted, neutral": some("general", *UNDISTORTED, where=lambda row: row.charge == 0),
        "· minima of GFN2-xTB": some("general", "minimum"),
        "· cooled conformers": some("general", "cooled conformer", where=lambda row: row.charge == 0),
        "general test, undistorted, ions": some("general", *UNDISTORTED, where=lambda row: row.charge != 0),
        "general test, dimers": some("general", "dimer"),
        "general test, distorted": some("general", "hot conformer", "distorted"),
        "· conformers of hot dynamics": some("general", "hot conformer"),
        "· scaled and rattled": some("general", "distorted"),
        "general test, everything": some("general"),
        "organics, test": some("organics"),
        "organics, 9 heavy atoms": some("organics_large"),
        "closed-shell molecules of G2": some("g2"),
        "· the 28 left out of training": some("g2", "left out"),
        "ethylene oxide and ethanol, scaled": some("scaled"),
        "drugs": some("drugs"),
        FRESH: some("fresh"),
        "· neutral minima": some("fresh", "minimum", where=lambda row: row.charge == 0),
        "· minima of ions": some("fresh", "minimum", where=lambda row: row.charge != 0),
        "· distorted": some("fresh", "distorted"),
        "· pairs": some("fresh", "pair"),
        RADICALS: some("radicals"),
    }


def demands(rows: Sequence[Row], pairs: Sequence[Pair]) -> Iterator[Demand]:
    """The demands on errors for which there are rows."""
    by_name = groups(rows)
    for group, figure, name, bound, unit in (
        ("general test, undistorted, neutral", "nmae", "mean", 0.40, "%"),
        ("general test, undistorted, neutral", "nmae", "median", 0.28, "%"),
        ("general test, undistorted, neutral", "dipole", "mean", 0.10, "Debye"),
        ("general test, undistorted, ions", "nmae", "mean", 0.90, "%"),
        ("general test, everything", "nmae", "mean", 0.80, "%"),
        ("organics, test", "nmae", "mean", 0.18, "%"),
        ("organics, 9 heavy atoms", "nmae", "mean", 0.28, "%"),
        ("closed-shell molecules of G2", "nmae", "median", 0.40, "%"),
        ("closed-shell molecules of G2", "nmae", "mean", 0.80, "%"),
        ("· the 28 left out of training", "nmae", "mean", 2.0, "%"),
    ):
        errors = [getattr(row, figure) for row in by_name[group]]
        if errors:
            value = float(np.mean(errors) if name == "mean" else np.median(errors))
            what = {"nmae": "NMAE", "dipole": "dipole error"}[figure]
            yield Demand(f"{group.removeprefix('· ')}: {name} {what}", value, bound, unit)
    for store, named, bound in (
        ("first", "caffeine, MMFF94", 0.30),
        ("first", "aspirin, MMFF94", 0.30),
        ("first", "acetate, MMFF94", 0.80),
        ("first", "acetate, GFN2-xTB", 0.80),
        ("scaled", "ethylene oxide x 0.95", 0.50),
        ("scaled", "ethylene oxide x 1.05", 0.50),
        ("scaled", "ethylene oxide, C-H 0.97 Å", 0.60),
    ):
        yield from (
            Demand(f"{named}: NMAE", row.nmae, bound, "%") for row in rows if (row.store, row.name) == (store, named)
        )
    unflagged = sum(row.nmae > 5 and not row.flagged for row in rows if row.store == "g2")
    yield Demand("closed-shell molecules of G2 above 5 % without a flag", unflagged, 0, "molecules")
    if radicals := by_name[RADICALS]:
        share = 100 * sum(row.flagged for row in radicals) / len(radicals)
        yield Demand(f"{RADICALS} flagged", share, 100, "%", at_least=True)
    calibration = Calibration.of([row for row in rows if row.store in CALIBRATED.values()])
    yield Demand("true error within a factor of 3 of the expected", calibration.within, 90, "%", at_least=True)
    yield Demand("of those above 2 % flagged", calibration.large_flagged, 100, "%", at_least=True)
    yield Demand("of those below 0.5 % flagged", calibration.small_flagged, 10, "%")
    yield Demand("rank correlation of expected and true error", calibration.correlation, 0.8, "", at_least=True)
    yield Demand("molecules far apart: dipole too much", max(pair.dipole for pair in pairs), 0.02, "Debye")
    off = max(abs(pair.expected / pair.expected_parts - 1) for pair in pairs)
    yield Demand("molecules far apart: expected NMAE off that of the parts", 100 * off, 1, "%")
