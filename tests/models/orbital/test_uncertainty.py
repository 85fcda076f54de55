"""What a model expects of its own predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import places
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from orbdens.config import parse_config
from orbdens.metrics import negative_part
from orbdens.models.graph import Graph
from orbdens.models.orbital.model import OrbitalModel
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.orbital.uncertainty import UNSEEN_STATE, Judged, Uncertainty
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.store import Store
from orbdens.structure import Structure

GOLDEN = places.GOLDEN / "ethanol"
NEUTRAL = [1.0, 4.0, 0.0]
"""Electrons of H, C and a midpoint."""

Measured = tuple[Structure, NDArray[np.float64]]


def graph_of(types: list[list[int]], charges: list[int] | None = None) -> Graph:
    """Structures of sites of these types, without edges."""
    site_type = torch.tensor([kind for structure in types for kind in structure])
    sizes = torch.tensor([len(structure) for structure in types])
    n_sites, nothing = len(site_type), torch.zeros(0)
    electrons = torch.tensor([sum(NEUTRAL[kind] for kind in structure) for structure in types], dtype=torch.float64)
    return Graph(
        site_type=site_type,
        site_weight=torch.ones(n_sites),
        positions=torch.zeros(n_sites, 3),
        edge_index=nothing,
        edge_vector=nothing,
        state=torch.zeros(n_sites, 2),
        charge_share=torch.zeros(n_sites, dtype=torch.float64),
        n_electrons=electrons - torch.tensor(charges or [0] * len(types)),
        structure_of_site=torch.repeat_interleave(torch.arange(len(types)), sizes),
        site_ptr=torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]),
    )


def equally_hard(novelty: torch.Tensor) -> Judged:
    return Judged(novelty, torch.ones_like(novelty))


def test_powers_and_scales_are_those_of_the_errors() -> None:
    uncertainty = Uncertainty(NEUTRAL, l_max=0, channels=4)
    graph = graph_of([[1, 0, 0, 2, 2]] * 300)
    judged = Judged(*torch.rand(2, 1500, generator=torch.Generator().manual_seed(0)) * 4 + 0.5)
    atoms = graph.site_type < 2
    hydrogen = graph.site_type[atoms] == 0
    percent = torch.where(hydrogen, 0.6, 0.2) * judged.novelty[atoms].double() ** 2.2
    percent *= judged.difficulty[atoms].double() ** 0.8
    uncertainty.calibrate(judged, graph, percent * torch.where(hydrogen, 1.0, 4.0) / 100)
    assert float(uncertainty.power) == pytest.approx(2.2, abs=0.1)
    assert float(uncertainty.difficulty_power) == pytest.approx(0.8, abs=0.05)
    assert uncertainty.scale[:2].tolist() == pytest.approx([0.6, 0.2], rel=0.1)
    expected = uncertainty.errors(judged, graph)
    true = (percent * torch.where(hydrogen, 1.0, 4.0)).reshape(300, 3).sum(dim=1) / 6
    assert (expected.errors / true).log().mean() == pytest.approx(0, abs=1e-3)
    assert float(uncertainty.usual) == pytest.approx(float(expected.errors.median()), rel=1e-5)
    assert (expected.atom_errors[~atoms] == 0).all()


def test_alike_structures_leave_the_power_as_it_is_elsewhere() -> None:
    """In a narrow range of novelties noise is all there is: a slope of it must not be believed."""
    uncertainty = Uncertainty(NEUTRAL, l_max=0, channels=4)
    generator = torch.Generator().manual_seed(0)
    graph = graph_of([[0]] * 30)
    novelty = 1 + 0.1 * torch.rand(30, generator=generator)
    uncertainty.calibrate(equally_hard(novelty), graph, 0.01 * torch.rand(30, generator=generator).double())
    assert 1.4 < float(uncertainty.power) < 2.0
    distant = uncertainty.errors(equally_hard(torch.tensor([1.0, 5.0, 1e6])), graph_of([[0], [0], [0]])).errors
    assert distant[1] > 8 * distant[0] and distant[2] <= 100


def test_errors_of_structures_are_means_over_electrons() -> None:
    uncertainty = Uncertainty(NEUTRAL, l_max=0, channels=4)
    uncertainty.scale.copy_(torch.tensor([0.5, 1.0, 9.0]))
    uncertainty.power.fill_(1)
    graph = graph_of([[0, 0], [1, 2], [0, 0, 1, 2], [1, 1]], charges=[0, 0, 0, -1])
    novelty = torch.tensor([1.0, 3.0, 2.0, 7.0, 1.0, 3.0, 2.0, 7.0, 2.0, 2.0])
    judged = equally_hard(novelty)
    first, second, both, ion = uncertainty.errors(judged, graph).errors.tolist()
    assert (first, second) == pytest.approx((1.0, 2.0))
    assert both == pytest.approx((2 * first + 4 * second) / 6)
    assert ion == pytest.approx(2.0 * 8 / 9)
    misplaced = torch.tensor([0.0, 0.0, 0.0, 0.3], dtype=torch.float64)
    with_more = uncertainty.errors(judged, graph, misplaced)
    assert with_more.errors.tolist() == pytest.approx([first, second, both, ion + 30 / 9])
    assert with_more.atom_errors[-2:].tolist() == pytest.approx([2.0 + 30 / 8] * 2)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> OrbitalTask:
    torch.manual_seed(0)
    store = Store(GOLDEN)
    options = {
        "kind": "orbital",
        "sites": "bonds",
        "channels": 8,
        "layers": 1,
        "l_max": 2,
        "basis": {"beta": 2.5, "l_max": 2, "virtual": {"beta": 3.0, "l_max": 0}},
    }
    config = parse_config({"data": {"store": str(GOLDEN)}, "model": options, "training": {"steps": 1}}, "the test")
    assert isinstance(config, OrbitalRun)
    data = TrainingData(store, store.keys(), tmp_path_factory.mktemp("cache"), silent)
    return OrbitalTask(OrbitalModel(config.model, OrbitalTask.facts(config, data)), config, data)


def errors_of(task: OrbitalTask, others: Sequence[Measured]) -> Callable[[Sequence[str]], Sequence[Measured]]:
    """Errors of others as given, and 1 % of the electrons of every atom of training structures."""

    def errors(keys: Sequence[str]) -> Sequence[Measured]:
        if keys == ["other"]:
            return others
        return [(structure, np.full(9, 0.01)) for structure in map(task.data.store.structure, keys)]

    return errors


@pytest.fixture(scope="module")
def ethanol(task: OrbitalTask) -> Structure:
    return task.data.store.structure(task.data.keys[0])


@pytest.fixture(scope="module")
def model(task: OrbitalTask, ethanol: Structure) -> OrbitalModel:
    """One that expects 3 % of ethanol; not before ``finish``."""
    assert task.model.predict(ethanol).expected_error is None
    assert task.model.predict(ethanol).expected_errors is None
    task.finish(["other"], errors_of(task, [(ethanol, np.full(9, 0.03 * 20 / 9))]))
    return task.model


def test_expected_errors_of_a_model(model: OrbitalModel, ethanol: Structure) -> None:
    density = model.predict(ethanol)
    assert density.expected_error == pytest.approx(3.0, rel=1e-3)
    assert density.expected_errors is not None and density.expectation is not None
    hard = model.uncertainty.difficulty.weights[:, 0].exp().tolist()  # 0.01 e of 1, 4 and 6 electrons
    hydrogen, carbon, oxygen = (hard[model.basis.types.index(z)] for z in (1, 6, 8))
    assert hydrogen == pytest.approx(1.0, rel=0.1) and hydrogen > 3 * carbon > 3 * oxygen
    electrons = np.where(ethanol.numbers == 1, 1, np.where(ethanol.numbers == 6, 4, 6))
    assert density.expected_errors @ electrons / 20 == pytest.approx(density.expected_error)
    assert (density.unfamiliar, density.warnings) == ((), ())
    assert len(density.expectation.bonds) == len(density.expectation.bond_novelty) == 8
    turned = replace(ethanol, positions=ethanol.positions @ Rotation.random(rng=np.random.default_rng(0)).as_matrix())
    np.testing.assert_allclose(model.predict(turned).expected_errors, density.expected_errors, rtol=1e-3)


def test_what_is_strange_is_named(model: OrbitalModel, ethanol: Structure) -> None:
    """Ethanol with one hydrogen pulled away by a third of its distance."""
    positions = ethanol.positions.copy()
    bonded = np.linalg.norm(positions - positions[0], axis=1) < 1.2
    hydrogen = int(np.flatnonzero(bonded & (ethanol.numbers == 1))[0])
    positions[hydrogen] += 0.35 * (positions[hydrogen] - positions[0])
    strange = model.predict(replace(ethanol, positions=positions))
    assert strange.expected_error is not None and strange.expected_error > 6.0
    assert strange.unfamiliar and set(strange.unfamiliar) <= {"C1", f"H{hydrogen + 1}", f"C1-H{hydrogen + 1}"}
    (phrase,) = strange.warnings
    assert phrase.startswith("an extrapolation") and "C1" in phrase and f"H{hydrogen + 1}" in phrase


def test_two_molecules_far_apart_are_expected_to_be_as_good_as_one(model: OrbitalModel, ethanol: Structure) -> None:
    two = Structure(np.tile(ethanol.numbers, 2), np.concatenate([ethanol.positions, ethanol.positions + 30]))
    density = model.predict(two)
    assert density.expected_error == pytest.approx(3.0, rel=1e-3)
    assert density.expected_errors is not None
    np.testing.assert_allclose(density.expected_errors[:9], model.predict(ethanol).expected_errors, rtol=1e-3)


def test_states_that_were_never_seen_are_expected_to_be_worse(model: OrbitalModel, ethanol: Structure) -> None:
    """A radical cation, and an impossible number of electrons: electrons are misplaced beside all else."""
    for state, electrons in (({"charge": 1, "multiplicity": 2}, 19), ({"multiplicity": 2}, 20)):
        other = model.predict(replace(ethanol, **state))
        assert other.expected_error is not None and other.warnings
        assert other.expected_error > 100 * UNSEEN_STATE / electrons + 2


def test_nothing_jumps_where_a_midpoint_fades_in(model: OrbitalModel, ethanol: Structure) -> None:
    """A hydrogen molecule's distance goes through the range in which its midpoint fades."""
    lengths = np.linspace(1.0, 1.3, 61)  # sums of radii 0.62 Å, fading from 0.92 to 1.17 Å
    densities = model.predict(
        [Structure(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, length]])) for length in lengths]
    )
    expected = np.log([density.expected_error for density in densities])
    assert len({len(density.site_types) for density in densities}) == 2
    assert np.abs(np.diff(expected, n=2)).max() < 0.02


def test_further_training_without_fits_measures_anew(
    task: OrbitalTask, model: OrbitalModel, ethanol: Structure
) -> None:
    """A run that starts from a model has no label fits; states that were not trained on calibrate nothing."""
    sections = {"data": {"store": str(GOLDEN)}, "model": model.config.model_dump(), "training": {"steps": 1}}
    config = parse_config(sections | {"objective": {"points_stage": 1.0}}, "the test")
    assert isinstance(config, OrbitalRun)
    further = OrbitalTask(model, config, task.data, fresh=False)
    errors = np.full(9, 0.06 * 20 / 9)
    others = [(ethanol, errors), (replace(ethanol, multiplicity=3), 100 * errors)]
    further.finish(["other"], errors_of(task, others))
    assert model.predict(ethanol).expected_error == pytest.approx(6.0, rel=1e-3)
    task.finish(["other"], errors_of(task, [(ethanol, errors / 2)]))


def test_negative_part() -> None:
    assert negative_part(np.array([[[3.0, -1.0]]], dtype=np.float32)) == pytest.approx(50.0)
    assert negative_part(np.ones((2, 2, 2), dtype=np.float32)) == 0
