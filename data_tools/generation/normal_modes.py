"""Thermal samples of the normal modes about the minimum of a molecule."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from data_tools.generation.frames import as_written, without_calculator
from data_tools.generation.minima import find_minimum
from data_tools.generation.sampling import Sampling
from orbdens.errors import UserError
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

LARGEST_FORCE = 0.003
"""eV/Å at the minimum."""

DISPLACEMENT = 0.01
"""Å; step of the finite differences of forces."""

SOFTEST = 100.0
"""cm⁻¹; slower modes are sampled as if they had this frequency, as harmonic ones they would go far astray."""


def normal_modes(start: Structure, sampling: Sampling, done: int, progress: Progress) -> Iterator[Atoms]:
    """Thermal samples of the normal modes about the minimum; every frame has random numbers of its own.

    Args:
        start: the molecule; it is relaxed first.
        sampling: how.
        done: frames that are there already.
        progress: told of the work before the first frame.

    Raises:
        UserError: forces cannot be calculated, or the molecule does not relax.
    """
    atoms = find_minimum(start, sampling.forces, sampling.settings, LARGEST_FORCE, progress)
    spread = normal_mode_spread(atoms, sampling.temperature, progress)
    for number in range(done + 1, sampling.frames + 1):
        normal = np.random.default_rng((sampling.seed, number)).standard_normal(spread.shape[1])
        frame = without_calculator(atoms)
        frame.positions = as_written(atoms.positions + (spread @ normal).reshape(-1, 3))
        yield frame


def normal_mode_spread(atoms: Atoms, temperature: float, progress: Progress = silent) -> NDArray[np.float64]:
    """Displacement of each normal mode by one standard deviation at a temperature, Å [3 n_atoms, n_modes].

    Raises:
        UserError: the atoms are not at a minimum.
    """
    n = len(atoms)
    hessian = np.zeros((3 * n, 3 * n))
    moved = atoms.copy()
    moved.calc = atoms.calc
    for row in range(3 * n):
        forces = []
        for sign in (1, -1):
            shift = np.zeros(3 * n)
            shift[row] = sign * DISPLACEMENT
            moved.positions = atoms.positions + shift.reshape(-1, 3)
            forces.append(moved.get_forces().reshape(-1))
        hessian[row] = (forces[1] - forces[0]) / (2 * DISPLACEMENT)
        progress("force constants", row + 1, 3 * n)
    roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
    inner = _vibrations(atoms)
    values, vectors = np.linalg.eigh(inner.T @ ((hessian + hessian.T) / 2 / np.outer(roots, roots)) @ inner)
    # eigenvalues are ω² in eV/(Å² u)
    to_wave_number = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    lowest = np.sign(values[0]) * np.sqrt(abs(values[0])) * to_wave_number
    if lowest < -SOFTEST:
        raise UserError(f"{atoms.get_chemical_formula()} is not at a minimum: a mode has {-lowest:.0f}i cm⁻¹")
    deviations = np.sqrt(units.kB * temperature / np.maximum(values, (SOFTEST / to_wave_number) ** 2))
    spread: NDArray[np.float64] = (inner @ vectors) * deviations / roots[:, None]
    return spread


def _vibrations(atoms: Atoms) -> NDArray[np.float64]:
    """Orthonormal mass-weighted displacements that neither move nor turn a molecule [3 n_atoms, n_modes]."""
    roots = np.sqrt(atoms.get_masses())[:, None]
    centred = atoms.positions - atoms.get_center_of_mass()
    moves = [roots * axis for axis in np.eye(3)]
    turns = [roots * np.cross(axis, centred) for axis in np.eye(3)]
    outer = np.stack([(move / np.linalg.norm(roots)).reshape(-1) for move in [*moves, *turns]], axis=1)
    vectors, sizes, _ = np.linalg.svd(outer, full_matrices=True)
    rank = int((sizes > 1e-4).sum())  # a linear molecule turns about two axes only
    inner: NDArray[np.float64] = vectors[:, rank:]
    return inner
