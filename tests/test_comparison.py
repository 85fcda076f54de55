"""Where densities are compared: cores are integrated wherever their nuclei are, and no grid is taken for them."""

from __future__ import annotations

import numpy as np
import pytest
from all_electron import CENTRED, ELECTRONS, hartree_fock
from places import GOLDEN
from scipy.spatial.transform import Rotation

from orbdens.comparison import AtPoints, OnGrid, comparison
from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.labels import label_density, stored_density
from orbdens.metrics import MARGIN, SPACING, density_error, nmae
from orbdens.observables.free_atoms import promolecule
from orbdens.store import GridRecord, Manifest, Store
from orbdens.structure import Structure

PAIR = Structure(np.array([3, 8]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]]))
TURN = Rotation.from_euler("zyx", [0.7, 0.4, 1.1]).as_matrix()


def whole_water(positions: np.ndarray = CENTRED) -> Density:
    return label_density(*hartree_fock(positions))


def test_labels_are_compared_on_their_own_grid_or_on_the_standard_one() -> None:
    own = Grid(np.zeros(3), np.eye(3), (2, 2, 2))
    on_own = comparison(GridDensity(PAIR, own, np.zeros(own.shape, dtype=np.float32)))
    assert isinstance(on_own, OnGrid) and on_own.grid is own
    label = stored_density(Store(GOLDEN / "ethanol"), "ethanol-00000")
    standard = comparison(label)
    assert isinstance(standard, OnGrid)
    assert standard.grid.same_as(Grid.around(label.structure, SPACING, MARGIN))


def test_all_electrons_are_there() -> None:
    label = whole_water()
    points = comparison(label)
    assert isinstance(points, AtPoints)
    assert points.volumes @ points.values(label).astype(np.float64) == pytest.approx(10, abs=1e-4)
    grid = OnGrid(label.structure, Grid.around(label.structure, SPACING, MARGIN))
    assert abs((grid.values(label) * grid.volumes).sum() - 10) > 0.1  # which is why


def test_a_molecule_that_moves_keeps_its_error() -> None:
    """Free atoms in place of the molecule, calculated anew where it has moved to."""
    errors = []
    for positions in (CENTRED, CENTRED + np.array([0.05, -0.33, 1.21]), CENTRED @ TURN.T):
        label = whole_water(positions)
        points = comparison(label)
        predicted, reference = points.values(promolecule(label.structure)), points.values(label)
        errors.append(nmae(predicted, reference, points.volumes))
        shares = density_error(predicted, reference, points.nearest()[0], points.volumes)
        assert shares.nmae == pytest.approx(errors[-1])
        assert all(share > 0 for share in shares.regions.values())
    assert errors[0] > 5
    np.testing.assert_allclose(errors[1:], errors[0], rtol=1e-2)


def test_nearest_atoms_of_the_quadrature() -> None:
    points = comparison(whole_water())
    assert isinstance(points, AtPoints)
    distances, atoms = points.nearest()
    every = np.linalg.norm(points.points[:, None] - CENTRED, axis=2)
    np.testing.assert_allclose(distances, every.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(every[np.arange(len(atoms)), atoms], every.min(axis=1))


def test_cores_on_grids_are_refused() -> None:
    values = np.ones((4, 4, 4), dtype=np.float32)
    record = GridRecord(Structure(np.array([8, 1, 1]), CENTRED), np.zeros(3), np.eye(3), values)
    with pytest.raises(UserError, match="density of H2O has cores and is known on a grid"):
        comparison(label_density(record, Manifest({}, "all-electron", ELECTRONS)))
    assert isinstance(comparison(label_density(record, Manifest({}, "valence", {"H": 1, "O": 6}))), OnGrid)
