"""Frames of Langevin dynamics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation

from data_tools.generation.forces import calculator
from data_tools.generation.frames import as_written, without_calculator
from data_tools.generation.minima import find_minimum
from data_tools.generation.sampling import Sampling
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

LARGEST_FORCE = 0.05
"""eV/Å at the minimum that dynamics begin at."""


def dynamics(
    start: Structure, sampling: Sampling, done: int, last: Atoms | None, progress: Progress
) -> Iterator[Atoms]:
    """Frames of Langevin dynamics; random numbers and calculator begin anew at each, so that a run can go on from any.

    Args:
        start: the molecule; it is relaxed first.
        sampling: how.
        done: frames that are there already.
        last: the last of them.
        progress: told of the work before the first frame.

    Raises:
        UserError: forces cannot be calculated, or the molecule does not relax.
    """
    if last is None:
        atoms = find_minimum(start, sampling.forces, sampling.settings, LARGEST_FORCE, progress)
        rng = np.random.default_rng((sampling.seed, 0))
        spread = np.sqrt(units.kB * sampling.temperature * atoms.get_masses())
        atoms.set_momenta(spread[:, None] * rng.standard_normal((len(atoms), 3)))
        Stationary(atoms)
        if len(atoms) > 1:
            ZeroRotation(atoms)
        _move(atoms, start, sampling, sampling.equilibration, rng, progress)
    else:
        atoms = last
    for number in range(done + 1, sampling.frames + 1):
        _move(atoms, start, sampling, sampling.every, np.random.default_rng((sampling.seed, number)))
        atoms.positions = as_written(atoms.positions)
        atoms.set_momenta(as_written(atoms.get_momenta()))
        yield without_calculator(atoms)


def _move(
    atoms: Atoms,
    start: Structure,
    sampling: Sampling,
    time: float,
    rng: np.random.Generator,
    progress: Progress = silent,
) -> None:
    """So many fs of dynamics."""
    atoms.calc = calculator(sampling.forces, start, sampling.settings)
    atoms.set_constraint(FixCom())
    step = sampling.step * units.fs
    run = Langevin(
        atoms, step, temperature_K=sampling.temperature, friction=sampling.friction / units.fs, fixcm=False, rng=rng
    )
    total = round(time / sampling.step)
    for done in range(1, total + 1):
        run.run(1)
        progress("equilibrating", done, total)
    atoms.set_constraint()
