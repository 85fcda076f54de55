"""The one definition of errors that every model, table and picture uses.

With weights w (volume per point) and sums over the points of one structure:

- NMAE in % is 100 · Σ w|ρ̂ − ρ| / Σ w|ρ|, on points that ``orbdens.comparison`` chooses.
- Regions split exactly that number, so that they add up to the NMAE: *nuclei* are the points nearer than 0.5 Å to
  an atom, the *tail* those farther than 2.0 Å from every atom, *bonds* the rest.
- The electron count error is the integral of the prediction over all space minus the exact number of electrons.
- The dipole error is the length of the difference of the two dipole vectors, in Debye, both about the centre of the
  nuclear charges, so that it means something even where the electron count is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.grid import Grid
from orbdens.structure import Structure
from orbdens.units import DEBYE

SPACING = 0.2
"""Å; of the uniform grid on which densities are compared, and of any grid for which no other is asked."""

MARGIN = 4.0
"""Å; of that grid, from the outermost atoms to its edge."""

QUADRATURE = 4
"""Level, as PySCF counts (0 to 9), of the quadrature on which densities with cores are compared."""

NEAR_NUCLEUS = 0.5
"""Å; a point nearer than this to an atom belongs to the nuclei."""

TAIL = 2.0
"""Å; a point farther than this from every atom belongs to the tail."""

REGIONS = {
    "nuclei": f"near nuclei (r < {NEAR_NUCLEUS:g} Å)",
    "bonds": "in bonds",
    "tail": f"in the tail (r > {TAIL:g} Å)",
}
"""Parts of space, and what tables and pictures call them."""

SLAB = 1_000_000
"""Points of a grid whose nearest atoms are searched at once, which bounds the memory."""


@dataclass(frozen=True)
class DensityError:
    """Error of one predicted density.

    Attributes:
        nmae: %.
        regions: the share of each of ``REGIONS`` in the NMAE, %.
    """

    nmae: float
    regions: dict[str, float]


def density_error(
    predicted: NDArray[np.floating],
    reference: NDArray[np.floating],
    distances: NDArray[np.floating],
    weights: NDArray[np.floating] | None = None,
) -> DensityError:
    """NMAE and its shares by region.

    Args:
        predicted: e/Å³, any shape.
        reference: e/Å³, of the same shape.
        distances: Å to the nearest atom, of the same shape.
        weights: Å³ per point, of the same shape; None on a regular grid.
    """
    weight = np.float64(1.0) if weights is None else weights.astype(np.float64)
    difference = np.abs(predicted.astype(np.float64) - reference) * weight
    total = (np.abs(reference.astype(np.float64)) * weight).sum()
    nuclei, tail = distances < NEAR_NUCLEUS, distances > TAIL
    nmae = 100 * difference.sum() / total
    shares = {"nuclei": 100 * difference[nuclei].sum() / total, "tail": 100 * difference[tail].sum() / total}
    shares["bonds"] = nmae - shares["nuclei"] - shares["tail"]
    return DensityError(float(nmae), {region: float(shares[region]) for region in REGIONS})


def nmae(
    predicted: NDArray[np.floating], reference: NDArray[np.floating], weights: NDArray[np.floating] | None = None
) -> float:
    """NMAE in %; both in the same units and of the same shape, weights as in ``density_error``."""
    weight = np.float64(1.0) if weights is None else weights.astype(np.float64)
    difference = (np.abs(predicted.astype(np.float64) - reference) * weight).sum()
    return float(100 * difference / (np.abs(reference.astype(np.float64)) * weight).sum())


def negative_part(predicted: NDArray[np.floating], weights: NDArray[np.floating] | None = None) -> float:
    """100 · Σ w|min(ρ̂, 0)| / Σ wρ̂ in %: the share of negative density; weights as in ``density_error``."""
    weighted = predicted.astype(np.float64) * (1.0 if weights is None else weights)
    return float(-100 * np.minimum(weighted, 0).sum() / weighted.sum())


def distances_to_atoms(structure: Structure, grid: Grid) -> NDArray[np.float32]:
    """Distance of every grid point to the nearest atom (periodic images included) in Å, an array of the grid's shape.

    Images are searched in the neighbouring cells, which is enough up to ``TAIL`` unless a cell is narrower than that.
    """
    return nearest_atoms(structure, grid)[0]


def nearest_atoms(structure: Structure, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """As ``distances_to_atoms``, and the index of the nearest atom of every point; both of the grid's shape."""
    distances = np.empty(grid.shape, dtype=np.float32)
    atoms = np.empty(grid.shape, dtype=np.intp)
    for where, slab in grid.slabs(SLAB):
        found, nearest = nearest_atoms_at(structure, slab.points())
        distances[where], atoms[where] = found.reshape(slab.shape), nearest.reshape(slab.shape)
    return distances, atoms


def nearest_atoms_at(structure: Structure, points: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """As ``nearest_atoms``, of any points in Å [n_points, 3]; both [n_points]."""
    from scipy.spatial import KDTree  # the command line reads the constants above, and must not wait for this

    distances, image = KDTree(structure.images()).query(points)
    return distances.astype(np.float32), image % structure.n_atoms  # whole cells of images follow one another


def electronic_dipole(grid: Grid, density: NDArray[np.floating]) -> NDArray[np.float64]:
    """−∫ρ r dr over a grid in e·Å [3], for a density in e/Å³ of the grid's shape."""
    weight = density.reshape(-1).astype(np.float64) * grid.volume_element
    moment: NDArray[np.float64] = weight @ grid.points()
    return -moment


def dipole_error(predicted: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Length in Debye of the difference of two dipole vectors in e·Å [3]."""
    return float(np.linalg.norm(predicted - reference) / DEBYE)


@dataclass(frozen=True)
class Summary:
    """What a distribution of errors comes down to."""

    mean: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Summary:
        """The summary of the errors' magnitudes, whatever their sign."""
        sizes = np.abs(np.asarray(errors, dtype=np.float64))
        return cls(float(sizes.mean()), float(np.median(sizes)), float(np.percentile(sizes, 95)), float(sizes.max()))
