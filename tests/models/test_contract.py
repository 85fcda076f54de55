"""One contract for every model, with the weights of a fresh network and statistics of real densities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import places
import pytest
import torch

from orbdens.checkpoint import build_model
from orbdens.config import Config, parse_config
from orbdens.errors import UserError
from orbdens.models.interface import DensityModel
from orbdens.models.registry import MODELS, find
from orbdens.models.task import FitTask, GradientTask, TrainingData
from orbdens.progress import silent
from orbdens.store import OrbitalRecord, Store, StoreWriter
from orbdens.structure import Structure
from orbdens.testing import CHECKS, CLAIMS, Check, check_gradients, check_lattice_shift, check_saved_model, claims

GOLDEN = places.GOLDEN / "ethanol"
ORBITAL = {"kind": "orbital", "channels": 8, "layers": 2, "l_max": 3, "basis": {"beta": 2.5, "l_max": 3}}
KINDS: dict[str, dict[str, Any]] = {
    "hk_map": {
        "model": {"kind": "hk_map", "basis": {"beta": 2.5, "l_max": 3}},
        "objective": {"widths": [0.6], "lengths": [5.0], "ridges": [1e-6]},
        "training": {},
    },
    "orbital": {"model": ORBITAL},
    "orbital with all options": {
        "model": {
            **ORBITAL,
            "basis": {"beta": 2.5, "l_max": 3, "virtual": {"l_max": 2, "min_exponent": 0.5}},
            "sites": "bond-pairs",
            "learn_exponents": True,
            "scaling_limit": 1.5,
            "displacement_limit": 0.2,
        },
        "objective": {"points_stage": 1.0, "points_per_structure": 300},
    },
    "orbital with tensor products": {"model": {**ORBITAL, "convolution": "tensor-product"}},
    "soap_gpr": {
        "model": {
            "kind": "soap_gpr",
            "basis": {"beta": 2.5, "l_max": 3},
            "radial_functions": 3,
            "angular_degree": 3,
            "components": 60,
            "environments": 10,
        },
        "objective": {"iterations": 30},
        "training": {},
    },
    "promolecule": {"model": {"kind": "promolecule"}, "training": {}},
    "orbital with a plain head": {
        "model": {**ORBITAL, "head": "plain", "sites": "bonds", "scaling_limit": 2.0},
        "objective": {"points_stage": 1.0, "points_per_structure": 300},
    },
    "probe_gnn": {
        "model": {"kind": "probe_gnn", "channels": 8, "l_max": 2, "fields": 8, "hidden": 8, "beta": 3.0},
        "objective": {"points_per_structure": 300},
    },
    "unet3d": {"model": {"kind": "unet3d", "features": 2, "depth": 2, "spacing": 0.6, "margin": 2.0}},
    "unet3d on free atoms": {
        "model": {
            "kind": "unet3d",
            "features": 2,
            "depth": 1,
            "fold": 2,
            "norm": "instance",
            "promolecule": True,
            "exact_electrons": True,
            "spacing": 0.5,
            "margin": 3.0,
        },
        "objective": {"augmentation": "rotations", "loss": "magnitudes"},
    },
    "residual_cnn": {
        "model": {"kind": "residual_cnn", "channels": 4, "blocks": 2, "kernel": 3, "spacing": 0.6, "margin": 2.0},
    },
}

ONE_COMPOSITION = ("hk_map",)
"""Kinds that know the composition they learned from alone."""


def test_no_model_is_left_out() -> None:
    assert {sections["model"]["kind"] for sections in KINDS.values()} == set(MODELS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Ethanol frames; one without its highest pair of electrons, and one that calls itself a triplet."""
    golden = Store(GOLDEN)
    path = tmp_path_factory.mktemp("stores") / "states"
    with StoreWriter(path, golden.manifest) as writer:
        for key in (keys := golden.keys()):
            record = golden[key]
            assert isinstance(record, OrbitalRecord)
            writer.put(key, record)
        cation = replace(record.structure, charge=2)
        writer.put(
            "cation",
            replace(record, structure=cation, orbitals=record.orbitals[:, :-1], occupations=record.occupations[:-1]),
        )
        writer.put("triplet", replace(record, structure=replace(record.structure, multiplicity=3)))
        writer.finish({"train": [*keys, "cation", "triplet"]})
    return Store(path)


def _config(name: str) -> Config:
    training = {"steps": 2, "batch_size": 2}
    return parse_config({"data": {"store": str(GOLDEN)}, "training": training, **KINDS[name]}, "the test")


@pytest.fixture(scope="module", params=sorted(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Learned = tuple[DensityModel, GradientTask[Any] | None]


@pytest.fixture(scope="module")
def learned(name: str, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """A model and, where it learns by steps, its task."""
    torch.manual_seed(0)
    config = _config(name)
    registration = find(config.model.kind)
    assert registration is not None
    task_class = registration.task_class()
    data = TrainingData(store, store.keys("train"), tmp_path_factory.mktemp("cache"), silent)
    if issubclass(task_class, FitTask):
        return task_class.fit(config, data).eval(), None
    model = build_model(config, task_class.facts(config, data))
    task = task_class(model, config, data)
    with torch.no_grad():
        for parameter in model.parameters():  # options that start at zero would hide
            parameter += 0.1 * torch.randn_like(parameter) * (parameter == 0).all()
    check_gradients(task, store.keys("train"))  # in training mode, which moves statistics of batches
    return model.eval(), task


@pytest.fixture(scope="module")
def model(learned: Learned) -> DensityModel:
    return learned[0]


@pytest.fixture(scope="module")
def ethanol(store: Store) -> Structure:
    return store.structure(store.keys("train")[0])


@pytest.mark.parametrize("check", CHECKS + CLAIMS, ids=lambda check: check.__name__)
def test_contract(model: DensityModel, ethanol: Structure, check: Check) -> None:
    if check in CLAIMS and check not in claims(model):
        with pytest.raises(AssertionError):
            check(model, ethanol)
    else:
        check(model, ethanol)


def test_a_saved_model_is_the_same(model: DensityModel, name: str, ethanol: Structure) -> None:
    check_saved_model(model, _config(name), ethanol)


def test_lattice_shifts(model: DensityModel, ethanol: Structure) -> None:
    crystal = replace(ethanol, cell=np.diag([5.5, 5.0, 6.0]) + 0.4, pbc=(True, True, True))
    if model.config.kind in ("hk_map", "unet3d"):
        with pytest.raises(UserError, match="periodic"):
            model.predict(crystal)
    else:
        check_lattice_shift(model, crystal)


WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]]))
POINTS = np.random.default_rng(1).normal(size=(300, 3)) * 1.5
CHIRAL = Structure(
    np.array([6, 1, 6, 8, 8, 1, 1, 1]),
    np.array(
        [
            [0.0, 0.0, 0.0],
            [-0.6, -0.6, -0.6],
            [0.9, 0.9, -0.9],
            [-0.8, 0.8, 0.8],
            [0.85, -0.85, 0.85],
            [1.6, 1.5, -0.4],
            [-0.3, 1.5, 1.2],
            [0.4, -1.6, 1.3],
        ]
    ),
)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_mirror_images_of_a_chiral_molecule_have_mirrored_densities(model: DensityModel) -> None:
    if not model.equivariant or model.config.kind in ONE_COMPOSITION:
        pytest.skip("makes no such claim, or does not know this molecule")
    mirror = np.array([-1.0, 1.0, 1.0])
    one, other = model.predict([CHIRAL, Structure(CHIRAL.numbers, CHIRAL.positions * mirror)])
    assert _relative(other.at(POINTS * mirror), one.at(POINTS)) < 1e-5
    assert _relative(other.at(POINTS), one.at(POINTS)) > 1e-3


def test_other_compositions_in_one_batch(model: DensityModel, ethanol: Structure) -> None:
    if model.config.kind in ONE_COMPOSITION:
        with pytest.raises(UserError, match="knows C2H6O alone, but got H2O"):
            model.predict([ethanol, WATER])
        return
    structures = [ethanol, WATER, ethanol]
    for density, structure in zip(model.predict(structures), structures, strict=True):
        assert _relative(density.at(POINTS), model.predict(structure).at(POINTS)) < 1e-6
        if model.exact_electrons:
            assert abs(density.n_electrons - model.count_electrons(structure)) < 1e-5


def test_what_is_told(model: DensityModel) -> None:
    with pytest.raises(UserError, match="never saw F"):
        model.predict([Structure(np.array([9]), np.zeros((1, 3)))])
    with pytest.raises(UserError, match="not finite"):
        model.predict([Structure(np.array([8]), np.full((1, 3), np.nan))])
    with pytest.raises(UserError, match="on one spot"):
        model.predict([Structure(np.array([8, 1]), np.zeros((2, 3)))])
    with pytest.raises(UserError, match="no electrons left"):
        model.predict(replace(WATER, charge=8))


def test_what_is_learned_is_counted(model: DensityModel, name: str) -> None:
    assert (model.n_parameters > 0) == (name != "promolecule")


def test_gradients_that_do_not_arrive_are_told(learned: Learned, store: Store) -> None:
    """Records of one charge and multiplicity say nothing of what these do."""
    _, task = learned
    if task is None or task.model.config.kind != "orbital":
        pytest.skip("does not look at charges")
    with pytest.raises(AssertionError, match=r"backbone\.state"):
        check_gradients(task, store.keys("train")[:2])


def test_structures_go_through_predict_once(
    model: DensityModel, ethanol: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked, counted, placed and given neighbours once each."""
    calls: list[str] = []

    def counted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(Structure, "check")
    counted(DensityModel, "count_electrons")
    if model.config.kind == "orbital":
        from orbdens.models import graph

        counted(graph, "place_sites")
        counted(graph, "neighbours")
    model.predict(ethanol).at(POINTS)
    assert len(calls) == len(set(calls))
    assert {"check", "count_electrons"} <= set(calls)
