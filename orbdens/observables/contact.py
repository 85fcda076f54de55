"""Contact densities: the density at nuclei, which isomer shifts and hyperfine couplings follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbdens.density import Density

AT_NUCLEUS = 1e-4
"""Å; a point of a tabulated density that is nearer to a nucleus is at it: cores fall by 1e-3 and less until there."""


def contact_density(density: Density) -> NDArray[np.float64]:
    """The density at each nucleus, e/Å³ [n_atoms]; NaN where it is not known.

    A density without cores has none that mean anything; one on a grid knows none; one at points of its own knows those
    of nuclei that are among them.
    """
    positions = density.structure.positions
    unknown = np.full(len(positions), np.nan)
    if not density.has_cores or density.native_grid is not None:
        return unknown
    own = density.native_points
    if own is None:
        return density.at(positions).astype(np.float64)
    from scipy.spatial import KDTree

    distances, nearest = KDTree(own[0]).query(positions)
    return np.where(distances < AT_NUCLEUS, density.at(own[0])[nearest], unknown)


def contact_error(predicted: Density, reference: Density) -> float | None:
    """Mean over the nuclei that the reference knows of |ρ̂ − ρ| / ρ in %; None if it knows none."""
    exact = contact_density(reference)
    known = np.isfinite(exact)
    if not known.any():
        return None
    found = predicted.at(predicted.structure.positions[known]).astype(np.float64)
    return float(100 * np.abs(found / exact[known] - 1).mean())
