"""X-ray form factors of the atoms in a molecule, from a valence density and free atoms.

f_a(k) = f_free(k) + ∫ w_a(r) [ρ(r) − Σ_b ρ_b(r)] exp(ik·(r − R_a)) dr, with the form factor of the free atom with all
its electrons, the valence density ρ, those ρ_b of free pseudo-atoms, and Hirshfeld's weights w_a. Form factors of all
atoms add up to the Fourier transform of the whole density: frozen cores and the predicted valence.

The integral is taken on spheres about the atom: Lebedev's points give the deformation in spherical harmonics,
d_lm(r), and f(k) = f_free(k) + 4π Σ_lm i^l Y_lm(k) ∫ j_l(kr) d_lm(r) r² dr.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density
from orbdens.observables.free_atoms import free_atom, promolecule


@dataclass(frozen=True)
class Spheres:
    """Fineness of the integration about an atom.

    Attributes:
        n_radii: spheres, denser towards the nucleus.
        degree: of Lebedev's rule, up to which harmonics are integrated exactly.
        l_max: highest harmonic of the deformation.
        reach: Å; radius of the largest sphere.
        step: Å⁻¹ between the wave numbers at which radial integrals are taken; cubic in between.
    """

    n_radii: int = 60
    degree: int = 35
    l_max: int = 17
    reach: float = 7.0
    step: float = 0.1

    @cached_property
    def radii(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Radii in Å and their weights with r², Gauss and Chebyshev's second rule by Becke's map [n_radii]."""
        n = self.n_radii
        angles = np.arange(1, n + 1) * np.pi / (n + 1)
        x, middle = np.cos(angles), 0.7
        radii = middle * (1 + x) / (1 - x)
        weights = np.pi / (n + 1) * np.sin(angles) * 2 * middle / (1 - x) ** 2 * radii**2
        near = radii < self.reach
        return radii[near], weights[near]

    @cached_property
    def directions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lebedev's unit vectors [n_directions, 3] and their weights, which add up to 4π [n_directions]."""
        from scipy.integrate import lebedev_rule

        points, weights = lebedev_rule(self.degree)
        return points.T, weights


def form_factors(
    density: Density,
    atoms: Sequence[int],
    wave_vectors: NDArray[np.float64],
    spheres: Spheres = Spheres(),
) -> NDArray[np.complex128]:
    """Form factors of atoms, each about its own nucleus.

    Args:
        density: the valence density of a molecule, without periodic images.
        atoms: of which atoms.
        wave_vectors: k in Å⁻¹ [n_vectors, 3].
        spheres: fineness of the integration.

    Returns:
        e [n_atoms, n_vectors], in the convention ∫ρ exp(+ik·r) dr.

    Raises:
        UserError: there is no free atom of an element.
    """
    from scipy.special import spherical_jn

    structure = density.structure
    all_electrons, valence = promolecule(structure), promolecule(structure, "valence")
    radii, radial_weights = spheres.radii
    directions, weights = spheres.directions
    around = (radii[:, None, None] * directions).reshape(-1, 3)
    projector = weights[:, None] * real_harmonics(spheres.l_max, directions)
    wave_numbers = np.linalg.norm(wave_vectors, axis=1)
    nodes = np.arange(0, wave_numbers.max(initial=0) + 4 * spheres.step, spheres.step)
    between = _interpolation(len(nodes), spheres.step, wave_numbers)
    l_of = np.repeat(np.arange(spheres.l_max + 1), 2 * np.arange(spheres.l_max + 1) + 1)
    bessel = np.stack([spherical_jn(l, nodes[:, None] * radii) for l in range(spheres.l_max + 1)])
    harmonics = real_harmonics(spheres.l_max, wave_vectors / np.maximum(wave_numbers, 1e-12)[:, None])
    found = np.empty((len(atoms), len(wave_vectors)), dtype=np.complex128)
    for n, atom in enumerate(atoms):
        points = structure.positions[atom] + around
        free = free_atom(structure.symbols[atom])
        share = np.repeat(free.at(radii), len(directions)) / np.maximum(all_electrons.at(points), 1e-12)
        deformation = np.clip(share, 0, 1) * (density.at(points).astype(np.float64) - valence.at(points))
        of_harmonics = radial_weights[:, None] * (deformation.reshape(len(radii), -1) @ projector)
        table = (
            4
            * np.pi
            * np.concatenate([bessel[l] @ of_harmonics[:, l_of == l] for l in range(spheres.l_max + 1)], axis=1)
        )
        terms = (between @ table) * harmonics
        real, imaginary = (terms @ sign for sign in ((1j**l_of).real, (1j**l_of).imag))
        found[n] = free.form_factor(wave_numbers) + real + 1j * imaginary
    return found


def real_harmonics(l_max: int, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal real spherical harmonics of unit vectors [n, 3], l = 0..l_max, m = -l..l [n, (l_max + 1)²].

    By the recursion of normalised Legendre functions in l, stable to any l; the kernels' harmonics end earlier.
    """
    x, y, z = directions.T
    found = np.empty((len(directions), (l_max + 1) ** 2))
    around = np.ones(len(directions), dtype=np.complex128)  # (sinθ exp(iφ))^m
    diagonal = np.sqrt(1 / (4 * np.pi))
    for m in range(l_max + 1):
        before, here = np.zeros(len(directions)), np.full(len(directions), diagonal)
        for l in range(m, l_max + 1):
            if l > m:
                up = np.sqrt((4 * l * l - 1) / (l * l - m * m))
                down = (
                    np.sqrt(((2 * l + 1) * ((l - 1) ** 2 - m * m)) / ((2 * l - 3) * (l * l - m * m))) if l > 1 else 0.0
                )
                before, here = here, up * z * here - down * before
            factor = np.sqrt(2) if m else 1.0
            found[:, l * l + l - m] = factor * here * around.imag
            found[:, l * l + l + m] = factor * here * around.real
        around = around * (x + 1j * y)
        diagonal *= np.sqrt((2 * m + 3) / (2 * m + 2))
    return found


def _interpolation(nodes: int, step: float, places: NDArray[np.float64]) -> Any:
    """Sparse matrix [n, nodes] of cubic interpolation between ``nodes`` values at 0, step, 2 step, ... to places."""
    from scipy.sparse import csr_array

    first = np.clip(np.floor(places / step).astype(int) - 1, 0, nodes - 4)
    t = places / step - first
    weights = [
        -(t - 1) * (t - 2) * (t - 3) / 6,
        t * (t - 2) * (t - 3) / 2,
        -t * (t - 1) * (t - 3) / 2,
        t * (t - 1) * (t - 2) / 6,
    ]
    columns = first[:, None] + np.arange(4)
    rows = np.arange(0, 4 * len(places) + 1, 4)
    return csr_array((np.stack(weights, axis=1).reshape(-1), columns.reshape(-1), rows), shape=(len(places), nodes))
