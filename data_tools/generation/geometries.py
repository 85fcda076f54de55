"""Many geometries of one molecule: frames of molecular dynamics, or samples of its normal modes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from data_tools.generation.dynamics import dynamics
from data_tools.generation.forces import calculator
from data_tools.generation.frames import whole_frames
from data_tools.generation.normal_modes import normal_modes
from data_tools.generation.sampling import Sampling
from orbdens.errors import UserError
from orbdens.files import check_output
from orbdens.formats.structures import write_frame
from orbdens.progress import Progress, silent
from orbdens.structure import Structure


def write_geometries(
    start: Structure,
    out: Path,
    sampling: Sampling,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Sample geometries of a molecule into an extended xyz file (Å, eV; charge and multiplicity in every frame).

    Frames gather in a file ``OUT.part``, which takes the final name when all are there.

    Args:
        start: the molecule; it is relaxed first.
        out: file to write.
        sampling: how.
        resume: go on with ``OUT.part``; the frames are the same as those of a run that was left alone.
        overwrite: replace ``out``, and begin anew where ``OUT.part`` exists.
        progress: told of the work.

    Returns:
        How many frames were there already.

    Raises:
        UserError: ``out`` cannot be written, ``OUT.part`` exists or is of another run, forces cannot be calculated, or
            the molecule does not relax.
    """
    sampling.check()
    check_output(out, overwrite)
    calculator(sampling.forces, start, sampling.settings)  # complains now about what is missing
    part = out.with_name(out.name + ".part")
    if part.exists() and not resume and not overwrite:
        raise UserError(f"{part} holds frames of an interrupted run: --resume continues it, --force begins anew")
    name = sampling.name(start)
    size, done, last = whole_frames(part, start.n_atoms, name) if resume and part.exists() else (0, 0, None)
    frames: Iterator[Atoms]
    if sampling.method == "md":
        frames = dynamics(start, sampling, done, last, progress)
    else:
        frames = normal_modes(start, sampling, done, progress)
    with part.open("a", encoding="utf-8") as file:
        file.truncate(size)
        for number in range(done + 1, sampling.frames + 1):
            frame = next(frames)
            frame.info = {"charge": start.charge, "multiplicity": start.multiplicity, "sampling": name, "frame": number}
            write_frame(file, frame)
            file.flush()
            progress("frames", number, sampling.frames)
        os.fsync(file.fileno())
    part.replace(out)
    return done
