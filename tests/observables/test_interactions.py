"""The cubes of non-covalent interactions: those that NCIPLOT wrote for the water dimer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import places

from orbdens.formats.cube import read_cube
from orbdens.grid import Grid
from orbdens.labels import stored_density
from orbdens.observables.interactions import HIGHEST, reduced_gradient, write_interactions
from orbdens.store import open_store
from orbdens.units import BOHR

ORIGIN = (-0.661404, -0.566918, -0.661404)
NCIPLOT = {
    (0, 0, 0): (1.4021, 1.3856),
    (6, 6, 6): (-3.7659, 0.94338),
    (13, 11, 13): (-4.8415, 1.0977),
    (6, 0, 6): (-2.8506, 0.81862),
    (2, 7, 9): (-3.0413, 1.102),
    (10, 3, 4): (-2.33, 0.54424),
}
"""Index: values of NCIPLOT's h2o_dimer_pbe_sto3g-dens.cube, 100 sign(λ2)ρ in e/Bohr³, and of its -grad.cube."""


def test_cubes_are_nciplots(tmp_path: Path) -> None:
    store = open_store(str(places.TESTS / "published" / "critical_points" / "h2o_dimer"))
    density = stored_density(store, next(iter(store.keys())))
    grid = Grid(np.array(ORIGIN) * BOHR, 0.1 * BOHR * np.eye(3), (14, 12, 14))
    dens, grad = tmp_path / "x-dens.cube", tmp_path / "x-grad.cube"
    write_interactions(dens, grad, density, grid)
    structure, _, signed = read_cube(dens)
    _, _, reduced = read_cube(grad)
    assert structure.formula == "H4O2"
    for index, (sign, gradient) in NCIPLOT.items():  # read_cube takes values for densities
        np.testing.assert_allclose(signed[index] * BOHR**3, sign, rtol=3e-4)
        np.testing.assert_allclose(reduced[index] * BOHR**3, gradient, rtol=3e-4)
    assert (reduced * BOHR**3 > 99.9).sum() == 457  # as in NCIPLOT's: where the density is above 0.05 e/Bohr³


def test_the_reduced_gradient_of_a_tail_stays_finite() -> None:
    store = open_store(str(places.TESTS / "published" / "critical_points" / "h2o"))
    density = stored_density(store, next(iter(store.keys())))
    gradient, signed = reduced_gradient(density, [[0.0, 0.0, 30.0]])
    assert gradient[0] <= HIGHEST
    assert np.isfinite(signed).all()
