"""The verb topology: what it prints and writes, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import places
import pytest

from orbdens.cli.main import run as run_command
from orbdens.formats.cube import read_cube

METHANOL = places.TESTS / "published" / "methanol.xyz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that holds methanol.xyz, and gold.xyz of an element that no model knows."""
    (tmp_path / "methanol.xyz").write_text(METHANOL.read_text())
    (tmp_path / "gold.xyz").write_text("2\n\nAu 0 0 0\nAu 0 0 2.5\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_topology_prints_and_writes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "topology methanol.xyz --json t.json --nci --grid 0.5 --out cubes"
    assert run_command(line.split(), debug=True) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "6 nuclear, 5 bond, 0 ring, 0 cage; maxima − bonds + rings − cages = 1, as it must be" in output
    (found,) = json.loads((folder / "t.json").read_text())
    assert found["counts"] == {"nuclear": 6, "bond": 5, "ring": 0, "cage": 0}
    assert found["poincare_hopf"] == 1
    bonds = [point for point in found["critical_points"] if point["kind"] == "bond"]
    names = {"".join(sorted(found["elements"][atom] for atom in bond["atoms"])) for bond in bonds}
    assert names == {"CH", "CO", "HO"}
    assert all(bond["laplacian"] == pytest.approx(sum(bond["eigenvalues"])) for bond in bonds)
    for name in ("methanol-dens.cube", "methanol-grad.cube"):
        assert read_cube(folder / "cubes" / name)[0].formula == "CH4O"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("topology", "expected structure files"),
        ("topology methanol.xyz --grid 0.2", "--grid and --out are of the cubes that --nci asks for"),
        ("topology gold.xyz --json t.json --nci", "the model never saw Au"),
        ("topology nothing.xyz", "there is no file nothing.xyz"),
        ("topology methanol.xyz --json gold.xyz", "gold.xyz exists; --force"),
    ],
)
def test_mistakes(line: str, sentence: str, folder: Path, mistake: object) -> None:
    assert callable(mistake)
    mistake(line, folder, sentence)
