"""The electrostatic potential of a molecule and its field: nuclei (or cores) as points, electrons in closed form.

V(r) = Σ_a q_a / |r − R_a| − ∫ρ(r')/|r − r'| dr', times e²/4πε₀. Of a valence density q_a are the charges of the cores,
so inside a core (0.5 Å from a heavy atom) this is the potential of the pseudo-molecule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orbdens.density import Density, check_molecule
from orbdens.electrons import core_charges
from orbdens.errors import UserError
from orbdens.points import checked_points
from orbdens.structure import Structure
from orbdens.units import COULOMB

CLOSEST = 1e-6
"""Å; nearer to a nucleus than this its potential counts as infinite."""


def cores(density: Density) -> NDArray[np.float64]:
    """Charges in e [n_atoms] of the nuclei, or of the cores of a valence density.

    Raises:
        UserError: the density does not tell which electrons it holds, or not of an element.
    """
    if density.valence_electrons is None:
        raise UserError("it is not known which electrons this density holds, and so not the charges of its cores")
    return core_charges(density.structure, density.valence_electrons)


def potential(density: Density, points: ArrayLike) -> NDArray[np.float64]:
    """The electrostatic potential at points, Hartree/e [n_points]; times 627.51 it is in kcal/mol per e.

    Args:
        density: of a molecule, as a sum of orbitals: predicted, or of an orbital record.
        points: Å [n_points, 3]. On a nucleus it is infinite.

    Raises:
        UserError: the points are no such points, the structure is periodic, or the density is known on a grid alone.
    """
    return potential_and_field(density, points)[0]


def electric_field(density: Density, points: ArrayLike) -> NDArray[np.float64]:
    """The electric field −∇V at points, Hartree/(e·Å) [n_points, 3]; times 27.2114 it is in V/Å. As ``potential``."""
    return potential_and_field(density, points)[1]


def potential_and_field(density: Density, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``potential`` and ``electric_field`` at once, which costs little more than one of them."""
    places = checked_points(points)
    nuclei, its_field = charge_potential(density.structure, cores(density), places)
    values, gradients = density.coulomb_at(places)
    return COULOMB * (nuclei - values), COULOMB * (its_field + gradients)


def charge_potential(
    structure: Structure, charges: NDArray[np.float64], points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ q/|r − R| in e/Å [n_points] and −∇ of it in e/Å² [n_points, 3], of charges in e on the atoms [n_atoms]."""
    check_molecule(structure, "potential")
    values, fields = np.zeros(len(points)), np.zeros((len(points), 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        for charge, position in zip(charges, structure.positions, strict=True):
            vectors = points - position
            distances = np.linalg.norm(vectors, axis=1)
            inverse = np.where(distances < CLOSEST, np.inf, 1 / distances)
            values += charge * inverse
            fields += charge * vectors * (inverse**3)[:, None]
    return values, fields
