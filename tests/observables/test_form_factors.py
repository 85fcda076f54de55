"""Form factors: their sum in closed form, how they turn and mirror, and free atoms."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.density import OrbitalDensity
from orbdens.kernels import Orbitals, Shells, orbital_field_transforms
from orbdens.observables.form_factors import Spheres, form_factors, real_harmonics
from orbdens.observables.free_atoms import free_atom, promolecule
from orbdens.structure import Structure

WATER = Structure(np.array([8, 1, 1]), np.array([[0.0, 0.1, 0.1], [0.3, 0.76, -0.5], [0.0, -0.76, -0.6]]))
VECTORS = np.random.default_rng(0).normal(size=(60, 3)) * 5


def bonded(structure: Structure = WATER, turn: NDArray[np.float64] | None = None) -> OrbitalDensity:
    """Free valence atoms, and what moves between them: a little charge and p orbitals on O and H."""
    free = promolecule(structure, "valence")
    lists = [[(0, [2.0], [1.0]), (1, [1.5], [1.0])]] * 2
    extra = Shells.from_lists(lists)
    types = np.array([0, 1, 1])
    p = np.array([[0.1, 0.3, -0.2], [0.05, -0.2, 0.1], [-0.1, 0.1, 0.2]])  # x, y, z
    p = p if turn is None else p @ turn.T
    s = np.array([0.2, -0.1, -0.1])
    sites = np.concatenate([structure.positions, structure.positions])
    shells = Shells(
        torch.tensor([0, 1, 2, 4, 6]),
        torch.cat([free.shells.shell_l, extra.shell_l]),
        torch.cat([free.shells.primitive_ptr, free.shells.primitive_ptr[-1] + extra.primitive_ptr[1:]]),
        torch.cat([free.shells.exponents, extra.exponents]),
        torch.cat([free.shells.weights, extra.weights]),
    )
    moved = np.concatenate([s[:, None], p[:, [1, 2, 0]]], axis=1).reshape(-1)  # m = -1, 0, 1 is y, z, x
    coefficients = np.concatenate([np.ones(3), moved])
    return OrbitalDensity(structure, sites, np.concatenate([free.site_types, types + 2]), shells, coefficients, None)


def transform(density: OrbitalDensity, vectors: NDArray[np.float64]) -> NDArray[np.complex128]:
    """∫ρ exp(ik·r) dr in closed form."""
    orbitals = Orbitals.of_structure(
        torch.as_tensor(density.site_positions),
        torch.as_tensor(density.site_types),
        density.shells,
        torch.as_tensor(density.coefficients)[:, None],
    )
    found: NDArray[np.complex128] = orbital_field_transforms(orbitals, -torch.as_tensor(vectors))[0, :, 0].numpy()
    return found


def test_form_factors_add_up_to_the_transform_of_the_whole_density() -> None:
    density = bonded()
    found = form_factors(density, [0, 1, 2], VECTORS, Spheres(n_radii=90, degree=47, l_max=22))
    total = (found * np.exp(1j * WATER.positions @ VECTORS.T)).sum(axis=0)
    expected = transform(density, VECTORS) + transform(promolecule(WATER), VECTORS)
    expected -= transform(promolecule(WATER, "valence"), VECTORS)
    np.testing.assert_allclose(total, expected, atol=1e-4)
    coarser = form_factors(density, [0, 1, 2], VECTORS)
    np.testing.assert_allclose(coarser, found, atol=1e-3)
    assert abs(found.imag).max() > 0.05


def test_form_factors_turn_with_the_molecule() -> None:
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    turned = Structure(WATER.numbers, WATER.positions @ turn.T + [3.0, -1.0, 2.0])
    found = form_factors(bonded(turned, turn), [0, 1], VECTORS @ turn.T)
    np.testing.assert_allclose(found, form_factors(bonded(), [0, 1], VECTORS), atol=2e-3)


def test_free_atoms_keep_their_form_factors() -> None:
    found = form_factors(promolecule(WATER, "valence"), [0], VECTORS)
    free = free_atom("O").form_factor(np.linalg.norm(VECTORS, axis=1))
    np.testing.assert_allclose(found[0], free, atol=1e-4)


def test_harmonics_are_orthonormal() -> None:
    directions, weights = Spheres(degree=35).directions
    values = real_harmonics(17, directions)
    np.testing.assert_allclose((values * weights[:, None]).T @ values, np.eye(18**2), atol=1e-12)
    np.testing.assert_allclose(values[:, 1:4] * np.sqrt(4 * np.pi / 3), directions[:, [1, 2, 0]], atol=1e-12)
