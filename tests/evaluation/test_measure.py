"""What ``evaluate`` makes of a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from all_electron import all_electron_store

from orbdens import shipped
from orbdens.checkpoint import load_model
from orbdens.config import parse_config
from orbdens.evaluation.measure import evaluate
from orbdens.evaluation.result import Evaluation
from orbdens.evaluation.tables import comparison_table, evaluation_table
from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.store import GridRecord, Manifest, Store, StoreWriter
from orbdens.structure import Structure
from orbdens.training.run import train


@pytest.fixture
def crystal(tmp_path: Path) -> Path:
    """A store of one periodic grid record, with a dipole that some program gave it."""
    cell = np.array([[4.0, 0.0, 0.0], [0.6, 4.2, 0.0], [0.0, 0.3, 4.4]])
    structure = Structure(np.array([8, 3, 3]), np.array([[2, 2, 2], [0.5, 1.0, 2.0], [3.5, 3, 2]]), cell, (True,) * 3)
    grid = Grid.around(structure, 0.3, 0.0)
    values = np.full(grid.shape, 12 / (grid.n_points * grid.volume_element), dtype=np.float32)
    record = GridRecord(structure, grid.origin, grid.steps, values, dipole=np.array([0.1, 0.2, 0.3]))
    manifest = Manifest(level={}, density="valence", valence_electrons={"Li": 3, "O": 6})
    with StoreWriter(tmp_path / "crystal.store", manifest) as writer:
        writer.put("only", record)
        writer.finish({"test": ["only"]})
    return tmp_path / "crystal.store"


def test_crystals_are_measured_on_their_grids_and_have_no_dipole(trained: Path, crystal: Path, tmp_path: Path) -> None:
    evaluation = evaluate(trained, crystal)
    assert evaluation.errors.dipole == [None]
    assert (evaluation.measured_on.spacing, evaluation.measured_on.margin) == (None, None)
    evaluation.write(tmp_path / "e.json")
    assert Evaluation.read(tmp_path / "e.json") == evaluation
    assert not any("dipole" in row[0] for row in evaluation_table(evaluation).rows)
    table = comparison_table([evaluation])
    assert table.rows[0][table.columns.index("dipole error [Debye]")] == "–"


def test_densities_with_cores_are_measured_on_a_quadrature(tmp_path: Path) -> None:
    """Trained in the Coulomb metric and on points; no figure of a uniform grid is left."""
    store = all_electron_store(tmp_path)
    options = {
        "data": {"store": str(store), "n_validation": 1},
        "model": {"kind": "orbital", "channels": 4, "layers": 1, "l_max": 2, "sites": "bonds"},
        "objective": {"metric": "coulomb", "points_stage": 0.5, "points_per_structure": 500},
        "training": {"steps": 4, "warmup_steps": 0, "batch_size": 2, "threads": 1},
    }
    options["model"]["basis"] = {"beta": 2.5, "l_max": 2, "max_exponent": [30000.0, 72.0]}  # type: ignore[index]
    run = train(parse_config(options, "the test"), tmp_path / "run")
    evaluation = evaluate(run, store)
    on = evaluation.measured_on
    assert (on.quadrature, on.spacing, on.margin) == (4, None, None)
    label = stored_density(Store(store), "water-3")
    points, volumes, values = label.sample(20_000, np.random.default_rng(0))
    missed = volumes @ np.abs(load_model(run).predict(label.structure).at(points) - values)
    assert evaluation.errors.nmae[0] == pytest.approx(100 * missed / 10, rel=0.05)
    assert evaluation.errors.electrons[0] == pytest.approx(0, abs=1e-4)
    assert evaluation.summary()["negative"].max < 1
    notes = evaluation_table(evaluation).notes + comparison_table([evaluation]).notes
    assert notes.count("on a quadrature about the atoms") + notes.count("On a quadrature about the atoms") == 2
    assert "grid" not in notes
    assert evaluate(run, store, spacing=0.5).errors.nmae == pytest.approx(evaluation.errors.nmae, rel=1e-5)
    validated = float((run / "metrics.csv").read_text().splitlines()[-1].split(",")[-1])
    assert validated == pytest.approx(evaluation.errors.nmae[0], rel=0.2)  # of another water


def test_structures_are_measured_in_their_order(trained: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    evaluation = evaluate(trained, "lithium-oxide", spacing=0.5, n=3, progress=lambda *call: calls.append(call))
    assert calls == [("evaluating", done, 3) for done in (1, 2, 3)]
    assert evaluation.slice.key == evaluation.errors.keys[0]
    sums = np.sum(list(evaluation.errors.regions.values()), axis=0)
    np.testing.assert_allclose(sums, evaluation.errors.nmae)
    one = evaluate(trained, "lithium-oxide", spacing=0.5, n=1)
    assert one.errors.nmae[0] in [pytest.approx(error, rel=1e-4) for error in evaluation.errors.nmae]
    assert {"cpu", "threads"} <= set(evaluation.machine)
    assert evaluation.cost.structures_per_s > 0


def test_the_states_that_were_used_are_said(trained: Path, tmp_path: Path) -> None:
    """Li-O-Li, its cation as a singlet that cannot be, and as a doublet: the model knows the first alone."""
    source = Store(shipped.store_path())
    records = {key: source[key] for key in source.keys("test")[:4]}
    with StoreWriter(tmp_path / "ions.store", source.manifest) as writer:
        for (key, record), (charge, multiplicity) in zip(
            records.items(), [(0, 1), (1, 1), (0, 1), (1, 2)], strict=True
        ):
            structure = replace(record.structure, charge=charge, multiplicity=multiplicity)
            writer.put(key, replace(record, structure=structure))
        writer.finish({"test": list(records)})
    evaluation = evaluate(trained, tmp_path / "ions.store", spacing=0.5)
    assert evaluation.errors.charges == [0, 1, 0, 1]
    assert evaluation.errors.multiplicities == [1, 1, 1, 2]
    assert evaluation.errors.flagged == [False, True, False, True]
    assert evaluation.states() == [(0, 1, 2), (1, 1, 1), (1, 2, 1)]
    notes = evaluation_table(evaluation).notes
    assert "Used charge +0, multiplicity 1: 2 structures; charge +1, multiplicity 1: 1 structure;" in notes
    assert "With a warning of the model: 2 of 4 structures." in notes


def test_files_without_states_say_nothing_of_them(make_evaluation: Callable[..., Evaluation]) -> None:
    old = make_evaluation("old", 1.0)
    assert old.states() == []
    assert "Used" not in evaluation_table(old).notes and "warning" not in evaluation_table(old).notes
