"""Critical points: those that Multiwfn publishes, to 0.001 Å; what chemistry knows of predicted ones; mistakes."""

from __future__ import annotations

import json

import ase.build
import numpy as np
import places
import pytest
from records import exact_pair

import orbdens
from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.kernels import Shells
from orbdens.labels import stored_density
from orbdens.observables.cores import whole_density
from orbdens.observables.critical_points import critical_points
from orbdens.store import open_store
from orbdens.structure import Structure
from orbdens.units import BOHR

PUBLISHED = places.TESTS / "published" / "critical_points"
MULTIWFN = json.loads((PUBLISHED / "multiwfn.json").read_text())


def published(name: str) -> Density:
    store = open_store(str(PUBLISHED / name))
    return stored_density(store, next(iter(store.keys())))


@pytest.fixture(scope="module")
def model() -> orbdens.DensityModel:
    return orbdens.load()


@pytest.mark.parametrize("name", MULTIWFN)
def test_counts_and_places_are_the_published_ones(name: str) -> None:
    found = critical_points(published(name))
    assert found.counts == {kind: len(MULTIWFN[name].get(kind, ())) for kind in found.counts}
    for kind, places_in_bohr in MULTIWFN[name].items():
        mine = np.array([point.position for point in found.points if point.kind == kind])
        for place in np.array(places_in_bohr) * BOHR:
            assert np.linalg.norm(mine - place, axis=1).min() < 1e-3, f"{kind} at {place}"
    assert found.poincare_hopf == 1
    assert found.missing_nuclei == []


def test_the_hessian_at_the_oxygen_nucleus_of_water_is_multiwfns() -> None:
    oxygen = critical_points(published("h2o")).points[0]
    assert oxygen.atoms == (0,)
    assert oxygen.density * BOHR**3 == pytest.approx(297.6212841, rel=1e-5)
    assert oxygen.laplacian * BOHR**5 == pytest.approx(-3332679.863, rel=1e-5)


def test_bonds_know_their_atoms_and_a_maximum_between_atoms_is_nobodys() -> None:
    tetrahedrane = critical_points(published("c4h4"))
    pairs = {bond.atoms for bond in tetrahedrane.of_kind("bond")}
    carbons = [i for i, symbol in enumerate(tetrahedrane.structure.symbols) if symbol == "C"]
    assert {(i, j) for i in carbons for j in carbons if i < j} <= pairs
    assert len(pairs) == 10
    assert [point.atoms for point in critical_points(published("li2")).of_kind("nuclear")][2] == ()


CUBANE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.785
WATER_DIMER = [[-1.551, -0.1145, 0], [-1.934, 0.7625, 0], [-0.5997, 0.0407, 0]]
WATER_DIMER += [[1.3506, 0.1115, 0], [1.6804, -0.3737, -0.7586], [1.6804, -0.3737, 0.7586]]
PREDICTED = {
    "H2": (ase.build.molecule("H2"), (2, 1, 0, 0)),
    "C2H2": (ase.build.molecule("C2H2"), (4, 3, 0, 0)),
    "benzene": (ase.build.molecule("C6H6"), (12, 12, 1, 0)),
    "cubane": (Structure(np.repeat([6, 1], 8), np.concatenate([CUBANE, CUBANE * 1.8])), (16, 20, 6, 1)),
    "water dimer": (Structure(np.array([8, 1, 1] * 2), np.array(WATER_DIMER)), (6, 5, 0, 0)),
    "chloride": (Structure(np.array([17]), np.zeros((1, 3)), charge=-1), (1, 0, 0, 0)),
    "hydroxide": (Structure(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, 0.97]]), charge=-1), (2, 1, 0, 0)),
}


@pytest.mark.parametrize("name", PREDICTED)
def test_predicted_densities_have_the_points_of_their_molecules(name: str, model: orbdens.DensityModel) -> None:
    atoms, counts = PREDICTED[name]
    found = critical_points(model.predict(atoms))
    assert tuple(found.counts.values()) == counts
    assert found.poincare_hopf == 1
    for nucleus in found.of_kind("nuclear"):
        assert np.linalg.norm(nucleus.position - found.structure.positions[nucleus.atoms[0]]) < 0.05
    for bond in found.of_kind("bond"):
        assert len(bond.atoms) == 2
        assert bond.ellipticity is not None and -1e-6 < bond.ellipticity < 0.6
        closed_shell = name == "water dimer" and bond.density < 0.3
        assert (bond.laplacian > 0) == closed_shell


def test_points_of_a_sum_of_two_gaussians_are_where_algebra_has_them() -> None:
    shells = Shells.from_lists([[(0, [1.0], [1.0])]])
    h2 = Structure(np.array([1, 1]), np.array([[-1.0, 0, 0], [1.0, 0, 0]]))
    density = OrbitalDensity(
        h2, h2.positions, np.zeros(2, dtype=int), shells, np.ones(2), None, valence_electrons={"H": 1}
    )
    found = critical_points(density)
    assert found.counts == {"nuclear": 2, "bond": 1, "ring": 0, "cage": 0}
    (bond,) = found.of_kind("bond")
    np.testing.assert_allclose(bond.position, 0, atol=1e-7)
    size = bond.density  # 2 N exp(-1); second derivatives along and across the axis
    np.testing.assert_allclose(bond.eigenvalues, [-2 * size, -2 * size, 2 * size], rtol=1e-6)
    place = found.of_kind("nuclear")[0].position[0]
    assert (abs(place) - 1) * np.exp(4 * abs(place)) == pytest.approx(-(1 + abs(place)), rel=1e-5)


def test_records_and_whole_densities_have_the_derivatives_of_their_sums(model: orbdens.DensityModel) -> None:
    points = np.random.default_rng(1).normal(size=(50, 3))
    record, the_same = exact_pair()
    for mine, exact in zip(record.second_derivatives_at(points), the_same.second_derivatives_at(points), strict=True):
        np.testing.assert_allclose(mine, exact, atol=2e-5 * np.abs(exact).max())
    whole = whole_density(model.predict(ase.build.molecule("H2O")))
    values, gradients, hessians = whole.second_derivatives_at(points)
    np.testing.assert_allclose(values, whole.at(points), rtol=1e-4, atol=1e-5)
    step = 1e-4
    for axis in range(3):
        ahead, behind = (whole.second_derivatives_at(points + sign * step * np.eye(3)[axis]) for sign in (1, -1))
        slopes, curvatures = (ahead[0] - behind[0]) / 2 / step, (ahead[1] - behind[1]) / 2 / step
        np.testing.assert_allclose(gradients[:, axis], slopes, atol=1e-4 * np.abs(gradients).max())
        np.testing.assert_allclose(hessians[:, axis], curvatures, atol=1e-4 * np.abs(hessians).max())


def test_a_grid_and_a_crystal_are_refused() -> None:
    water = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    grid = Grid.around(water, 1.0, 1.0)
    density = GridDensity(water, grid, np.ones(grid.shape, dtype=np.float32), valence_electrons={"O": 8, "H": 1})
    with pytest.raises(UserError, match="need a density of orbitals, not values on a grid"):
        critical_points(density)
    crystal = Structure(water.numbers, water.positions, np.eye(3) * 5, (True, True, True))
    with pytest.raises(UserError, match="is periodic, and the critical point"):
        critical_points(GridDensity(crystal, grid, density.values))
