"""The model that ships: found without being named, small, good, and aware of what it does not know."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import places
import pytest
from ase.build import molecule as build

import orbdens as package
from orbdens.checkpoint import find_model, read_header
from orbdens.evaluation.measure import training_minutes
from orbdens.grid import Grid
from orbdens.labels import label_density
from orbdens.metrics import nmae
from orbdens.store import Store

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
GOLDEN = places.GOLDEN / "ethanol"


def test_the_file_is_small_and_says_where_it_is_from() -> None:
    file = find_model(Path("organics"))
    assert file.stat().st_size < 10e6
    assert (file.parent / "MODEL_CARD.md").is_file()
    _, facts, training = read_header(file)
    assert set(facts["valence_electrons"]) == {"H", "C", "N", "O", "F"}
    assert training["start"]["store"] == "organics.store"
    assert training_minutes(training) == training["minutes"] + training["start"]["minutes"]


def test_predict_needs_no_model(orbdens: CommandLine, tmp_path: Path) -> None:
    build("CH3CH2OH").write(tmp_path / "ethanol.xyz")
    begun = time.perf_counter()
    done = orbdens("predict", "ethanol.xyz", cwd=tmp_path)
    assert time.perf_counter() - begun < 30  # 10 s where nothing else runs
    assert done.returncode == 0, done.stderr
    assert "20.0000 electrons   expected NMAE" in done.stdout
    assert (tmp_path / "ethanol.cube").is_file()


def test_it_reaches_its_figures_on_ethanol_at_300_kelvin() -> None:
    """All of its training structures are minima, and these are not."""
    model, store = package.load(), Store(GOLDEN)
    for key in store.keys()[:2]:
        record = store[key]
        grid = Grid.around(record.structure, 0.25, 4.0)
        field = model.predict(record.structure)
        assert nmae(field.on(grid), label_density(record, store.manifest).on(grid)) < 1.5
        assert abs(field.n_electrons - 20) < 1e-4


def test_it_warns_of_strange_surroundings_and_refuses_strange_elements(orbdens: CommandLine, tmp_path: Path) -> None:
    crushed = build("CH3CH2OH")
    crushed.positions *= 0.75
    crushed.write(tmp_path / "crushed.xyz")
    done = orbdens("predict", "crushed.xyz", cwd=tmp_path)
    assert done.returncode == 0
    assert "never saw surroundings like those of" in done.stderr and "H4" in done.stderr
    build("SiH4").write(tmp_path / "silane.xyz")
    done = orbdens("predict", "silane.xyz", cwd=tmp_path)
    assert done.returncode == 2
    assert "never saw Si; it knows C, F, H, N, O" in done.stderr


def test_a_molecule_is_predicted_within_a_moment() -> None:
    model = package.load()
    glucose_size = build("C6H6")
    model.predict(glucose_size)
    begun = time.perf_counter()
    model.predict(glucose_size)
    assert time.perf_counter() - begun < 3  # 0.3 s for 20 atoms where nothing else runs
    assert np.isfinite(model.predict(glucose_size).dipole).all()


@pytest.mark.parametrize("name", ["organics", "organics/"])
def test_a_folder_of_that_name_comes_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "organics").mkdir()
    with pytest.raises(package.UserError, match="no model at organics"):
        find_model(Path(name))
