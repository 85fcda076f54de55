"""Non-covalent interactions as E. R. Johnson and others show them, J. Am. Chem. Soc. 132, 6498 (2010)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orbdens.density import Density, check_molecule
from orbdens.formats.cube import write_nci_cubes
from orbdens.grid import Grid
from orbdens.observables.cores import whole_density

HIGHEST = 100.0
"""The reduced gradient is cut off here, as in NCIPLOT: in the tail of a density it grows without end."""

COVALENT = 0.33742
"""e/Å³; 0.05 e/Bohr³. Where the density is higher NCIPLOT's cube has ``HIGHEST``, so that bonds hide nothing."""

AT_ONCE = 500_000
"""Points evaluated together, which bounds the memory."""


def reduced_gradient(density: Density, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reduced density gradient, and the density with the sign of the Hessian's middle eigenvalue.

    Args:
        density: of all electrons; of a valence density the values near nuclei would be others.
        points: Å [n_points, 3].

    Returns:
        |∇ρ| / (2 (3π²)^(1/3) ρ^(4/3)), at most ``HIGHEST`` [n_points]; sign(λ2)ρ in e/Å³ [n_points].

    Raises:
        UserError: the points are no such points, or the density is known on a grid alone.
    """
    values, gradients, hessians = density.second_derivatives_at(points)
    slopes = np.linalg.norm(gradients, axis=1) / (2 * (3 * np.pi**2) ** (1 / 3))
    positive = np.maximum(values, 1e-12) ** (4 / 3)
    return np.minimum(slopes / positive, HIGHEST), np.sign(np.linalg.eigvalsh(hessians)[:, 1]) * values


def write_interactions(dens: Path, grad: Path, density: Density, grid: Grid) -> None:
    """Write the two cube files that NCIPLOT writes: 100 sign(λ2)ρ in e/Bohr³, and the reduced gradient.

    In bonds the gradient is ``HIGHEST``. A valence density gets the frozen cores of its atoms.

    Args:
        dens: file of the density, replaced if it exists.
        grad: file of the reduced gradient, replaced if it exists.
        density: whose.
        grid: the points.

    Raises:
        UserError: as ``reduced_gradient``, cores do not go with the density, or a file cannot be written.
    """
    check_molecule(density.structure, "reduced gradient")
    whole = whole_density(density)
    reduced, signed = np.empty(grid.shape), np.empty(grid.shape)
    for where, slab in grid.slabs(AT_ONCE):
        gradient, sign = reduced_gradient(whole, slab.points())
        gradient[np.abs(sign) > COVALENT] = HIGHEST
        reduced[where], signed[where] = gradient.reshape(slab.shape), sign.reshape(slab.shape)
    write_nci_cubes(dens, grad, density.structure, grid, signed, reduced)
