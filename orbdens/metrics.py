"""The one definition of errors that every model, table and picture uses.

With weights w (volume per point) and sums over the points of one structure:

- NMAE in % is 100 · Σ w|ρ̂ − ρ| / Σ w|ρ|.
- Regions split exactly that number, so that they add up to the NMAE: *nuclei* are the points nearer than 0.5 Å to
  an atom, the *tail* those farther than 2.0 Å from every atom, *bonds* the rest.
- The electron count error is the integral of the prediction over all space minus the exact number of electrons.
- The dipole error is the length of the difference of the two dipole vectors, in Debye, both about the centre of the
  nuclear charges, so that it means something even where the electron count is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.grid import Grid
from orbdens.structure import Structure
from orbdens.units import DEBYE

SPACING, MARGIN = 0.2, 4.0
"""Å; the standard grid around molecules on which densities are compared."""

NEAR_NUCLEUS = 0.5
"""Å; a point nearer than this to an atom belongs to the nuclei."""

TAIL = 2.0
"""Å; a point farther than this from every atom belongs to the tail."""

REGIONS = ("nuclei", "bonds", "tail")


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


def nmae(predicted: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """NMAE in % on a regular grid; both in the same units and of the same shape."""
    difference = np.abs(predicted.astype(np.float64) - reference).sum()
    return float(100 * difference / np.abs(reference.astype(np.float64)).sum())


def negative_part(predicted: NDArray[np.floating]) -> float:
    """100 · Σ|min(ρ̂, 0)| / Σρ̂ in %, on a regular grid: electrons that are fewer than none."""
    return float(-100 * np.minimum(predicted, 0).sum(dtype=np.float64) / predicted.sum(dtype=np.float64))


def distances_to_atoms(structure: Structure, grid: Grid) -> NDArray[np.float32]:
    """Distance of every grid point to the nearest atom (periodic images included) in Å, an array of the grid's shape.

    Images are searched in the neighbouring cells, which is enough up to ``TAIL`` unless a cell is narrower than that.
    """
    centres = structure.images()
    points = (grid.points() - centres.mean(axis=0)).astype(np.float32)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    for centre in (centres - centres.mean(axis=0)).astype(np.float32):
        offset = points - centre
        np.minimum(nearest, np.einsum("ij,ij->i", offset, offset), out=nearest)
    return np.sqrt(nearest, out=nearest).reshape(grid.shape)


def electronic_dipole(grid: Grid, density: NDArray[np.floating]) -> NDArray[np.float64]:
    """−∫ρ r dr over a grid in e·Å [3], for a density in e/Å³ of the grid's shape."""
    weight = density.reshape(-1).astype(np.float64) * grid.volume_element
    moment: NDArray[np.float64] = weight @ grid.points()
    return -moment


def nuclear_charges(structure: Structure, valence_electrons: Mapping[str, int]) -> NDArray[np.float64]:
    """Charges in e [n_atoms] that balance the neutral atoms' parts of the density."""
    from ase.data import chemical_symbols

    return np.array([valence_electrons[chemical_symbols[z]] for z in structure.numbers], dtype=np.float64)


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
        """Of the errors' magnitudes, whatever their sign."""
        sizes = np.abs(np.asarray(errors, dtype=np.float64))
        return cls(float(sizes.mean()), float(np.median(sizes)), float(np.percentile(sizes, 95)), float(sizes.max()))
