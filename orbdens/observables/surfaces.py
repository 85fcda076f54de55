"""Surfaces around molecules on which potentials are looked at: van der Waals spheres, and one density everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import vdw_radii
from numpy.typing import NDArray

from orbdens.density import Density, check_molecule
from orbdens.errors import UserError
from orbdens.structure import Structure

SCALES = (1.4, 1.6, 1.8, 2.0)
"""Factors on the radii of the four shells of Singh and Kollman, J. Comput. Chem. 5, 129 (1984)."""

POINTS_PER_AREA = 1.0
"""Å⁻²; points on those shells."""

RADII = {1: 1.20, 5: 1.45, 6: 1.50, 7: 1.50, 8: 1.40, 9: 1.35, 14: 1.75, 15: 1.80, 16: 1.75, 17: 1.70, 35: 2.30}
"""van der Waals radii in Å by atomic number, as programs for Merz-Kollman charges have them; Bondi's for the rest."""

ISO_LEVEL = 0.006748
"""e/Å³; 0.001 e/Bohr³, the surface of Bader and coworkers, J. Am. Chem. Soc. 109, 7968 (1987)."""

RAY_STEP = 0.1
"""Å; between the points of a ray at which a density is looked at before the crossing is found between two of them."""

RAY_END = 6.0
"""Å; how far from its atom a surface of one density may be."""


@dataclass(frozen=True)
class Surface:
    """Points on a surface.

    Attributes:
        points: Å [n_points, 3].
        areas: that each point stands for, Å² [n_points].
        atoms: whose part of the surface it is, index of the atom [n_points].
    """

    points: NDArray[np.float64]
    areas: NDArray[np.float64]
    atoms: NDArray[np.int64]


def radii_of(structure: Structure) -> NDArray[np.float64]:
    """van der Waals radii in Å [n_atoms].

    Raises:
        UserError: there is none for an element.
    """
    radii = np.array([RADII.get(int(z), vdw_radii[z] if z < len(vdw_radii) else np.nan) for z in structure.numbers])
    missing = np.flatnonzero(~np.isfinite(radii))
    if len(missing):
        raise UserError(f"there is no van der Waals radius for {structure.symbols[missing[0]]}")
    return radii


def directions(n: int) -> NDArray[np.float64]:
    """n unit vectors that stand for equal parts of the sphere, along a Fibonacci spiral [n, 3]."""
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def van_der_waals_surface(
    structure: Structure, scale: float = 1.0, points_per_area: float = POINTS_PER_AREA
) -> Surface:
    """The part of spheres about the atoms that is in none of the others.

    Args:
        structure: a molecule.
        scale: factor on the van der Waals radii.
        points_per_area: Å⁻².

    Raises:
        UserError: the structure is periodic, an element has no radius, or a number is not above 0.
    """
    check_molecule(structure, "surface")
    _above_zero("scale of the radii", scale)
    _above_zero("number of points per Å²", points_per_area)
    radii = scale * radii_of(structure)
    kept, areas, atoms = [], [], []
    for atom, (radius, position) in enumerate(zip(radii, structure.positions, strict=True)):
        area = 4 * np.pi * radius**2
        n = max(12, round(area * points_per_area))
        points = position + radius * directions(n)
        distances = np.linalg.norm(points[:, None] - structure.positions, axis=2)
        distances[:, atom] = np.inf
        outside = points[(distances >= radii).all(axis=1)]
        kept.append(outside)
        areas.append(np.full(len(outside), area / n))
        atoms.append(np.full(len(outside), atom))
    return Surface(np.concatenate(kept), np.concatenate(areas), np.concatenate(atoms).astype(np.int64))


def merz_kollman_points(
    structure: Structure, scales: Sequence[float] = SCALES, points_per_area: float = POINTS_PER_AREA
) -> NDArray[np.float64]:
    """The points in Å [n_points, 3] of several van der Waals surfaces, on which charges are fitted and errors measured.

    Raises:
        UserError: as ``van_der_waals_surface``.
    """
    return np.concatenate([van_der_waals_surface(structure, scale, points_per_area).points for scale in scales])


def isodensity_surface(density: Density, level: float = ISO_LEVEL, points_per_area: float = POINTS_PER_AREA) -> Surface:
    """The surface on which a density has one value, found along rays from every atom in the space nearest to it.

    Of several crossings of a ray the outermost is taken, so cavities are left out. The area of a point is its share of
    the solid angle, as the surface cuts it.

    Args:
        density: of a molecule.
        level: e/Å³.
        points_per_area: Å⁻², on spheres of the van der Waals radii; the surface has about as many.

    Raises:
        UserError: the structure is periodic, a number is not above 0, or nowhere is such a density.
    """
    structure = density.structure
    check_molecule(structure, "surface")
    _above_zero("density of a surface", level)
    _above_zero("number of points per Å²", points_per_area)
    lengths = np.arange(RAY_STEP, RAY_END + RAY_STEP, RAY_STEP)
    points, areas, atoms = [], [], []
    for atom, (radius, origin) in enumerate(zip(radii_of(structure), structure.positions, strict=True)):
        n = max(12, round(4 * np.pi * radius**2 * points_per_area))
        rays = directions(n)
        samples = origin + lengths[:, None, None] * rays
        inside = (density.at(samples.reshape(-1, 3)) >= level).reshape(len(lengths), n)
        falls = inside[:-1] & ~inside[1:] & _is_nearest(structure, samples[:-1], atom)
        hit = falls.any(axis=0)
        last = len(falls) - 1 - np.argmax(falls[::-1], axis=0)[hit]
        rays = rays[hit]
        crossing = _bisected(density, level, origin, rays, lengths[last])
        found = origin + crossing[:, None] * rays
        mine = _is_nearest(structure, found, atom)
        found, rays, crossing = found[mine], rays[mine], crossing[mine]
        cosines = np.abs((_normals(density, found) * rays).sum(axis=1))
        points.append(found)
        areas.append(4 * np.pi / n * crossing**2 / np.maximum(cosines, 0.1))
        atoms.append(np.full(len(found), atom))
    surface = Surface(np.concatenate(points), np.concatenate(areas), np.concatenate(atoms).astype(np.int64))
    if not len(surface.points):
        raise UserError(f"the density of {structure.formula} nowhere falls through {level:g} e/Å³")
    return surface


def _is_nearest(structure: Structure, points: NDArray[np.float64], atom: int) -> NDArray[np.bool_]:
    """Whether points [..., 3] are nearer to an atom than to any other [...]."""
    distances = np.linalg.norm(points[..., None, :] - structure.positions, axis=-1)
    nearest: NDArray[np.bool_] = np.argmin(distances, axis=-1) == atom
    return nearest


def _bisected(
    density: Density, level: float, origin: NDArray[np.float64], rays: NDArray[np.float64], low: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where along rays [n, 3] a density falls through a level, Å [n], which it does in a step from ``low`` on."""
    low, high = low.copy(), low + RAY_STEP
    for _ in range(20):  # 1e-7 Å
        middle = (low + high) / 2
        above = density.at(origin + middle[:, None] * rays) >= level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


def _normals(density: Density, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors along the gradient of a density at points [n, 3], by central differences."""
    steps = 0.01 * np.eye(3)
    slopes = [density.at(points + step).astype(np.float64) - density.at(points - step) for step in steps]
    gradients = np.stack(slopes, axis=1)
    return gradients / np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-30)


def _above_zero(what: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise UserError(f"expected a {what} above 0, but got {value:g}")
