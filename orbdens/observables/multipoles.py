"""Dipole, quadrupole and octupole of a molecule, multipoles of its atoms, and the energy of its electrons' repulsion.

Buckingham's traceless moments (Adv. Chem. Phys. 12, 107 (1967)) of all charges, nuclei (or cores) included:
μ_a = Σ q r_a, Θ_ab = Σ q (3 r_a r_b − r² δ_ab) / 2,
Ω_abc = Σ q (5 r_a r_b r_c − r² (r_a δ_bc + r_b δ_ac + r_c δ_ab)) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.density import Density, OrbitalDensity, check_molecule
from orbdens.errors import UserError
from orbdens.kernels import moved_multipoles, solid_harmonics, sphere_quadrature
from orbdens.observables.potential import cores
from orbdens.units import COULOMB

Array = NDArray[np.float64]

TIE = 0.01
"""Å; atoms that are nearest to a site but for this share it: the two ends of a bond its midpoint."""


@dataclass(frozen=True)
class Moments:
    """Moments of a molecule.

    Attributes:
        origin: about which they are, Å [3].
        charge: e.
        dipole: e·Å [3].
        quadrupole: traceless, e·Å² [3, 3].
        octupole: traceless, e·Å³ [3, 3, 3].
    """

    origin: Array
    charge: float
    dipole: Array
    quadrupole: Array
    octupole: Array


def moments(density: Density, origin: Array | None = None) -> Moments:
    """Moments of a molecule to the octupole, analytic for orbitals, sums over its grid for values on one.

    Only the lowest that is not zero does not depend on the origin.

    Args:
        density: of a molecule.
        origin: Å [3]; None takes the centre of the charges of the nuclei (or cores).

    Raises:
        UserError: the structure is periodic, or it is not known which electrons the density holds.
    """
    check_molecule(density.structure, "multipole")
    charges, positions = cores(density), density.structure.positions
    where = charges @ positions / charges.sum() if origin is None else np.asarray(origin, dtype=np.float64)
    whole = charges @ solid_harmonics(3, torch.as_tensor(positions - where)).numpy() - density.multipoles(where, 3)
    return Moments(where, *cartesian_moments(whole))


def cartesian_moments(spherical: Array) -> tuple[float, Array, Array, Array]:
    """Charge, dipole [3], quadrupole [3, 3] and octupole [3, 3, 3] of multipoles ∫q S_lm dr [16]; see ``Moments``.

    On the unit sphere the Cartesian moments are combinations of the harmonics; a quadrature finds them exactly.
    """
    unit, volumes = sphere_quadrature(6)
    harmonics, r, w = solid_harmonics(3, unit).numpy(), unit.numpy(), volumes.numpy()
    delta = np.eye(3)
    second = (3 * np.einsum("na,nb->nab", r, r) - delta) / 2
    traces = (
        np.einsum("na,bc->nabc", r, delta) + np.einsum("nb,ac->nabc", r, delta) + np.einsum("nc,ab->nabc", r, delta)
    )
    third = (5 * np.einsum("na,nb,nc->nabc", r, r, r) - traces) / 2
    dipole, quadrupole, octupole = (
        np.einsum(
            "n...,nk,n,k->...", polynomial, harmonics[:, l * l : (l + 1) ** 2], w, spherical[l * l : (l + 1) ** 2]
        )
        for l, polynomial in ((1, r), (2, second), (3, third))
    )
    return float(np.sqrt(4 * np.pi) * spherical[0]), dipole, quadrupole, octupole


def distributed_multipoles(density: Density, l_max: int = 2) -> Array:
    """Multipoles of the atoms, nuclei (or cores) included, about them: e·Å^l [n_atoms, (l_max + 1)²].

    From the orbitals on each site (Stone's analysis has the same for a basis of products, Chem. Phys. Lett. 83, 233
    (1981)): an atom has those of its own site, and the ends of a bond half of its midpoint's each, moved to them
    exactly. So they have all moments of the molecule to l_max, without a grid; but what was moved wants high l near the
    molecule (of methanol the potential of l <= 4 is off by 0.5 kcal/mol per e), where those of MBIS do with l <= 2.
    Index l² + l + m, normalised as ``AtomsInMolecule.multipoles``.

    Args:
        density: a sum of orbitals, as models predict it.
        l_max: highest l.

    Raises:
        UserError: the structure is periodic, or the density is no sum of orbitals.
    """
    if not isinstance(density, OrbitalDensity):
        raise UserError("multipoles of atoms need a density that is a sum of orbitals on sites")
    charges, atoms = cores(density), density.structure.positions
    of_sites = density.site_multipoles(l_max)
    total = np.zeros((len(atoms), (l_max + 1) ** 2))
    total[:, 0] = charges / np.sqrt(4 * np.pi)
    distances = np.linalg.norm(density.site_positions[:, None] - atoms, axis=2)
    near = distances < distances.min(axis=1, keepdims=True) + TIE
    site, atom = np.nonzero(near)
    shares = of_sites[site] / near.sum(axis=1)[site, None]
    moved = moved_multipoles(torch.from_numpy(shares), torch.as_tensor(density.site_positions[site] - atoms[atom]))
    np.subtract.at(total, atom, moved.numpy())
    degree = np.sqrt(np.arange((l_max + 1) ** 2)).astype(np.int64)
    result: Array = total * np.sqrt(4 * np.pi / (2 * degree + 1))
    return result


def hartree_energy(density: Density) -> float:
    """½ ∫∫ρ(r)ρ(r')/|r − r'| dr dr', the electrons' classical repulsion, in Hartree; analytic.

    Raises:
        UserError: the structure is periodic, or the density is known on a grid alone.
    """
    check_molecule(density.structure, "Hartree energy")
    return 0.5 * COULOMB * density.self_interaction()
