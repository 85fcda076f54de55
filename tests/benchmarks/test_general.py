"""The exam of the general model: its structures, its figures by hand, and the whole way from frames to the card."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import places
import pytest
from ase.build import molecule

from benchmarks.general import card, make, measure, structures
from benchmarks.general.__main__ import put_between_marks
from benchmarks.general.measure import Row, kind_of
from benchmarks.general.tables import Calibration, class_tables, count_training
from data_tools.generation.variants import read_smiles, skeleton
from orbdens import shipped
from orbdens.store import Store
from orbdens.units import DEBYE

ROW = Row("g2", "", "H2", ["H"], ["H-H"], 0, 0, 1, nmae=1.0, expected=1.0, dipole=0.1, flagged=False)


LEVEL = {
    "method": "RKS",
    "xc": "pbe",
    "basis": "gth-dzvp",
    "pseudo": "gth-pbe",
    "auxbasis": "def2-universal-jfit",
    "grid_level": 1,
    "scf_tolerance": 1e-9,
    "max_cycle": 50,
}
"""That of ``general.store``."""


def test_g2_has_its_102_molecules_and_28_that_stay_out() -> None:
    names = [name for name, _ in structures.small_molecules()]
    assert len(names) == len(set(names)) == 102
    assert set(names) >= structures.LEFT_OUT and len(structures.LEFT_OUT) == 28
    for _, atoms in [*structures.small_molecules(), *structures.open_shells()]:
        assert (atoms.numbers.sum() - atoms.info["multiplicity"]) % 2 == 1


def test_scaled_molecules_are_what_their_names_say() -> None:
    named = dict(structures.scaled())
    stretched = named["ethylene oxide x 1.05"].get_all_distances() / molecule("CH2OCH2").get_all_distances().clip(1e-9)
    np.testing.assert_allclose(stretched[~np.eye(7, dtype=bool)], 1.05)
    distances = named["ethylene oxide, C-H 0.97 Å"].get_all_distances()
    carbons, hydrogens = (np.flatnonzero(molecule("CH2OCH2").numbers == z) for z in (6, 1))
    np.testing.assert_allclose(distances[np.ix_(hydrogens, carbons)].min(axis=1), 0.97)
    heavy = np.ix_([0, 1, 2], [0, 1, 2])
    np.testing.assert_allclose(distances[heavy], molecule("CH2OCH2").get_all_distances()[heavy])


def test_no_fresh_molecule_was_trained_on() -> None:
    pytest.importorskip("rdkit")
    fresh = {skeleton(smiles) for smiles in read_smiles(structures.FRESH)}
    assert len(fresh) > 80
    for trained in ("general/molecules.smi", "organics/variants.smi"):
        assert not fresh & {skeleton(smiles) for smiles in read_smiles(shipped.HOME / trained)}


def test_fresh_molecules_come_as_minima_distorted_and_in_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    monkeypatch.setattr(structures, "FRESH", tmp_path / "fresh.smi")
    (tmp_path / "fresh.smi").write_text("# a comment\nC methane\nN\n[NH4+] ammonium\nC[O-]\n")
    found = list(structures.fresh())
    assert [(name, atoms.info["kind"]) for name, atoms in found[:6]] == [
        ("methane", "minimum"),
        ("N", "minimum"),
        ("ammonium", "minimum"),
        ("C[O-]", "minimum"),
        ("methane, distorted", "distorted"),
        ("ammonium, distorted", "distorted"),
    ]
    assert found[5][1].info["charge"] == 1
    np.testing.assert_array_equal(found[4][1].numbers, found[0][1].numbers)
    assert np.abs(found[4][1].get_all_distances() - found[0][1].get_all_distances()).max() > 0.01
    assert [atoms.info["kind"] for _, atoms in found[6:]] == ["pair"] * structures.N_PAIRS


def test_ions_keep_charges_and_drugs_their_size() -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    named = dict(structures.tried_first())
    states = {name: (atoms.info["charge"], atoms.info["multiplicity"]) for name, atoms in named.items()}
    assert states["acetate, GFN2-xTB"] == states["acetate, MMFF94"] == (-1, 1)
    assert states["methyl radical, GFN2-xTB"] == (0, 2)
    assert states["ammonium, MMFF94"] == (1, 1)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("freesolv", "minimum"),
        ("ion", "ion"),
        ("dimer", "dimer"),
        ("distorted", "distorted"),
        ("organics-distorted", "distorted"),
        ("des-0", "hot conformer"),
        ("des-24", "hot conformer"),
        ("des-25", "cooled conformer"),
    ],
)
def test_kinds_of_sources(source: str, kind: str) -> None:
    assert kind_of(source) == kind


def test_every_kind_is_in_a_group() -> None:
    with measure.SOURCES.open() as file:
        kinds = Counter(kind_of(row["source"]) for row in csv.DictReader(file))
    assert kinds.total() == 156
    rows = [replace(ROW, store="general", kind=kind) for kind, n in kinds.items() for _ in range(n)]
    found = {name: len(some) for name, some in card.groups(rows).items() if name.startswith("general")}
    parts = ("undistorted, neutral", "undistorted, ions", "dimers", "distorted")
    assert sum(found[f"general test, {part}"] for part in parts) == found["general test, everything"] == 156


def test_calibration_by_hand() -> None:
    rows = [
        replace(ROW, nmae=3.1, expected=1.0, flagged=True),
        replace(ROW, nmae=2.9, expected=1.0, flagged=False),
        replace(ROW, nmae=0.4, expected=1.3, flagged=True),
        replace(ROW, nmae=0.3, expected=0.2, flagged=False),
        replace(ROW, nmae=0.2, expected=0.1, flagged=False),
    ]
    found = Calibration.of(rows)
    assert (found.within, found.large_flagged) == (pytest.approx(60), pytest.approx(50))
    assert found.small_flagged == pytest.approx(100 / 3)
    assert 0 < found.correlation < 1
    assert Calibration.of(rows[3:]).line()[2] == "–"


def test_demands_hold_or_fail() -> None:
    far = measure.Pair("CH4 + H2O", 10.0, dipole=0.03, expected=1.0, expected_parts=1.0)
    rows = [replace(ROW, nmae=nmae, expected=nmae) for nmae in (0.1, 0.3, 6.0)]
    holds = {demand.what: demand.holds for demand in card.demands(rows, [far])}
    assert holds["closed-shell molecules of G2: median NMAE"]
    assert not holds["closed-shell molecules of G2: mean NMAE"]
    assert not holds["closed-shell molecules of G2 above 5 % without a flag"]
    assert not holds["molecules far apart: dipole too much"]
    assert holds["molecules far apart: expected NMAE off that of the parts"]
    flagged = [replace(row, flagged=True) for row in rows]
    holds = {demand.what: demand.holds for demand in card.demands(flagged, [far])}
    assert holds["closed-shell molecules of G2 above 5 % without a flag"]
    assert not holds["of those below 0.5 % flagged"]


def test_classes_count_training_and_errors() -> None:
    store = Store(places.GOLDEN / "ethanol_v2")
    trained = count_training([store], "test")
    n = len(store.keys("test"))
    assert trained["element"] == {"C": n, "H": n, "O": n}
    assert trained["bond"] == {"C-C": n, "C-O": n, "H-C": n, "H-O": n}
    assert (trained["charge"], trained["heavy atoms"]) == ({"0": n}, {"3 to 4": n})
    elements, bonds, charges, sizes = class_tables([ROW, replace(ROW, charge=-1, heavy=12)], trained)
    assert [line[:3] for line in bonds.rows if line[0] == "H-H"] == [["H-H", "0", "2"]]
    assert [line[:3] for line in elements.rows if line[0] in ("C", "H")] == [["H", str(n), "2"], ["C", str(n), "0"]]
    assert [line[0] for line in charges.rows] == ["-1", "0"]
    assert [line[0] for line in sizes.rows] == ["1 to 2", "3 to 4", "11 to 16"]


def test_from_frames_to_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exam, golden = tmp_path / "exam", places.GOLDEN / "ethanol_v2"
    silane, hydrogen = molecule("SiH4"), molecule("H2")
    monkeypatch.setitem(make.GROUPS, "g2", lambda: iter([("silane", silane), ("O3", hydrogen)]))
    make.make(exam, ["g2"])
    frames = (exam / "g2.xyz").read_text()
    make.make(exam, ["g2"])  # which goes on, and finds that there is nothing to do
    assert (exam / "g2.xyz").read_text() == frames
    assert Store(exam / "g2.store").manifest.level.items() >= LEVEL.items()

    keys = Store(golden).keys("test")
    monkeypatch.setattr(measure, "SOURCES", tmp_path / "sources.csv")
    (tmp_path / "sources.csv").write_text("\n".join(["key,source", *(f"{key},distorted" for key in keys)]))
    text = card.card("general", golden, golden, golden, exam, [golden], tmp_path / "card.json", "test")
    assert "g2: 1 of 2 structures hold elements that the model never saw" in capsys.readouterr().out
    rows = json.loads((tmp_path / "card.json").read_text())["rows"]
    (hydrogen_row,) = (row for row in rows if row["store"] == "g2")
    assert (hydrogen_row["name"], hydrogen_row["kind"]) == ("O3", "left out")
    assert hydrogen_row["flagged"] and 0.1 < hydrogen_row["nmae"] < 5
    assert "| general test, distorted |" in text and "| organics, test: mean NMAE |" in text
    assert "| C-O |" in text and "| CH4 + H2O, 40 Å |" in text


class Neighbourly:
    """Densities that add up, but that company adds 1 Debye; of a carbon atom 2 % is expected, of any other 1 %."""

    def predict(self, molecules: list[Any]) -> list[SimpleNamespace]:
        first = len(molecules[0])
        return [
            SimpleNamespace(
                dipole=-atoms.positions.sum(axis=0) + (np.array([DEBYE, 0, 0]) if len(atoms) == first else 0),
                expected_error=float(np.mean(1 + (atoms.numbers == 6))),
                n_electrons=len(atoms),
            )
            for atoms in molecules
        ]


def test_figures_go_between_their_marks() -> None:
    before = "# Card\n\n<!-- figures -->\nold\n<!-- end of figures -->\n\nLimits\n"
    once = put_between_marks(before, "| a |\n")
    assert once == "# Card\n\n<!-- figures -->\n\n| a |\n\n<!-- end of figures -->\n\nLimits\n"
    assert put_between_marks(once, "| a |\n") == once


def test_pairs_of_far_molecules() -> None:
    model: Any = Neighbourly()
    pairs = list(measure.measure_pairs(model))
    assert {(pair.name, pair.distance) for pair in pairs} == {
        (name, distance) for name, *_ in structures.far_pairs() for distance in (10.0, 20.0, 40.0)
    }
    for pair in pairs:
        assert pair.dipole == pytest.approx(1.0)
        assert pair.expected_parts == pytest.approx(pair.expected)
