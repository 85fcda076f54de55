"""Densities that are known at weighted points alone: files of PySCF's own values, from import to a trained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from importing import bring
from numpy.typing import NDArray
from pyscf import dft, gto

from data_tools.sources.statement import UserStatement
from orbdens.config import parse_config
from orbdens.errors import UserError
from orbdens.evaluation.measure import evaluate
from orbdens.formats.npz import write_npz
from orbdens.labels import stored_density
from orbdens.store import PointsRecord, Store
from orbdens.training.run import train
from orbdens.units import BOHR

WHOLE = UserStatement(density="all-electron")
CENTRED = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.47], [0.0, -0.757, -0.47]])


def write_water(path: Path, positions: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The density of a water's PBE calculation on PySCF's quadrature and at its nuclei, by PySCF alone, in Bohr."""
    mol = gto.M(atom=list(zip("OHH", positions, strict=True)), basis="6-31g", verbose=0)
    mf = dft.RKS(mol, xc="pbe")
    mf.grids.level = 1
    mf.kernel()
    points = np.concatenate([mf.grids.coords, mol.atom_coords()])
    weights = np.concatenate([mf.grids.weights, np.zeros(3)])
    density = mf._numint.eval_rho(mol, dft.numint.eval_ao(mol, points), mf.make_rdm1())
    dipole = -(weights * density) @ points
    write_npz(
        path,
        points=points,
        weights=weights,
        density=density,
        atnums=np.array([8, 1, 1]),
        atcoords=mol.atom_coords(),
    )
    return {"density": density, "dipole": dipole, "points": points}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("points")
    rng = np.random.default_rng(0)
    (folder / "waters").mkdir()
    for i in range(4):
        write_water(folder / "waters" / f"w{i}.density.npz", CENTRED + 0.05 * rng.normal(size=(3, 3)))
    (folder / "splits.json").write_text('{"train": ["w0", "w1", "w2"], "test": ["w3"]}')
    bring(folder / "waters", folder / "points.store", replace(WHOLE, splits=folder / "splits.json"))
    return folder


def test_values_and_integrals_are_pyscf_s(tmp_path: Path) -> None:
    truth = write_water(tmp_path / "density.npz", CENTRED)
    bring(tmp_path / "density.npz", tmp_path / "one.store", WHOLE)
    store = Store(tmp_path / "one.store")
    (key,) = store.keys()
    record, label = store[key], stored_density(store, key)
    assert isinstance(record, PointsRecord)
    np.testing.assert_allclose(record.points, truth["points"] * BOHR)
    np.testing.assert_allclose(label.at(record.points), truth["density"] / BOHR**3, rtol=1e-6)
    assert label.n_electrons == pytest.approx(10, abs=1e-3)
    np.testing.assert_allclose(label.dipole, truth["dipole"] * BOHR, atol=1e-6)
    np.testing.assert_allclose(label.multipoles(np.zeros(3), 0) * np.sqrt(4 * np.pi), label.n_electrons, rtol=1e-6)
    with pytest.raises(UserError, match=r"H2O is known at \d+ points alone"):
        label.at(record.points + 0.1)


def test_draws_are_unbiased(folder: Path) -> None:
    store = Store(folder / "points.store")
    label, rng = stored_density(store, "w0"), np.random.default_rng(1)
    record = store["w0"]
    assert isinstance(record, PointsRecord)
    near = np.exp(-np.square(record.points).sum(1))
    estimates, volumes = [], []
    for _ in range(200):
        points, weights, values = label.sample(500, rng)
        estimates.append(weights @ values)
        volumes.append(weights @ np.exp(-np.square(points).sum(1)))
    assert np.mean(estimates) == pytest.approx(label.n_electrons, rel=0.01)
    assert np.mean(volumes) == pytest.approx(record.weights @ near, rel=0.03)


def test_a_model_learns_from_points_and_is_measured_on_them(folder: Path) -> None:
    sections = {
        "data": {"store": str(folder / "points.store"), "train_split": "train", "n_train": 3, "n_validation": 1},
        "model": {
            "kind": "orbital",
            "channels": 4,
            "layers": 1,
            "l_max": 2,
            "basis": {"beta": 2.5, "l_max": 2, "max_exponent": [3000, 72]},
        },
        "objective": {"points_stage": 1.0, "points_per_structure": 300},
        "training": {"steps": 4, "batch_size": 2, "threads": 1},
    }
    train(parse_config(sections, "the test"), folder / "run")
    measured = evaluate(folder / "run", folder / "points.store", split="test")
    assert measured.slice is None
    assert measured.measured_on.spacing is None and measured.measured_on.quadrature is None
    assert max(measured.errors.nmae) < 30
    assert measured.errors.contact is not None and all(0 < error < 100 for error in measured.errors.contact)
    assert max(map(abs, measured.errors.electrons)) < 1e-3
