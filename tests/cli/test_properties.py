"""The verbs potential, charges and moments: what they write and print, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import places
import pytest

from orbdens.cli.main import run as run_command
from orbdens.formats.esp import read_esp
from orbdens.observables.potential import potential
from orbdens.prediction import predict

METHANOL = places.TESTS / "published" / "methanol.xyz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that holds methanol.xyz."""
    (tmp_path / "methanol.xyz").write_text(METHANOL.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(line: str) -> None:
    assert run_command(line.split(), debug=True) == 0


def test_potential_on_a_surface_fits_the_charges_that_are_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("potential methanol.xyz --surface vdw --out methanol.esp")
    points, values = read_esp(folder / "methanol.esp")
    import ase.io

    expected = potential(predict(ase.io.read("methanol.xyz")), points)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert "methanol.esp   CH4O   potential from -" in capsys.readouterr().out
    command("charges methanol.xyz --scheme resp --json a.json")
    command("charges methanol.xyz --esp methanol.esp --json b.json")
    first, second = (json.loads((folder / name).read_text())[0]["resp"] for name in ("a.json", "b.json"))
    np.testing.assert_allclose(first["charges"], second["charges"], atol=1e-4)
    assert sum(first["charges"]) == pytest.approx(0, abs=1e-6)
    assert -0.8 < first["charges"][0] < -0.4
    output = capsys.readouterr().out
    assert "RESP" in output
    assert "kcal/mol per e" in output


def test_potential_on_a_grid_and_at_points(folder: Path) -> None:
    command("potential methanol.xyz --grid 1.0 --margin 2")
    text = (folder / "methanol.potential.cube").read_text()
    assert "Hartree/e" in text.splitlines()[1]
    np.save("p.npy", np.array([[0.0, 0.0, 3.0], [4.0, 0, 0]]))
    command("potential methanol.xyz --points p.npy")
    with np.load("methanol.potential.npz") as file:
        assert set(file) == {"numbers", "positions", "points", "potential", "field"}
        assert file["field"].shape == (2, 3)
    command("potential methanol.xyz --surface isodensity --points-per-area 0.3 --force")
    with np.load("methanol.potential.npz") as file:
        assert 50 < file["areas"].sum() < 80


def test_partition_and_moments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("charges methanol.xyz --scheme mbis --scheme hirshfeld --density density.npz --json c.json")
    content = json.loads((folder / "c.json").read_text())[0]
    assert -0.35 < content["hirshfeld"]["charges"][0] < -0.15
    figures = content["mbis"]
    assert sum(figures["charges"]) == pytest.approx(0, abs=1e-3)
    assert np.shape(figures["dipoles"]) == (6, 3)
    with np.load("density.npz") as file:
        assert file["weights"] @ file["density"] == pytest.approx(18, abs=1e-3)
    command("moments methanol.xyz --atoms --json m.json")
    figures = json.loads((folder / "m.json").read_text())[0]
    assert np.linalg.norm(figures["dipole"]) == pytest.approx(0.355, abs=0.02)  # 1.7 Debye
    assert np.sum(figures["atoms"], axis=0)[0] == pytest.approx(0, abs=1e-5)
    assert "octupole" in capsys.readouterr().out


def test_reference_densities_of_a_store(folder: Path) -> None:
    store = places.GOLDEN / "ethanol"
    split = json.loads((store / "manifest.json").read_text())["splits"]
    command(f"charges --store {store} --split {next(iter(split))} --n 1 --scheme resp --json c.json")
    assert len(json.loads((folder / "c.json").read_text())[0]["resp"]["charges"]) == 9


def test_potentials_and_charges_are_evaluated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a frame at 300 K; the organics test split has 0.3 kcal/mol per e and 0.002 e."""
    store = places.GOLDEN / "ethanol"
    split = next(iter(json.loads((store / "manifest.json").read_text())["splits"]))
    command(f"evaluate general {store} --split {split} --n 1 --spacing 0.4 --potential --charges --json e.json")
    errors = json.loads((folder / "e.json").read_text())["errors"]
    assert 0 < errors["potential"][0] < 1.5
    assert 0 < errors["atomic_charges"]["hirshfeld"][0] < 0.01
    assert 0 < errors["atomic_charges"]["mbis"][0] < 0.02
    assert "MBIS charge error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("potential", "expected structure files"),
        ("potential methanol.xyz --store x", "but not both"),
        ("potential methanol.xyz --grid 0.3 --surface vdw", "exclude each other"),
        ("potential methanol.xyz --scale 1.4", "--scale is of --surface vdw"),
        ("potential methanol.xyz --level 0.1", "--level is of --surface isodensity"),
        ("potential methanol.xyz --surface vdw --out m.cube", "ends in .npz or .esp, not"),
        ("potential methanol.xyz --surface vdw --points-per-area -1", "above 0"),
        ("charges methanol.xyz --scheme mulliken", "but not of 'mulliken'"),
        ("charges methanol.xyz --esp methanol.xyz", "line 1|line 2|line 3"),
        ("charges methanol.xyz --esp methanol.xyz --scheme resp", "alone"),
        ("charges --store nowhere", "nowhere"),
        ("moments nothing.xyz", "nothing.xyz"),
    ],
)
def test_mistakes(line: str, sentence: str, folder: Path, mistake: object) -> None:
    assert callable(mistake)
    mistake(line, folder, sentence)
