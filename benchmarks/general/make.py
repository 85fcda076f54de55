"""Densities of the exam by DFT, once: a store for each group, at the level of theory of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.general.structures import GROUPS, Named
from data_tools.generation.generate import generate
from data_tools.generation.settings import Settings
from data_tools.generation.structures import Structures
from orbdens.files import written_whole
from orbdens.formats.structures import write_frame
from orbdens.progress import Display

LEVEL = Settings(density_fit=True, auxbasis="def2-universal-jfit", grid_level=1)
"""PBE, GTH-PBE pseudopotentials, gth-dzvp, to 1e-9 Hartree."""


def make(folder: Path, groups: Sequence[str] = tuple(GROUPS), processes: int = 1) -> None:
    """Calculate what is not there yet of ``folder``/GROUP.store, of the structures in ``folder``/GROUP.xyz.

    Those files are written first, where they are missing, and never again: other versions of RDKit and tblite would
    make slightly other geometries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for group in groups:
        frames, store = folder / f"{group}.xyz", folder / f"{group}.store"
        if not frames.is_file():
            _write(frames, list(GROUPS[group]()))
        with Display() as display:
            made = generate(
                Structures.read([frames]), store, LEVEL, processes=processes, resume=True, progress=display.count
            )
        for key, reason in made.failed.items():
            print(f"{group}: {key} left out: {reason}")
        print(f"{store}: {made.count} records", flush=True)


def _write(path: Path, named: Sequence[Named]) -> None:
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for name, atoms in named:
            atoms.info["name"] = name
            write_frame(file, atoms)
