"""MBIS: atoms as sums of Slater functions, one for each shell, fitted to the density they share out.

Verstraelen, Vandenbrande, Heidar-Zadeh, Vanduyfhuys, Van Speybroeck, Waroquier, Ayers, J. Chem. Theory Comput. 12, 3894
(2016): ρ_a⁰(r) = Σ_i N_i / (8π σ_i³) exp(−r / σ_i) closest to ρ in the Kullback-Leibler sense, found by
N_i = ∫ρ ρ_i / ρ⁰ dr, σ_i = ∫ρ ρ_i / ρ⁰ |r − R| dr / 3N_i over and over; here with Anderson's acceleration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.observables.partition import AtomsInMolecule, Quadrature, atoms_in_molecule

NOBLE = (2, 10, 18, 36, 54, 86)
"""Electrons of closed shells: an atom has as many functions as periods it has begun."""

CONVERGED = 1e-6
"""Largest change of the electrons of a function in e with which the iteration ends."""

STEPS = 2000
"""Iterations at most."""

MEMORY_OF_STEPS = 6
"""Steps that Anderson's acceleration looks back on."""

LEAST = 1e-30
"""e/Å³; a model of the density below this counts as this."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SlaterAtoms:
    """The functions of the atoms of a molecule.

    Attributes:
        atoms: index of each function's atom [n_functions].
        electrons: N of each, e [n_functions].
        widths: σ of each, Å [n_functions].
    """

    atoms: NDArray[np.int64]
    electrons: Array
    widths: Array

    def at(self, distances: Array) -> Array:
        """Density of each atom in e/Å³ [n_points, n_atoms] at distances from the atoms in Å [n_points, n_atoms]."""
        values = np.zeros_like(distances)
        for atom, n, width in zip(self.atoms, self.electrons, self.widths, strict=True):
            values[:, atom] += n / (8 * np.pi * width**3) * np.exp(-distances[:, atom] / width)
        return values


def mbis(quadrature: Quadrature, charges: Array | None = None) -> tuple[AtomsInMolecule, SlaterAtoms]:
    """Atoms of a density by MBIS, and the functions of the atoms.

    Of a valence density (charges of cores, less than those of the nuclei) an atom has the functions of its valence
    shells alone; what that costs says ``Quadrature.of_whole``.

    Args:
        quadrature: the density, best of all electrons (``Quadrature.of_whole``).
        charges: of nuclei or cores, e [n_atoms]; None takes those of nuclei.

    Raises:
        UserError: it does not converge, or the density has no electrons.
    """
    if not quadrature.n_electrons > 0:
        raise UserError("the density has no electrons to be shared out")
    numbers = quadrature.structure.numbers
    start = _start(numbers, numbers.astype(np.float64) if charges is None else charges)
    distances = np.linalg.norm(quadrature.points[:, None] - quadrature.structure.positions, axis=2)
    found = _iterated(start, distances, quadrature.volumes * quadrature.density)

    def weights(points: Array) -> Array:
        model = found.at(np.linalg.norm(points[:, None] - quadrature.structure.positions, axis=2))
        return model / np.maximum(model.sum(axis=1, keepdims=True), LEAST)

    return atoms_in_molecule(quadrature, weights, charges), found


def _start(numbers: NDArray[np.int64], cores: Array) -> SlaterAtoms:
    """Shells that are full as in the neutral atom, the innermost as wide as a 1s function, the outermost 1/2 Bohr."""
    atoms, electrons, widths = [], [], []
    for atom, (number, core) in enumerate(zip(numbers.tolist(), np.rint(cores).astype(int).tolist(), strict=True)):
        edges = [0, *(n for n in NOBLE if n < number), number]
        inner = 0.5291772 / (2 * number)
        sizes = np.geomspace(inner, 0.5291772 / 2, len(edges) - 1) if len(edges) > 2 else np.array([inner])
        for low, high, size in zip(edges[:-1], edges[1:], sizes, strict=True):
            held = high - max(low, number - core)
            if held > 0:
                atoms.append(atom)
                electrons.append(float(held))
                widths.append(float(size))
    return SlaterAtoms(np.array(atoms), np.array(electrons), np.array(widths))


def _iterated(start: SlaterAtoms, distances: Array, charge: Array) -> SlaterAtoms:
    """The fixed point; distances [n_points, n_atoms], charge in e that each point stands for [n_points]."""
    atoms = start.atoms
    used = charge > 0
    distances, charge = np.ascontiguousarray(distances[used].T), charge[used]

    def step(x: Array) -> Array:
        electrons, widths = np.exp(np.split(x, 2))
        functions = np.empty((len(atoms), len(charge)))
        for i, atom in enumerate(atoms):
            np.exp(distances[atom] / -widths[i], out=functions[i])
            functions[i] *= electrons[i] / (8 * np.pi * widths[i] ** 3)
        ratio = charge / np.maximum(functions.sum(axis=0), LEAST)
        functions *= ratio
        new = functions.sum(axis=1)
        radii = np.einsum("ip,ip->i", functions, distances[atoms]) / np.maximum(new, LEAST)
        return np.log(np.maximum(np.concatenate([new, radii / 3]), LEAST))

    x = np.log(np.concatenate([start.electrons, start.widths]))
    points: list[Array] = []
    residuals: list[Array] = []
    n = len(atoms)
    for _ in range(STEPS):
        residual = step(x) - x
        if np.abs(np.exp(x[:n]) * residual[:n]).max() < CONVERGED and np.abs(residual[n:]).max() < CONVERGED:
            electrons, widths = np.exp(np.split(x + residual, 2))
            return SlaterAtoms(atoms, electrons, widths)
        points, residuals = [*points, x][-MEMORY_OF_STEPS:], [*residuals, residual][-MEMORY_OF_STEPS:]
        x = _accelerated(points, residuals)
    raise UserError(f"MBIS did not converge in {STEPS} steps")


def _accelerated(points: list[Array], residuals: list[Array]) -> Array:
    """The next point by Anderson's acceleration, J. ACM 12, 547 (1965), no farther than plain steps are safe."""
    plain = points[-1] + residuals[-1]
    if len(points) < 2:
        return plain
    differences = np.stack([residuals[-1] - r for r in residuals[:-1]], axis=1)
    mix = np.linalg.lstsq(differences, residuals[-1], rcond=1e-10)[0]
    back = np.stack(
        [points[-1] + residuals[-1] - p - r for p, r in zip(points[:-1], residuals[:-1], strict=True)], axis=1
    )
    change = residuals[-1] - back @ mix
    largest = np.abs(change).max()
    return points[-1] + change * min(1.0, 0.5 / largest) if largest > 0 else plain
