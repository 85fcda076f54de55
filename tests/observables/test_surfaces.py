"""Surfaces: areas that are known, and that points lie where they should."""

from __future__ import annotations

import numpy as np
import pytest

from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.kernels import Shells
from orbdens.observables.surfaces import (
    SCALES,
    directions,
    isodensity_surface,
    merz_kollman_points,
    radii_of,
    van_der_waals_surface,
)
from orbdens.structure import Structure


def atoms(*positions: float, number: int = 1) -> Structure:
    """Atoms of one element along x, at Å."""
    places = np.array([[x, 0.0, 0.0] for x in positions])
    return Structure(np.full(len(places), number), places)


def spherical(structure: Structure, exponent: float = 0.8) -> OrbitalDensity:
    """exp(−a r²) about every atom, e/Å³."""
    shells = Shells.from_lists([[(0, [exponent], [1.0])]])
    c = np.full(structure.n_atoms, np.sqrt(4 * np.pi)) / shells.weights.numpy()[0]
    return OrbitalDensity(structure, structure.positions, np.zeros(structure.n_atoms, dtype=np.int64), shells, c, None)


def test_directions_stand_for_equal_parts() -> None:
    rays = directions(500)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    np.testing.assert_allclose(rays.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(rays.T @ rays / 500, np.eye(3) / 3, atol=2e-3)


def test_spheres_that_overlap_lose_their_caps() -> None:
    radius, apart = radii_of(atoms(0.0))[0] * 1.4, 1.5
    surface = van_der_waals_surface(atoms(0.0, apart), 1.4, points_per_area=80)
    zone = 2 * np.pi * radius * (radius + apart / 2)
    assert surface.areas.sum() == pytest.approx(2 * zone, rel=2e-3)
    assert surface.areas[surface.atoms == 1].sum() == pytest.approx(zone, rel=2e-3)
    distances = np.linalg.norm(surface.points[:, None] - atoms(0.0, apart).positions, axis=2)
    np.testing.assert_allclose(distances.min(axis=1), radius)


def test_merz_kollman_shells() -> None:
    points = merz_kollman_points(atoms(0.0))
    distances, counts = np.unique(np.linalg.norm(points, axis=1).round(6), return_counts=True)
    np.testing.assert_allclose(distances, 1.2 * np.array(SCALES))
    np.testing.assert_allclose(counts, 4 * np.pi * distances**2, atol=1)


def test_an_isodensity_surface_of_one_atom_is_a_sphere() -> None:
    surface = isodensity_surface(spherical(atoms(0.3)), level=0.01, points_per_area=5)
    radius = np.sqrt(np.log(100) / 0.8)
    np.testing.assert_allclose(np.linalg.norm(surface.points - [0.3, 0, 0], axis=1), radius, atol=1e-5)
    assert surface.areas.sum() == pytest.approx(4 * np.pi * radius**2, rel=1e-4)


def test_an_isodensity_surface_of_two_atoms() -> None:
    density = spherical(atoms(-0.8, 0.8))
    surface = isodensity_surface(density, level=0.02, points_per_area=80)
    np.testing.assert_allclose(density.at(surface.points), 0.02, rtol=1e-4)
    # by turning the profile y(x) about the axis
    x = np.linspace(-4, 4, 400_001)
    across = np.log(50 * (np.exp(-0.8 * (x + 0.8) ** 2) + np.exp(-0.8 * (x - 0.8) ** 2))) / 0.8
    y = np.sqrt(np.maximum(across, 0))
    expected = 2 * np.pi * (y[1:] * np.hypot(np.diff(x), np.diff(y))).sum()
    assert surface.areas.sum() == pytest.approx(expected, rel=5e-3)
    assert (surface.atoms == 0).sum() == pytest.approx((surface.atoms == 1).sum(), rel=0.05)


def test_what_it_refuses() -> None:
    cell = Structure(np.array([1]), np.zeros((1, 3)), 4 * np.eye(3), (True, True, True))
    with pytest.raises(UserError, match="periodic"):
        van_der_waals_surface(cell)
    with pytest.raises(UserError, match="above 0"):
        van_der_waals_surface(atoms(0.0), scale=-1.0)
    with pytest.raises(UserError, match="no van der Waals radius for Og"):
        radii_of(atoms(0.0, number=118))
    with pytest.raises(UserError, match="nowhere falls through 5"):
        isodensity_surface(spherical(atoms(0.0)), level=5.0)
