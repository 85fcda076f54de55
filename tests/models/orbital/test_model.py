"""What the orbital model promises beyond the common contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import places
import pytest
import torch
from all_electron import all_electron_store

from orbdens.comparison import comparison
from orbdens.config import parse_config
from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.labels import label_density
from orbdens.metrics import nmae
from orbdens.models.basis import Basis
from orbdens.models.conditioning import RARE, SAMPLE, sample_for_scales
from orbdens.models.density_fitting import fit_label
from orbdens.models.graph import merge, place_graph
from orbdens.models.orbital.batch import Example, graph_of
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.objectives import AnalyticStage, PointsStage
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.task import Stage, TrainingData
from orbdens.neighbours import neighbours
from orbdens.progress import silent
from orbdens.sites import place_sites, type_name
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.structure import Structure

GOLDEN = places.GOLDEN / "ethanol"
SMALL = {"channels": 8, "layers": 1, "l_max": 3, "basis": {"beta": 2.0, "l_max": 3}}


def _prepared(tmp_path: Path, store: Store, objective: dict[str, Any] | None = None, **options: Any) -> OrbitalTask:
    """A fresh model with its scales set, ready to learn; ``options`` are those of the model."""
    torch.manual_seed(0)
    sections = {"model": {"kind": "orbital", **SMALL, **options}, "objective": objective or {}}
    config = parse_config({"data": {"store": str(store.path)}, "training": {"steps": 1}, **sections}, "the test")
    assert isinstance(config, OrbitalRun)
    data = TrainingData(store, store.keys(), tmp_path, silent)
    return OrbitalTask(OrbitalModel(config.model, OrbitalTask.facts(config, data)), config, data)


def _batch(stage: Stage, keys: Sequence[str], seed: int = 0) -> Any:
    return stage.collate([stage.example(key, np.random.default_rng((seed, i))) for i, key in enumerate(keys)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OrbitalModel:
    return _prepared(tmp_path_factory.mktemp("cache"), Store(GOLDEN)).model.eval()


@pytest.mark.parametrize("charge", [-1, 0, 2])
def test_electron_count_is_exact(model: OrbitalModel, charge: int) -> None:
    structure = Store(GOLDEN)[Store(GOLDEN).keys()[0]].structure
    (field,) = model.predict([Structure(structure.numbers, structure.positions, charge=charge)])
    assert abs(field.n_electrons - (20 - charge)) < 1e-5


def test_observables_are_moments_of_the_values(model: OrbitalModel) -> None:
    water = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]]))
    (field,) = model.predict([water])
    grid, values = field.on_grid(0.15, 7.0)
    weight = values.reshape(-1).astype(np.float64) * grid.volume_element
    np.testing.assert_allclose(weight.sum(), field.n_electrons, rtol=2e-3)
    np.testing.assert_allclose(-(weight @ grid.points()), field.dipole, atol=2e-2)


def test_derivatives_are_those_of_the_values(model: OrbitalModel) -> None:
    """Gradient and Laplacian against central differences of the density itself."""
    record = Store(GOLDEN)[Store(GOLDEN).keys()[0]]
    (field,) = model.predict([record.structure])
    assert isinstance(field, OrbitalDensity)
    points, step = record.structure.positions + 0.4, 1e-3
    values, gradient, laplacian = field.derivatives_at(points)
    np.testing.assert_allclose(values, field.at(points), rtol=1e-4)
    shifts = step * np.eye(3)
    up = np.stack([field.derivatives_at(points + shift)[0] for shift in shifts], axis=1)
    down = np.stack([field.derivatives_at(points - shift)[0] for shift in shifts], axis=1)
    np.testing.assert_allclose(gradient, (up - down) / (2 * step), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        laplacian, ((up + down - 2 * values[:, None]) / step**2).sum(axis=1), rtol=1e-2, atol=1e-2
    )


def test_sum_over_the_suited_grid_is_the_integral(model: OrbitalModel) -> None:
    """At a chance origin sums over a 0.2 Å grid miss the electron count by up to 0.01, at the chosen by far less."""
    record = Store(GOLDEN)[Store(GOLDEN).keys()[0]]
    (field,) = model.predict([record.structure])
    grid = field.suited_grid(0.2, 6.0)
    assert abs(float(field.on(grid).sum(dtype=float)) * grid.volume_element - 20) < 2e-3
    assert np.abs(grid.origin - Grid.around(record.structure, 0.2, 6.0).origin).max() <= 0.05 + 1e-9


def test_a_lone_atom_has_its_electrons_and_is_round(model: OrbitalModel) -> None:
    (field,) = model.predict([Structure(np.array([8]), np.zeros((1, 3)))])
    assert abs(field.n_electrons - 6) < 1e-5
    values = field.at(np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0], [0.6, 0.8, 0]]))
    np.testing.assert_allclose(values, values[0], rtol=1e-5)


def test_multiplicity_acts_once_it_is_learned(tmp_path: Path) -> None:
    """Weights that no data speak of do nothing; a step on a triplet moves them."""
    golden = Store(GOLDEN)
    key = golden.keys()[0]
    record = golden[key]
    with StoreWriter(tmp_path / "store", golden.manifest) as writer:
        for name, multiplicity in (("singlet", 1), ("triplet", 3)):
            writer.put(name, replace(record, structure=replace(record.structure, multiplicity=multiplicity)))
        writer.finish({"train": ["singlet", "triplet"]})
    task = _prepared(tmp_path / "cache", Store(tmp_path / "store"))
    model, states = task.model, [replace(record.structure, multiplicity=multiplicity) for multiplicity in (1, 3)]

    def difference() -> float:
        one, other = (density.at(record.structure.positions) for density in model.predict(states))
        return float(np.abs(one - other).max())

    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for keys, acts in ((["singlet"], False), (["triplet"], True)):
        optimiser.zero_grad()
        task.stages[0].loss(_batch(task.stages[0], keys)).backward()
        optimiser.step()
        assert (difference() > 1e-6) == acts


def test_messages_fade_at_the_cut_off(tmp_path: Path) -> None:
    """An atom moved through the cut-off changes the density smoothly."""
    model = _prepared(tmp_path, Store(GOLDEN), cutoff=3.0).model.eval()
    values = []
    for distance in (2.999, 3.0, 3.001):
        structure = Structure(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, distance]], dtype=float))
        values.append(model.predict([structure])[0].at(np.array([[0.3, 0.4, -0.2]]))[0])
    assert abs(values[2] - values[0]) < 1e-3 * abs(values[1])
    assert abs((values[2] - values[1]) - (values[1] - values[0])) < 1e-4 * abs(values[1])


def test_density_is_smooth_while_a_bond_forms(tmp_path: Path) -> None:
    """The midpoint of O-H fades between 1.16 and 1.36 Å; values and electrons change without a jump or a kink."""
    bonded = _prepared(tmp_path, Store(GOLDEN), sites="bonds").model.eval()
    lengths = np.arange(1.10, 1.42, 0.004)
    points = np.array([[0.2, 0.1, 0.5], [0.0, 0.3, 1.0], [0.4, 0.0, -0.3]])
    values = []
    for length in lengths:
        structure = Structure(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, length]]), charge=1)
        (field,) = bonded.predict([structure])
        assert abs(field.n_electrons - 6) < 1e-5
        values.append(field.at(points))
    first = np.diff(values, axis=0)
    assert np.abs(first).max() < 0.05 * np.abs(values).max()
    assert np.abs(np.diff(first, axis=0)).max() < 0.01 * np.abs(values).max()


def test_the_analytic_objective_leaves_the_orbitals_as_they_are(tmp_path: Path) -> None:
    """Exponents and scalings enter the electron count; only the points objective may change them for it."""
    store = Store(GOLDEN)
    objective = {"points_stage": 0.5, "points_per_structure": 200}
    task = _prepared(tmp_path, store, objective, learn_exponents=True, scaling_limit=1.5)
    for fraction, learns in ((0.0, False), (0.6, True)):
        task.model.zero_grad()
        stage = task.stages[task.stage_at(fraction)]
        stage.loss(_batch(stage, store.keys()[:1])).backward()
        assert all((parameter.grad is not None) == learns for parameter in task.model.shapes.parameters())


def test_the_analytic_stage_reads_no_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking and checking them takes a good part of a step, and all it needs is in the cache of fits."""
    store = Store(GOLDEN)
    stage = _prepared(tmp_path, store).stages[0]

    def read(store: Store, key: str) -> None:
        raise AssertionError(f"record '{key}' was read")

    monkeypatch.setattr(Store, "__getitem__", read)
    assert len(_batch(stage, store.keys()[:2]).norm) == 2


@pytest.mark.parametrize(("sites", "floor"), [("atoms", 1.5), ("bond-pairs", 0.5)])
def test_fit_is_the_best_density_of_the_basis(sites: str, floor: float, tmp_path: Path) -> None:
    """The loss of the fit itself is zero, and its density, on the sites of the graph, is near the label's."""
    store = Store(GOLDEN)
    task = _prepared(tmp_path, store, sites=sites)
    model, stage = task.model, task.stages[0]
    assert isinstance(stage, AnalyticStage)
    key = store.keys()[0]
    record = store[key]
    batch = _batch(stage, [key])
    fits = model.basis.per_type(batch.fit, batch.site_type)
    with torch.no_grad():
        orbitals = model(graph_of(batch))
    assert float(stage.error(replace(orbitals, coefficients=fits), batch)) < 1e-5
    coefficients = model.basis.primitives([c.double() for c in fits], batch.site_type).numpy()
    structure = record.structure
    field = OrbitalDensity(
        structure, batch.positions.double().numpy(), batch.site_type.numpy(), model.basis.shells, coefficients, None
    )
    grid = Grid.around(structure, 0.3, 4.0)
    assert nmae(field.on(grid), label_density(record, store.manifest).on(grid)) < floor


def test_the_coulomb_objective_is_the_energy_of_the_error(tmp_path: Path) -> None:
    """∫∫Δρ Δρ'/|r − r'| of a record with cores, however far apart its sites: by the definition, not by tables."""
    basis = {"beta": 3.0, "l_max": 2, "max_exponent": [5000.0, 20.0]}
    store = Store(all_electron_store(tmp_path))
    key = store.keys()[0]
    label = label_density(store[key], store.manifest)
    points, errors = comparison(label), {}
    for metric in ("overlap", "coulomb"):
        task = _prepared(tmp_path / metric, store, {"metric": metric}, basis=basis)
        stage = task.stages[0]
        assert isinstance(stage, AnalyticStage)
        batch = _batch(stage, [key])
        fits = task.model.basis.per_type(batch.fit, batch.site_type)
        best = _sum_of(task.model, batch, fits)
        errors[metric] = nmae(points.values(best), points.values(label), points.volumes)
        with torch.no_grad():
            orbitals = task.model(graph_of(batch))
        assert float(stage.error(replace(orbitals, coefficients=fits), batch)) < 1e-4
        if metric == "coulomb":
            wrong = [1.05 * c.flip(0) for c in fits]
            difference = _sum_of(task.model, batch, [a - b for a, b in zip(wrong, fits, strict=True)])
            expected = (difference.self_interaction() / best.self_interaction()) ** 0.5
            assert float(stage.error(replace(orbitals, coefficients=wrong), batch)) == pytest.approx(expected, rel=1e-3)
    assert errors["coulomb"] < 0.9 * errors["overlap"]


def _sum_of(model: OrbitalModel, batch: Any, coefficients: Sequence[torch.Tensor]) -> OrbitalDensity:
    """The density of the one molecule of a batch that has these coefficients of orthonormal functions."""
    flat = model.basis.primitives([c.double() for c in coefficients], batch.site_type).numpy()
    places, types = batch.positions.double().numpy(), batch.site_type.numpy()
    structure = Structure(np.array([8, 1, 1]), places[:3])
    return OrbitalDensity(structure, places, types, model.basis.shells, flat, None)


def test_grid_records_have_no_coulomb_metric(tmp_path: Path) -> None:
    store = _as_grids(Store(GOLDEN), tmp_path / "grids")
    label = label_density(store[store.keys()[0]], store.manifest)
    basis = Basis.from_json({"H": [[1.0]], "C": [[1.0]], "O": [[1.0]]})
    with pytest.raises(UserError, match="coulomb metric needs orbital records"):
        fit_label(label, basis, "atoms", "coulomb")


def test_fits_of_another_store_or_basis_are_not_taken(tmp_path: Path) -> None:
    """A store replaced under its own name (other positions, same keys) gets fits of its own; a basis its own folder."""
    cache, place = tmp_path / "cache", tmp_path / "store"
    old = Store(GOLDEN)
    key = old.keys()[0]
    fits = []
    for shift in (0.0, 0.05):
        manifest = replace(old.manifest, splits={}, provenance={"sha256": str(shift)})
        with StoreWriter(place, manifest, overwrite=True) as writer:
            record = old[key]
            assert isinstance(record, OrbitalRecord)
            positions = record.structure.positions * (1 + shift)
            writer.put(key, replace(record, structure=Structure(record.structure.numbers, positions)))
            writer.finish({"train": [key]})
        stage = _prepared(cache, Store(place)).stages[0]
        assert isinstance(stage, AnalyticStage)
        fits.append(stage.fits.get(key)["coefficients"])
    assert not torch.allclose(fits[0], fits[1], atol=1e-3)
    _prepared(cache, Store(place), basis={"beta": 3.0, "l_max": 2})
    assert len(list(cache.glob("fits-*"))) == 2


@pytest.mark.parametrize("kind", ["orbitals", "grid"])
def test_points_objective_learns(tmp_path: Path, kind: str) -> None:
    """The loss on fresh points falls, for orbital records and for grid records alike."""
    store = Store(GOLDEN)
    if kind == "grid":
        store = _as_grids(store, tmp_path / "grids")
    basis = {"beta": 3.5, "l_max": 2}
    task = _prepared(tmp_path / "cache", store, {"points_stage": 1, "points_per_structure": 400}, basis=basis)
    (stage,) = task.stages
    optimiser = torch.optim.Adam(task.model.parameters(), lr=5e-3)
    losses = []
    for step in range(25):
        loss = stage.loss(_batch(stage, store.keys()[:2], step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_mixed_precision_keeps_geometry_and_charge(tmp_path: Path) -> None:
    """Under bfloat16 autocast the loss is near that of single precision; predictions do not change at all."""
    store = Store(GOLDEN)
    task = _prepared(tmp_path, store)
    model, stage = task.model.eval(), task.stages[0]
    batch = _batch(stage, store.keys()[:2])
    structure = store.structure(store.keys()[0])
    points = structure.positions + 0.3
    exact, expected = stage.loss(batch).detach(), model.predict(structure).at(points)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, found = stage.loss(batch).detach(), model.predict(structure).at(points)
    assert mixed.dtype == torch.float32
    assert abs(float(mixed - exact)) < 0.05 * float(exact)
    np.testing.assert_array_equal(found, expected)


def test_a_rare_element_has_statistics_too(tmp_path: Path) -> None:
    """The only record of 450 that holds a type is found, wherever it stands."""

    class Records:
        def structure(self, key: str) -> Structure:
            return Structure(np.array([8 if int(key) == 3 else 1]), np.zeros((1, 3)))

    keys = [str(i) for i in range(450)]
    basis = Basis.from_json({"H": [[1.0]], "O": [[1.0]]})
    data = TrainingData(Records(), keys, Path(), silent)  # type: ignore[arg-type]
    chosen = sample_for_scales(data, basis, "atoms")
    assert "3" in chosen
    assert SAMPLE <= len(chosen) <= SAMPLE + RARE


def _as_grids(store: Store, path: Path) -> Store:
    manifest = store.manifest
    with StoreWriter(
        path,
        Manifest(
            level=manifest.level,
            density=manifest.density,
            valence_electrons=manifest.valence_electrons,
            label_basis=None,
            provenance={},
        ),
    ) as writer:
        for key in store.keys()[:2]:
            record = store[key]
            assert isinstance(record, OrbitalRecord)
            grid = Grid.around(record.structure, 0.3, 3.0)
            values = label_density(record, store.manifest).on(grid)
            writer.put(key, GridRecord(record.structure, grid.origin, grid.steps, values))
        writer.finish({"train": store.keys()[:2]})
    return Store(path)


def test_the_loss_knows_dipoles(tmp_path: Path) -> None:
    """The dipole in the loss is that of the predicted density, with every option on, and its error enters."""
    store = Store(GOLDEN)
    options = {"sites": "bonds", "learn_exponents": True, "scaling_limit": 1.5, "displacement_limit": 0.3}
    objective = {"points_stage": 0.5, "points_per_structure": 200, "dipole_weight": 2.0}
    task = _prepared(tmp_path, store, objective, **options)
    model, stage = task.model, task.stages[1]
    assert isinstance(stage, PointsStage)
    with torch.no_grad():
        for parameter in model.shapes.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    keys = store.keys()[:2]
    batch = _batch(stage, keys)
    dipoles = stage.dipoles(model(graph_of(batch)), batch).detach().numpy()
    fields = model.predict([store.structure(key) for key in keys])
    np.testing.assert_allclose(dipoles, [field.dipole for field in fields], atol=2e-5)
    whole = float(stage.loss(batch).detach())
    error = float(np.linalg.norm(dipoles - batch.dipole.numpy(), axis=1).mean())
    del batch["dipole"]
    assert whole - float(stage.loss(batch).detach()) == pytest.approx(2 * error, rel=1e-3)


@pytest.mark.parametrize("periodic", [False, True], ids=["molecule", "crystal"])
@pytest.mark.parametrize("rule", ["atoms", "bonds", "bond-pairs"])
def test_edges_are_all_pairs_of_atoms_and_sites_within_the_cut_off(rule: str, periodic: bool) -> None:
    """Edges that go by way of bonds against a search from every site."""
    structure = Store(GOLDEN).structure(Store(GOLDEN).keys()[0])
    if periodic:
        structure = replace(structure, cell=np.diag([4.2, 5.0, 4.6]) + 0.3, pbc=(True, False, True))
    types = tuple(sorted({int(site_type) for site_type in place_sites(structure, rule).types}))
    basis = Basis.from_json({type_name(site_type): [[1.0]] for site_type in types})
    sites, graph, _ = place_graph(structure, rule, basis, 3.0, 20)
    everywhere = Structure(np.ones(len(sites.types)), sites.positions, structure.cell, structure.pbc)
    pairs = neighbours(everywhere, 3.0)
    expected = {
        (int(a), int(b), *np.round(vector, 4)) for a, b, vector in zip(*pairs, strict=True) if a < structure.n_atoms
    }
    found = {
        (int(a), int(b), *np.round(vector, 4))
        for a, b, vector in zip(*graph.edge_index.numpy(), graph.edge_vector.double().numpy(), strict=True)
    }
    assert len(found) == graph.edge_index.shape[1]
    assert {edge[:2] for edge in found} == {edge[:2] for edge in expected}
    assert len(found) == len(expected)
    order = [sorted(edges) for edges in (found, expected)]
    np.testing.assert_allclose(*(np.array(edges) for edges in order), atol=2e-4)


def test_batches_of_training_and_prediction_are_the_same(tmp_path: Path) -> None:
    store = Store(GOLDEN)
    task = _prepared(tmp_path, store, sites="bond-pairs")
    graphs = [task.graph(key) for key in store.keys()[:3]]
    merged, batched = merge(graphs), graph_of(_batch(task.stages[0], store.keys()[:3]))
    for field in fields(merged):
        assert torch.equal(getattr(merged, field.name), getattr(batched, field.name)), field.name


def test_targets_that_nobody_described_are_refused(tmp_path: Path) -> None:
    store = Store(GOLDEN)
    task = _prepared(tmp_path, store)
    with pytest.raises(ValueError, match="no targets are called fitt"):
        Example.of(task.graph(store.keys()[0]), fitt=torch.zeros(1))


def test_orbitals_reach_as_far_as_the_most_diffuse_needs(tmp_path: Path) -> None:
    """An orbital of 0.1 Å⁻² is cut where it is negligible, so that values hold the electrons that are counted."""
    store = Store(GOLDEN)
    model = _prepared(tmp_path, store, basis={"table": {"O": [[0.1, 1.0, 5.0]]}, "beta": 3.0, "l_max": 2}).model.eval()
    assert model.orbital_cutoff > 11
    density = model.predict(Structure(np.array([8]), np.zeros((1, 3))))
    grid, values = density.on_grid(0.3, 14.0)
    assert float(values.sum(dtype=float)) * grid.volume_element == pytest.approx(6, abs=1e-3)


def test_what_the_training_never_had_is_told(tmp_path: Path) -> None:
    """Charges, spins and bonds; the expected error knows nothing of them."""
    store = Store(GOLDEN)
    for sites in ("bonds", "bond-pairs"):
        model = _prepared(tmp_path, store, sites=sites, basis={"beta": 3.5, "l_max": 1, "virtual": {"l_max": 1}}).model
        assert model.facts["states"] == [[0, 1]]
        assert model.facts["bonds"] == ["C-C", "C-O", "H-C", "H-O"]
        ethanol = store.structure(store.keys()[0])
        peroxide = Structure(
            np.array([8, 8, 1, 1]), np.array([[0, 0.73, 0], [0, -0.73, 0], [0.8, 0.9, 0.4], [-0.8, -0.9, 0.4]])
        )
        states = [replace(ethanol, charge=1), replace(ethanol, charge=1, multiplicity=2), replace(ethanol, charge=-1)]
        known, odd, cation, _, strange = (
            density.warnings for density in model.eval().predict([ethanol, *states, peroxide])
        )
        assert known == ()
        assert "19 electrons do not go with multiplicity 1" in odd[0]
        assert cation == ("nothing the model learned from had charge +1 and multiplicity 2",)
        assert strange == ("nothing the model learned from had a bond O-O (as O1 O2 here)",)


def test_models_of_version_1_know_their_bonds_by_their_types(tmp_path: Path) -> None:
    store = Store(GOLDEN)
    task = _prepared(tmp_path, store, sites="bond-pairs", basis={"beta": 3.5, "l_max": 1, "virtual": {"l_max": 1}})
    facts = {name: value for name, value in task.model.facts.items() if name not in ("states", "bonds")}
    old = OrbitalModel(task.model.config, facts).eval()
    ethanol = store.structure(store.keys()[0])
    assert old.predict(replace(ethanol, charge=2)).warnings == ()  # nothing is known of its charges
    hydrogen = Structure(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 0.74]]))
    assert "a bond H-H" in old.predict(hydrogen).warnings[0]
