"""Records of a store as files that other programs read: Gaussian cube and CHGCAR."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.stores.write_chgcar import write_chgcar
from orbdens.errors import UserError
from orbdens.formats.cube import write_cube
from orbdens.grid import Grid
from orbdens.labels import label_density, spin_density
from orbdens.sampling import evenly_spaced
from orbdens.store import Record, Store
from orbdens.structure import Structure

SUFFIXES = {"cube": ".cube", "chgcar": ".CHGCAR"}

Progress = Callable[[int, int], None]


def convert(
    store: Store,
    out: Path,
    to: str,
    *,
    split: str | None = None,
    n: int | None = None,
    spacing: float = 0.2,
    margin: float = 4.0,
    overwrite: bool = False,
    on_progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Write a file per record, named after its key.

    Orbital records are evaluated on a grid around the molecule; grid records are written on their own. A CHGCAR of a
    molecule has the box of that grid as its cell, so its corner is at the origin and the atoms are shifted.

    Args:
        store: to read from.
        out: folder, made if missing.
        to: ``cube`` or ``chgcar``. A cube file holds no spin density.
        split: named split of the store; None is all records.
        n: at most so many records, evenly spaced.
        spacing: of the grid of orbital records, Å.
        margin: around the atoms, Å.
        overwrite: replace files that exist.
        on_progress: called with records done and in all.

    Returns:
        The files.

    Raises:
        UserError: an unknown format, a record that cannot be read or has no cell to be written in, or a file that
            exists or cannot be written.
    """
    if to not in SUFFIXES:
        raise UserError(f"densities are converted to {' or '.join(SUFFIXES)}, not to '{to}'")
    keys = store.keys(split)
    if n is not None:
        keys = evenly_spaced(keys, n)
    paths = {key: out / (name + SUFFIXES[to]) for key, name in file_names(keys).items()}
    for path in paths.values():
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists; --force replaces it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {out} cannot be made: {error.strerror}") from None
    for done, (key, path) in enumerate(paths.items(), start=1):
        record = store[key]
        try:
            if to == "cube":
                label = label_density(record, store.manifest)
                grid = label.native_grid or Grid.around(record.structure, spacing, margin)
                write_cube(path, record.structure, grid, label.on(grid))
            else:
                write_chgcar(path, *chgcar_parts(record, store, spacing, margin))
        except UserError as error:
            raise UserError(f"record '{key}': {error}") from None
        on_progress(done, len(paths))
    return list(paths.values())


def chgcar_parts(
    record: Record, store: Store, spacing: float, margin: float
) -> tuple[Any, NDArray[np.float64], NDArray[Any], NDArray[Any] | None]:
    """Structure, cell [3, 3], density and spin density of a record, as ``write_chgcar`` takes them.

    Raises:
        UserError: the grid of a periodic record does not fill its cell.
    """
    structure = record.structure
    label, spin = label_density(record, store.manifest), spin_density(record, store.manifest)
    grid = label.native_grid or _box(structure, spacing, margin)
    cell = grid.steps * np.array(grid.shape)[:, None]
    if structure.periodic and structure.cell is not None and not np.allclose(cell, structure.cell, atol=1e-4):
        raise UserError("its grid does not fill its cell, as that of a CHGCAR does")
    moved = replace(structure, positions=structure.positions - grid.origin)
    return moved, cell, label.on(grid), None if spin is None else spin.on(grid)


def _box(structure: Structure, spacing: float, margin: float) -> Grid:
    """A grid around a molecule that repeats without end points."""
    positions = structure.positions
    low, high = positions.min(axis=0) - margin, positions.max(axis=0) + margin
    n = np.ceil((high - low) / spacing - 1e-9).astype(int)
    origin = (low + high - n * spacing) / 2
    return Grid(origin, spacing * np.eye(3), (int(n[0]), int(n[1]), int(n[2])))


def file_names(keys: Iterable[str]) -> dict[str, str]:
    """A plain file name for every key; what a name should not hold becomes ``_``, and a number tells clashes apart."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in keys:
        # no leading dot and no slash: a key never leads out of the folder
        plain = re.sub(r"[^\w.+-]", "_", key)[:150].lstrip(".") or "record"
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.casefold())
        names[key] = name
    return names
