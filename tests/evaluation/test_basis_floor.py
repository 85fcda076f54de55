"""The floor of a basis: what the command prints, and that it is the least-squares fit's error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import places
import pytest
import yaml
from all_electron import all_electron_store

from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.evaluation.basis_floor import Floor, basis_floor, basis_options, metric_of
from orbdens.grid import Grid
from orbdens.models.basis_options import BasisConfig
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.store import GridRecord, StoreWriter
from orbdens.store.manifest import Manifest
from orbdens.structure import Structure

GOLDEN = str(places.GOLDEN / "ethanol")
SMALL = OrbitalConfig(basis=BasisConfig(beta=2.5, l_max=2))


@pytest.fixture(scope="module")
def floor() -> Floor:
    """The floor of a small basis on ethanol."""
    return basis_floor(GOLDEN, SMALL, "test", n=2)


def test_parts_add_up_to_the_nmae(floor: Floor) -> None:
    assert list(floor.elements) == ["H", "C", "O"]
    for parts in (floor.regions, floor.elements):
        np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), floor.nmae)
    for symbol, shares in floor.elements.items():
        assert (np.array(floor.within[symbol], dtype=float) > shares).all()


def test_counts_follow_the_formula(floor: Floor) -> None:
    size = {kind: sum((2 * l + 1) * n for l, n in enumerate(ns)) for kind, ns in floor.radial_functions.items()}
    assert set(floor.coefficients) == {6 * size["H"] + 2 * size["C"] + size["O"]}
    assert max(map(abs, floor.electrons)) < 0.2


def test_larger_bases_are_closer(floor: Floor) -> None:
    finer = basis_floor(GOLDEN, OrbitalConfig(basis=BasisConfig(beta=2.0, l_max=3)), "test", n=2)
    bonds = basis_floor(GOLDEN, SMALL.model_copy(update={"sites": "bonds"}), "test", n=2)
    assert "bond" in bonds.radial_functions
    for better in (finer, bonds):
        assert better.summary()["nmae"].max < 0.7 * floor.summary()["nmae"].mean
        assert better.summary()["l2"].max < floor.summary()["l2"].mean
        assert min(better.coefficients) > max(floor.coefficients)


def test_grid_records_of_crystals(tmp_path: Path) -> None:
    """A density of the basis itself, summed over all cells of a skew lattice, is fitted almost exactly."""
    cell = np.array([[3.0, 0.0, 0.0], [0.8, 2.9, 0.0], [0.0, 0.3, 3.2]])
    crystal = Structure(np.array([1, 3]), np.array([[0.1, 0.2, 0.3], [1.6, 1.7, 1.5]]), cell, (True, True, True))
    grid = Grid.around(crystal, 0.2, 0.0)
    values = np.zeros(grid.n_points)
    for shift in np.ndindex(7, 7, 7):
        offset = grid.points()[:, None] - crystal.positions - (np.array(shift) - 3) @ cell
        gauss = (np.array([1.2, 2.0]) / np.pi) ** 1.5 * np.exp(-np.array([1.2, 2.0]) * (offset**2).sum(axis=-1))
        values += gauss @ [1.0, 3.0]
    record = GridRecord(crystal, grid.origin, grid.steps, values.reshape(grid.shape).astype(np.float32))
    manifest = Manifest(level={}, density="valence", valence_electrons={"H": 1, "Li": 3})
    with StoreWriter(tmp_path / "crystal.store", manifest) as writer:
        writer.put("LiH", record)
        writer.finish({"train": ["LiH"]})
    basis = BasisConfig(table={"H": [[0.6, 1.2], [1.0]], "Li": [[2.0, 5.0], [1.0]]})
    floor = basis_floor(str(tmp_path / "crystal.store"), OrbitalConfig(basis=basis))
    assert floor.spacing is None
    assert floor.nmae[0] < 0.05
    assert floor.electrons[0] == pytest.approx(0, abs=1e-3)
    assert floor.coefficients == [10]


def test_cores_are_fitted_in_the_coulomb_metric_and_compared_on_a_quadrature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, options = str(all_electron_store(tmp_path)), ["--n", "1", "--beta", "2", "--l-max", "2", "--sites", "bonds"]
    trees = {}
    for name, limit, metric in [
        ("valence", "72", "coulomb"),
        ("l2", "30000,72", "overlap"),
        ("best", "30000,72", "coulomb"),
    ]:
        file = tmp_path / f"{name}.json"
        given = ["--max-exponent", limit, "--metric", metric, "--json", str(file)]
        assert run(["floor", store, *options, *given], debug=False) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "a quadrature about the atoms (Becke, Lebedev; PySCF's level 4)" in printed and "Å grid" not in printed
        trees[name] = json.loads(file.read_text())
        assert trees[name]["quadrature"] == 4 and trees[name]["spacing"] is None
        assert trees[name]["metric"] == metric
    assert "max_exponent: [30000.0, 72.0]" in printed and "closest in Coulomb energy" in printed
    valence, l2, best = (trees[name]["summary"]["nmae"]["mean"] for name in ("valence", "l2", "best"))
    assert valence > 20 and best < 0.9 * l2 < 1
    assert trees["best"]["nmae"][0] == pytest.approx(sum(part[0] for part in trees["best"]["elements"].values()))


def test_the_config_names_the_metric(tmp_path: Path) -> None:
    tree = {"data": {"store": "x"}, "model": {"kind": "orbital"}, "training": {"steps": 1}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**tree, "objective": {"metric": "coulomb"}}))
    assert metric_of(tmp_path / "c.yaml") == "coulomb"
    assert metric_of(None) == metric_of(Path("lithium-oxide.yaml")) == "overlap"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--n", "2", "--beta", "2.5", "--l-max", "3", "--sites", "bonds", "--json", str(tmp_path / "f.json")]
    assert run(["floor", "lithium-oxide", *options], debug=False) == 0
    printed = capsys.readouterr().out
    for text in ("NMAE [%]", "nearest to Li", "L2 error [%]", "coefficients per structure", "bond ", "2 structures"):
        assert text in printed
    tree = json.loads((tmp_path / "f.json").read_text())
    assert tree["model"]["basis"]["beta"] == 2.5
    assert tree["summary"]["nmae"]["mean"] == pytest.approx(np.mean(tree["nmae"]))
    assert f"{tree['summary']['nmae']['mean']:.4f}" in printed
    section = yaml.safe_load(printed[printed.index("  sites: ") :])
    again = OrbitalConfig.model_validate({**section, "l_max": 6})
    assert again.model_dump(include={"sites", "basis"}) == {k: tree["model"][k] for k in ("sites", "basis")}


def test_options_override_the_config(tmp_path: Path) -> None:
    model = {"kind": "orbital", "sites": "bonds", "basis": {"beta": 2.2, "max_exponent": 50}, "orbital_cutoff": 6}
    tree = {"data": {"store": "x"}, "model": model, "training": {"steps": 1}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    chosen = basis_options(tmp_path / "c.yaml", beta=1.9, l_max=5, source=None)
    assert (chosen.sites, chosen.orbital_cutoff) == ("bonds", 6)
    assert chosen.basis == BasisConfig(beta=1.9, l_max=5, max_exponent=50)
    assert basis_options().basis == BasisConfig()


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["floor", "--help"], debug=False) == 0
    assert "Example: orbdens floor" in " ".join(capsys.readouterr().out.split())


MISTAKES = {
    "floor nowhere": "nowhere does not exist",
    "floor lithium-oxide --split best": "no split 'best'; its splits: train, test",
    "floor lithium-oxide --beta 1": "option 'model.basis.beta': .*got 1.0",
    "floor lithium-oxide --l-max 7": "option 'model.basis.l_max': .*got 7",
    "floor lithium-oxide --sites bond": "--sites.*'bond' is not one of .*'bond-pairs'",
    "floor lithium-oxide --basis nonsense": "no basis 'nonsense' for Li",
    "floor lithium-oxide --max-exponent 72;50": "with commas between them, but --max-exponent is '72;50'",
    "floor lithium-oxide --max-exponent 0.01": "leaves a shell of Li empty",
    "floor lithium-oxide --n 0": "--n",
    "floor lithium-oxide --config none.yaml": "cannot read the config none.yaml",
    "floor lithium-oxide --config lithium-oxide-unet.yaml": "is of a unet3d model, but only orbital models have a",
    "floor lithium-oxide --json there.json": "there.json exists; --force replaces it",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_end_in_one_sentence(command: str, tmp_path: Path, mistake: Callable[[str, Path, str], None]) -> None:
    (tmp_path / "there.json").write_text("")
    mistake(command, tmp_path, MISTAKES[command])


def test_an_empty_split_is_told(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "empty.store", Manifest(level={}, density="valence", valence_electrons={})) as writer:
        writer.finish({"train": []})
    with pytest.raises(UserError, match=r"split 'train' of .*empty\.store is empty"):
        basis_floor(str(tmp_path / "empty.store"), SMALL)
