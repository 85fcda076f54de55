"""The examples run as their first lines say, each in a fresh process, and print what is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import orbdens

FOLDER = Path(orbdens.__file__).parent / "examples"
LONGEST = 40
"""Lines of a file; who wants to read more reads the code."""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, Path]]:
    """Run an example in a folder that all of them share; gives what it printed, and the folder."""
    folder = tmp_path_factory.mktemp("examples")

    def run(name: str) -> tuple[str, Path]:
        command = [sys.executable, "-m", f"orbdens.examples.{name}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parent.parent)}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout, folder

    return run


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_predict_density(example: Callable[[str], tuple[str, Path]]) -> None:
    printed, folder = example("predict_density")
    assert number(r"([\d.]+) valence electrons", printed) == 20
    assert 1.3 < number(r"dipole ([\d.]+) Debye", printed) < 1.8  # PBE near equilibrium: 1.5
    structure, grid, values = orbdens.read_cube(folder / "ethanol.cube")
    assert structure.formula == "C2H6O"
    assert values.sum() * grid.volume_element == pytest.approx(20, abs=1e-3)


def test_along_a_bond(example: Callable[[str], tuple[str, Path]]) -> None:
    printed, _ = example("along_a_bond")
    rows = [[float(word) for word in line.split()] for line in printed.splitlines()[1:-1]]
    assert len(rows) == 13
    distances, values, slopes = ([row[column] for row in rows] for column in range(3))
    # Between two points the slopes integrate to the difference of the values (trapezoid; smooth in the middle).
    for i in range(4, 8):
        step = distances[i + 1] - distances[i]
        assert values[i + 1] - values[i] == pytest.approx((slopes[i] + slopes[i + 1]) / 2 * step, abs=0.02)
    assert "gathers between" in printed


def test_train_a_model_and_compare_with_label(example: Callable[[str], tuple[str, Path]]) -> None:
    printed, folder = example("train_a_model")
    assert (folder / "runs/example/model.safetensors").is_file()
    mean = number(r"NMAE ([\d.]+) %", printed)
    assert 0.05 < mean < 6
    printed, _ = example("compare_with_label")
    assert number(r"NMAE ([\d.]+) %", printed) < 4 * mean
    assert number(r"electrons ([\d.]+)", printed) == pytest.approx(12, abs=1e-3)
    assert number(r"predicted ([\d.]+)\n", printed) == 12
    label, predicted = number(r"oxygen ([\d.]+)", printed), number(r"predicted ([\d.]+) e", printed)
    assert predicted == pytest.approx(label, rel=0.1)


def test_every_example_is_short_and_tested() -> None:
    names = {path.stem for path in FOLDER.glob("[!_]*.py")}
    here = Path(__file__).read_text(encoding="utf-8")
    assert names == set(re.findall(r'example\("(\w+)"\)', here))
    for name in names:
        assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) < LONGEST
