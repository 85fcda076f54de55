"""Critical points of densities: where the gradient vanishes, by Newton's method from many places at once.

After R. F. W. Bader, Atoms in Molecules (1990): maxima are nuclei, the other kinds are told by the signs of the
Hessian's eigenvalues: two negative ones a bond, one a ring, none a cage. Their numbers obey Poincaré and Hopf's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from orbdens.density import Density, check_molecule
from orbdens.grid import Grid
from orbdens.observables.cores import whole_density
from orbdens.structure import Structure

Kind = Literal["nuclear", "bond", "ring", "cage"]
KINDS: tuple[Kind, ...] = ("nuclear", "bond", "ring", "cage")
"""By the number of positive eigenvalues of the Hessian, 0 to 3."""

LEAST = 6.75e-4
"""e/Å³; 1e-4 e/Bohr³. Critical points of lower density are left out: the tail of a prediction has ripples."""

SPACINGS = (0.35, 0.2)
"""Å between the places from which the search starts; the finer ones only where the rule is broken."""

REACH = 2.5
"""Å; places farther from all atoms are no starts, and neither are those from which Newton's method would go far."""

PAIRS = 4.5
"""Å; on the lines between atoms nearer than this the search starts too."""

LARGEST_STEP, SMALLEST_STEP, MOST_STEPS = 0.2, 1e-7, 60
"""Å; Newton's steps are cut to the first, and end below the second."""

SAME = 1e-3
"""Å; nearer points are one."""

AT_NUCLEUS = 0.3
"""Å; a maximum nearer to a nucleus is its own. That of a predicted H2 lies 0.04 Å off."""

INNER = {1: 0.1}
INNER_OF_OTHERS = 0.06
"""Å; within it of a nucleus only its maximum counts, as Gaussian functions have no cusp."""

ASCENT, MOST_ASCENTS = 0.04, 400
"""Å of a step up from a bond's point to the atoms that it binds, and most of them."""


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A point where the gradient of a density vanishes.

    Attributes:
        kind: of ``KINDS``.
        position: Å [3].
        density: e/Å³.
        eigenvalues: of the Hessian, ascending, e/Å⁵ [3].
        atoms: indices: the nucleus of a maximum (none of one far from all), the two that a bond's path leads to.
    """

    kind: Kind
    position: NDArray[np.float64]
    density: float
    eigenvalues: NDArray[np.float64]
    atoms: tuple[int, ...] = ()

    @property
    def laplacian(self) -> float:
        """e/Å⁵."""
        return float(self.eigenvalues.sum())

    @property
    def ellipticity(self) -> float | None:
        """λ1/λ2 − 1 of a bond, whose λ1 is the most negative eigenvalue; None of other kinds."""
        return float(self.eigenvalues[0] / self.eigenvalues[1] - 1) if self.kind == "bond" else None

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "kind": self.kind,
            "position": self.position.tolist(),
            "density": self.density,
            "laplacian": self.laplacian,
            "eigenvalues": self.eigenvalues.tolist(),
            "ellipticity": self.ellipticity,
            "atoms": list(self.atoms),
        }


@dataclass(frozen=True)
class Topology:
    """The critical points of a density, nuclei first, and of each kind the densest first."""

    structure: Structure
    points: tuple[CriticalPoint, ...]

    def of_kind(self, kind: Kind) -> list[CriticalPoint]:
        """Those of one kind."""
        return [point for point in self.points if point.kind == kind]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {kind: len(self.of_kind(kind)) for kind in KINDS}

    @property
    def poincare_hopf(self) -> int:
        """Maxima less bonds plus rings less cages: 1 for a molecule whose critical points are all there."""
        return sum((-1) ** index * len(self.of_kind(kind)) for index, kind in enumerate(KINDS))

    @property
    def missing_nuclei(self) -> list[int]:
        """Atoms without a maximum of their own: hydrogen that has lost its electron may have none."""
        found = {atom for point in self.of_kind("nuclear") for atom in point.atoms}
        return [atom for atom in range(self.structure.n_atoms) if atom not in found]


def critical_points(density: Density) -> Topology:
    """The critical points of a density of all electrons; a valence density gets the frozen cores of its atoms.

    Raises:
        UserError: the structure is periodic, the density is known on a grid alone, or cores do not go with it.
    """
    structure = density.structure
    check_molecule(structure, "critical point")
    whole = whole_density(density)
    starts = [structure.positions, _between(structure)]
    for spacing in SPACINGS:
        starts.append(_promising(whole, spacing))
        found = _told_apart(whole, _converged(whole, np.concatenate(starts)))
        if found.poincare_hopf == 1:
            break
    return found


def _between(structure: Structure) -> NDArray[np.float64]:
    """Places on the lines between atoms [n, 3]."""
    pairs = cKDTree(structure.positions).query_pairs(PAIRS, output_type="ndarray")
    first, second = structure.positions[pairs[:, 0], None], structure.positions[pairs[:, 1], None]
    places: NDArray[np.float64] = first + (second - first) * np.array([0.3, 0.5, 0.7])[:, None]
    return places.reshape(-1, 3)


def _promising(density: Density, spacing: float) -> NDArray[np.float64]:
    """Points of a grid from which Newton's method does not go far [n, 3]."""
    structure = density.structure
    points = Grid.around(structure, spacing, REACH).points()
    nearest = cKDTree(structure.positions).query(points)[0]
    points = points[(nearest < REACH) & (nearest > spacing)]
    values, gradients, hessians = density.second_derivatives_at(points)
    steps = np.linalg.norm(_newton(gradients, hessians), axis=1)
    return points[(values > LEAST) & (steps < 2 * spacing)]


def _newton(gradients: NDArray[np.float64], hessians: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps [n, 3] in Å to where the gradients would vanish."""
    values, vectors = np.linalg.eigh(hessians)
    values = np.where(np.abs(values) < 1e-12, 1e-12, values)
    along = np.einsum("nij,ni->nj", vectors, gradients) / values
    return -np.einsum("nij,nj->ni", vectors, along)


def _converged(density: Density, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where Newton's method ends from points [n, 3]; those that leave the molecule or go on for ever are dropped."""
    done = []
    for _ in range(MOST_STEPS):
        values, gradients, hessians = density.second_derivatives_at(points)
        steps = _newton(gradients, hessians)
        lengths = np.linalg.norm(steps, axis=1)
        done.append((points + steps)[(lengths < SMALLEST_STEP) & (values > LEAST)])
        going = (lengths >= SMALLEST_STEP) & (values > LEAST)
        points = (points + steps * np.minimum(1, LARGEST_STEP / np.maximum(lengths, 1e-30))[:, None])[going]
        points = points[_firsts(points, SMALLEST_STEP)]
        if not len(points):
            break
    ends = np.concatenate(done)
    return ends[_firsts(ends, SAME)]


def _firsts(points: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    """Which points [n, 3] have none before them within a distance [n]."""
    first = np.ones(len(points), dtype=bool)
    if len(points):
        first[cKDTree(points).query_pairs(distance, output_type="ndarray")[:, 1]] = False
    return first


def _told_apart(density: Density, points: NDArray[np.float64]) -> Topology:
    """Critical points at places [n, 3] with what is known of each."""
    structure = density.structure
    distances, atoms = cKDTree(structure.positions).query(points)
    values, _, hessians = density.second_derivatives_at(points)
    eigenvalues, vectors = np.linalg.eigh(hessians)
    signs = (eigenvalues > 0).sum(axis=1)
    own: dict[int, int] = {}
    for point in np.argsort(distances):
        if signs[point] == 0 and distances[point] < AT_NUCLEUS:
            own.setdefault(int(atoms[point]), int(point))
    inner = np.array([INNER.get(int(z), INNER_OF_OTHERS) for z in structure.numbers])
    kept = (distances > inner[atoms]) | np.isin(np.arange(len(points)), list(own.values()))
    maxima = points[kept & (signs == 0)]
    atom_of_point = {point: atom for atom, point in own.items()}
    names = [atom_of_point.get(int(point)) for point in np.flatnonzero(kept & (signs == 0))]
    bonds = np.flatnonzero(kept & (signs == 1))
    ends = _ends(density, points[bonds], vectors[bonds, :, 2], maxima)
    bound = {
        int(bond): tuple(sorted({n for end in pair if end >= 0 and (n := names[end]) is not None}))
        for bond, pair in zip(bonds, ends, strict=True)
    }
    found = []
    for point in sorted(map(int, np.flatnonzero(kept)), key=lambda i: (signs[i], -values[i])):
        of_atoms = (atom_of_point[point],) if point in atom_of_point else bound.get(point, ())
        found.append(
            CriticalPoint(KINDS[signs[point]], points[point], float(values[point]), eigenvalues[point], of_atoms)
        )
    return Topology(structure, tuple(found))


def _ends(
    density: Density, bonds: NDArray[np.float64], directions: NDArray[np.float64], maxima: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The maxima that the paths of steepest ascent from bonds lead to, both ways [n_bonds, 2]; -1 where to none."""
    ends = np.full(2 * len(bonds), -1)
    if not len(maxima):
        return ends.reshape(-1, 2)
    places = np.stack([bonds + ASCENT * directions, bonds - ASCENT * directions], axis=1).reshape(-1, 3)
    tree, going = cKDTree(maxima), np.arange(len(ends))
    for _ in range(MOST_ASCENTS):
        if not len(going):
            break
        gradients = density.second_derivatives_at(places)[1]
        lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
        places = places + ASCENT * gradients / np.maximum(lengths, 1e-30)
        distances, nearest = tree.query(places)
        there = distances < 2 * ASCENT
        ends[going[there]] = nearest[there]
        going, places = going[~there], places[~there]
    return ends.reshape(-1, 2)
