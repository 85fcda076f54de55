"""The verb view: pages and pictures of files, cubes and runs, and mistakes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import ase.io
import numpy as np
import places
import pytest

import orbdens
from orbdens.cli.main import run as run_command
from orbdens.formats.cube import read_cube, write_cube
from orbdens.structure import Structure

METHANOL = places.TESTS / "published" / "methanol.xyz"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with methanol.xyz, gold.xyz, and cubes: good, of water, empty, with its atoms moved."""
    folder = tmp_path_factory.mktemp("view")
    (folder / "methanol.xyz").write_text(METHANOL.read_text())
    (folder / "gold.xyz").write_text("2\n\nAu 0 0 0\nAu 0 0 2.5\n")
    density = orbdens.predict(ase.io.read(METHANOL))
    density.to_cube(folder / "good.cube", spacing=0.4)
    structure, grid, values = read_cube(folder / "good.cube")
    write_cube(folder / "empty.cube", structure, grid, 0 * values)
    away = Structure(structure.numbers, structure.positions + 20)
    write_cube(folder / "moved.cube", away, grid, values)
    other = Structure(np.array([8, 1, 1]), structure.positions[:3])
    write_cube(folder / "water.cube", other, grid, values)
    return folder


def shows(page: Path) -> list[str]:
    found = re.search(r'"shows": \[(.*?)\]', page.read_text())
    assert found
    return re.findall(r'"(\w+)"', found[1])


def test_a_molecule_beside_a_reference_a_cube_and_a_picture(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("methanol.xyz", "good.cube"):
        shutil.copy(files / name, tmp_path)
    folder = tmp_path
    monkeypatch.chdir(folder)
    assert run_command(["view", "methanol.xyz", "--reference", "good.cube", "--show", "difference"], debug=True) == 0
    assert re.search(r"methanol.html   CH4O   expected NMAE 0\.\d+ %", capsys.readouterr().out)
    assert shows(folder / "methanol.html") == ["density", "potential", "deformation", "difference"]
    assert run_command(["view", "good.cube", "--out", "pages"], debug=True) == 0
    assert shows(folder / "pages" / "good.html") == ["density", "deformation"]
    assert "14.00 electrons (valence)" in (folder / "pages" / "good.html").read_text()
    assert run_command(["view", "good.cube", "--png"], debug=True) == 0
    assert (folder / "good.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_is_shown_beside_its_reference(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["view", str(trained), "--out", str(tmp_path / "run.html")], debug=True) == 0
    assert "difference" in shows(tmp_path / "run.html")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("view", "expected structure files, cube or HDF5 files .FILE.*--smiles"),
        ("view organics", "organics goes with structure files"),
        ("view gold.xyz", "the model never saw Au"),
        ("view empty.cube", "empty holds no density: none of its values is above 0"),
        ("view moved.cube", "moved is the grid of another structure: its atom 1"),
        ("view methanol.xyz --reference water.cube", "the reference is of H2O and not of CH4O"),
        ("view methanol.xyz --reference moved.cube", "of another geometry: an atom lies 34.64 Å"),
        ("view good.cube --show potential", "of good there is no potential to show, but density, deformation"),
        ("view good.cube --show difference", "of good there is no difference to show"),
        ("view good.cube --out x.pdf", "expected --out to end in .html or .png, but got x.pdf"),
        ("view good.cube --png --out x.html", "--png asks for a picture, but --out names x.html"),
        ("view good.cube methanol.xyz --out x.html", "2 structures need a folder"),
        ("view methanol.xyz good.cube good.cube", "two input files would both become good.html"),
        ("view good.cube --out empty.cube", "expected --out to end in"),
    ],
)
def test_mistakes(line: str, sentence: str, files: Path, mistake: object) -> None:
    assert callable(mistake)
    mistake(line, files, sentence)
