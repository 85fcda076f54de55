"""SMILES in, densities and the geometry that was used out."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

from orbdens.cli.main import run as run_command
from orbdens.formats.cube import read_cube

pytest.importorskip("rdkit")


def test_predict_writes_the_density_and_its_geometry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["predict", "--smiles", "CCO", "--smiles", "COC", "--smiles", "[NH4+]", "--grid", "0.8"]
    assert run_command(line, debug=True) == 0
    assert "charge +1, multiplicity 1   geometry H4N.xyz" in capsys.readouterr().out
    for name, smiles in (("C2H6O-1", "CCO"), ("C2H6O-2", "COC"), ("H4N", "[NH4+]")):
        frame = ase.io.read(f"{name}.xyz")
        structure, _, _ = read_cube(tmp_path / f"{name}.cube")
        np.testing.assert_allclose(frame.positions, structure.positions, atol=1e-6)
        assert frame.info["smiles"] == smiles
    assert ase.io.read("H4N.xyz").info["charge"] == 1
    assert run_command(["predict", "--smiles", "F", "--grid", "0.8", "-o", "acid.cube"], debug=True) == 0
    assert ase.io.read("acid.xyz").info["smiles"] == "F"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("predict", "expected structure files .FILE...., or a SMILES .--smiles."),
        ("predict CCO", "there is no file CCO, nor a model of that name; a SMILES goes with --smiles"),
        ("predict nowhere --smiles CCO", "there is no file nowhere, nor a model of that name"),
        ("predict --smiles CC(", "'CC.' is no SMILES"),
        ("predict --smiles [Au]", "the model never saw Au"),
        ("predict --smiles CCO -o old.cube", "old.xyz exists; --force replaces it"),
        ("predict old.xyz --smiles CCO -o x.cube", "2 structures need a folder to go to"),
    ],
)
def test_mistakes(line: str, sentence: str, tmp_path: Path, mistake: object) -> None:
    (tmp_path / "old.xyz").write_text("2\n\nH 0 0 0\nF 0 0 0.92\n")
    assert callable(mistake)
    mistake(line, tmp_path, sentence)


def test_without_rdkit_it_says_what_to_install(
    tmp_path: Path, mistake: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    assert callable(mistake)
    mistake("predict --smiles CCO", tmp_path, r"to read a SMILES takes RDKit: pip install 'orbdens\[geometries\]'")
