"""Kernel regression on atomic environments: its kernels, its regression against plain least squares, its errors."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import places
import pytest
import torch
from scipy.spatial.transform import Rotation

from orbdens.config import parse_config
from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.kernels import solid_harmonics
from orbdens.labels import stored_density
from orbdens.models.basis import make_basis
from orbdens.models.basis_options import BasisConfig
from orbdens.models.density_fitting import metric_matrix
from orbdens.models.overlap_metric import OverlapMetric
from orbdens.models.soap_gpr.kernel import farthest, whitened
from orbdens.models.soap_gpr.model import SoapModel
from orbdens.models.soap_gpr.options import SoapConfig
from orbdens.models.soap_gpr.power_spectra import PowerSpectra
from orbdens.models.soap_gpr.regression import Regression, principal
from orbdens.models.soap_gpr.task import SoapTask
from orbdens.models.task import TrainingData
from orbdens.progress import silent
from orbdens.sites import place_sites
from orbdens.store import Store
from orbdens.structure import Structure

SMALL = {"radial_functions": 3, "angular_degree": 2, "components": 40, "environments": 12}
OPTIONS: dict[str, Any] = {
    "data": {"store": str(places.GOLDEN / "ethanol")},
    "model": {"kind": "soap_gpr", "basis": {"beta": 2.5, "l_max": 2}, **SMALL},
    "objective": {"iterations": 60},
}
WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.1, -0.76, -0.5]]))
MOVED = Structure(WATER.numbers, WATER.positions * 1.05 + 0.02 * np.arange(9).reshape(3, 3))


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(places.GOLDEN / "ethanol")


@pytest.fixture(scope="module")
def model(store: Store, tmp_path_factory: pytest.TempPathFactory) -> SoapModel:
    data = TrainingData(store, store.keys(), tmp_path_factory.mktemp("cache"), silent)
    return SoapTask.fit(parse_config(OPTIONS, "the test"), data).eval()


def test_power_spectra_turn_as_the_harmonics_of_our_orbitals() -> None:
    """Order and signs of featomic's m are those of the kernels."""
    spectra = PowerSpectra([1, 8], [2, 2], SoapConfig(**SMALL))
    turn = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    points = np.random.default_rng(1).normal(size=(30, 3))
    here, there = (solid_harmonics(2, torch.as_tensor(p)).numpy() for p in (points, points @ turn.T))
    found, turned = spectra([WATER]), spectra([Structure(WATER.numbers, WATER.positions @ turn.T)])
    for kind in range(2):
        for l in range(3):
            rows = slice(l * l, (l + 1) ** 2)
            matrix = np.linalg.lstsq(here[:, rows], there[:, rows], rcond=None)[0].T
            assert np.allclose(turned[kind][l], np.einsum("mn,anq->amq", matrix, found[kind][l]), atol=1e-8)
            assert np.abs(found[kind][l]).max() > 1e-3


def test_features_have_the_kernel_as_their_products(model: SoapModel, store: Store) -> None:
    keys = store.keys()
    spectra = model.spectra([store.structure(key) for key in keys])
    for kind in range(len(model.basis.types)):
        for sparse in model.kernel.among_sparse(kind):
            to = whitened(sparse)
            assert torch.allclose(sparse @ to @ (sparse @ to).T, sparse, atol=1e-6 * float(sparse.max()))
        assert (model.kernel.own(spectra, kind) > 0).all()


def test_farthest_points() -> None:
    rows = np.array([[0.0, 1.0], [5.0, 0.0], [4.9, 0.1], [0.0, -3.0]])
    assert farthest(rows, 2).tolist() == [1, 3]
    assert farthest(rows, 9).tolist() == [0, 1, 2, 3]


def test_overlaps_of_many_molecules_are_those_of_each() -> None:
    basis = make_basis([1, 8], BasisConfig(beta=2.5, l_max=2))
    structures = [WATER, MOVED]
    kinds = torch.as_tensor(basis.index(np.concatenate([s.numbers for s in structures])))
    widths = torch.tensor(basis.sizes)[kinds]
    flat = torch.randn(int(widths.sum()), generator=torch.Generator().manual_seed(0))
    products = OverlapMetric(basis, structures)(basis.per_type(flat, kinds))
    parts = []
    for structure, part in zip(structures, flat.split(int(widths.sum()) // 2), strict=True):
        matrix, _ = metric_matrix(place_sites(structure, "atoms"), basis, "overlap")
        whole = np.triu(matrix) + np.triu(matrix, 1).T
        parts.append(torch.as_tensor(whole).float() @ part)
    for found, expected in zip(products, basis.per_type(torch.cat(parts), kinds), strict=True):
        assert torch.allclose(found, expected, atol=1e-4 * float(flat.abs().max()))


def test_the_regression_solves_the_normal_equations() -> None:
    basis = make_basis([1, 8], BasisConfig(beta=3.0, l_max=1))
    generator, ridge = torch.Generator().manual_seed(1), 0.01
    structures = [WATER, MOVED]
    features, strengths = [], []
    for kind, n_atoms in enumerate((4, 2)):
        blocks = [torch.randn(n_atoms, 2 * l + 1, 3, generator=generator) for l in range(len(basis.radials[kind]))]
        turns = [principal(block) for block in blocks]
        features.append([block @ vectors.float() for block, (vectors, _) in zip(blocks, turns, strict=True)])
        strengths.append([values for _, values in turns])
    metric = OverlapMetric(basis, structures)
    regression = Regression(basis, metric, features, strengths, ridge)
    targets = [torch.randn(n, size, generator=generator) for n, size in zip((4, 2), basis.sizes, strict=True)]
    weights = regression.solve(targets, iterations=300, tolerance=1e-6, progress=silent)
    errors = [t - c for t, c in zip(targets, regression.coefficients(weights), strict=True)]
    for kind, of_element in enumerate(regression.transposed(metric(errors))):
        for gradient, weight in zip(of_element, weights[kind], strict=True):
            assert torch.allclose(gradient, ridge * weight, atol=2e-4)
    assert max(float(w.abs().max()) for of_element in weights for w in of_element) > 0.01


def test_training_structures_are_met_and_errors_are_told(model: SoapModel, store: Store) -> None:
    def errors_of(keys: Any) -> Any:
        return [(store.structure(key), np.full(store.structure(key).n_atoms, 0.05)) for key in keys]

    structure = store.structure(store.keys()[0])
    label = stored_density(store, store.keys()[0])
    density = model.predict(structure)
    points = structure.positions.mean(axis=0) + np.random.default_rng(2).normal(size=(500, 3))
    assert np.abs(density.at(points) - label.at(points)).sum() < 0.05 * label.at(points).sum()
    assert density.expected_error is None

    SoapTask.finish(model, store.keys(), errors_of)
    told = model.predict(structure)
    assert isinstance(told, OrbitalDensity)
    assert told.expectation is not None
    assert told.expectation.error == pytest.approx(told.expectation.usual, rel=1.0)
    assert told.expectation.atom_errors.shape == (9,)
    stretched = model.predict(Structure(structure.numbers, structure.positions * 1.3))
    assert stretched.expected_error is not None
    assert stretched.expected_error > 2 * told.expectation.error
    assert stretched.unfamiliar
    assert "an extrapolation" in " ".join(stretched.warnings)


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "featomic", None)
    with pytest.raises(UserError, match=r"pip install 'orbdens\[kernels\]'"):
        PowerSpectra([1], [0], SoapConfig())
