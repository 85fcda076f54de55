"""The verbs scf and cp2k: what they write and print, and mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import places
import pytest

import orbdens
from orbdens.cli.main import run as run_command
from orbdens.formats.cube import read_cube
from orbdens.formats.structures import read_structures

METHANOL = places.TESTS / "published" / "methanol.xyz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that holds methanol.xyz."""
    (tmp_path / "methanol.xyz").write_text(METHANOL.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_scf_prints_energies_and_writes_orbitals(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["scf", "methanol.xyz", "--grid-level", "0", "--converge"], debug=True) == 0
    printed = " ".join(capsys.readouterr().out.split())
    found = re.search(
        r"methanol.molden CH4O one-shot (\S+) Harris (\S+) converged (\S+) Hartree in (\d+) cycles", printed
    )
    assert found, printed
    shot, harris, converged = map(float, found.groups()[:3])
    assert abs(shot - converged) < 1e-4 and abs(harris - converged) < 1e-3
    assert "[MO]" in (folder / "methanol.molden").read_text()


def test_cp2k_gets_the_density_on_its_grid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["cp2k", "methanol.xyz", "--cell", "7,8,9", "--cutoff", "120"], debug=True) == 0
    structure, grid, values = read_cube(folder / "methanol.cube")
    assert grid.shape == (48, 54, 60)
    np.testing.assert_allclose(grid.steps * np.array(grid.shape)[:, None], np.diag([7.0, 8, 9]), atol=1e-6)
    np.testing.assert_array_equal(grid.origin, 0)
    assert values.sum() * grid.volume_element == pytest.approx(14, abs=2e-3)
    # the molecule lies about the origin: half of it comes in from the other side of the cell
    [alone] = read_structures(folder / "methanol.xyz")
    np.testing.assert_allclose(structure.positions, alone.positions, atol=1e-6)
    points = alone.positions[0] - [[0.5, 0.0, 0.1], [-0.4, 0.3, 0.2]]
    expected = orbdens.load().predict(alone).at(points)
    index = np.rint((points % [7, 8, 9]) @ np.linalg.inv(grid.steps)).astype(int)
    nearest = values[tuple((index % grid.shape).T)]
    np.testing.assert_allclose(nearest, expected, rtol=0.5)
    for use in ("guess", "harris"):
        assert "CUTOFF 120" in (folder / f"methanol.{use}.inp").read_text()
    assert re.search(r"48 x 54 x 60 points, (14\.00|13\.99)\d\d e", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("scf methanol.xyz --functional nonsense", "PySCF cannot calculate CH4O by nonsense in gth-dzvp"),
        ("scf methanol.xyz --basis nonsense", "PySCF cannot calculate CH4O by pbe in nonsense"),
        ("scf methanol.xyz --multiplicity 2", "Electron number 14 and spin 1 are not consistent"),
        ("scf methanol.xyz --out methanol.cube", "these files end in .molden, but --out names methanol.cube"),
        ("scf sodium.xyz", "Na"),
        ("scf crystal.xyz", "H2O is periodic, and this is for molecules"),
        ("cp2k methanol.xyz --cutoff 100", "CH4O has no cell: say in which one"),
        ("cp2k methanol.xyz --cutoff 100 --cell 7,8", "expected 1, 3 or 9 numbers in Å as --cell"),
        ("cp2k methanol.xyz --cutoff -1 --cell 8", "expected a cut-off above 0 Ry"),
        ("cp2k methanol.xyz --cutoff 5000 --cell 50", "more than CP2K's 1024"),
        ("cp2k crystal.xyz --cutoff 100 --cell 8", "is periodic: then in three dimensions, and without --cell"),
        ("cp2k radical.xyz --cutoff 100 --cell 8", "CH3 has multiplicity 2, and CP2K starts from a density of closed"),
    ],
)
def test_mistakes(folder: Path, mistake: object, command: str, sentence: str) -> None:
    (folder / "sodium.xyz").write_text("1\n\nNa 0 0 0\n")
    lattice = 'Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T"'
    (folder / "crystal.xyz").write_text(f"3\n{lattice}\nO 0 0 0\nH 0.76 0 0.59\nH -0.76 0 0.59\n")
    methyl = "C 0 0 0\nH 1.08 0 0\nH -0.54 0.935 0\nH -0.54 -0.935 0\n"
    (folder / "radical.xyz").write_text(f"4\nmultiplicity=2\n{methyl}")
    mistake(command, folder, sentence)  # type: ignore[operator]
