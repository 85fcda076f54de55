"""Records of a store as files that other programs read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from orbdens.errors import UserError
from orbdens.formats import find_writer
from orbdens.labels import label_density, spin_density
from orbdens.metrics import MARGIN, SPACING
from orbdens.progress import Progress, silent
from orbdens.sampling import evenly_spaced
from orbdens.store import Store


def convert(
    store: Store,
    out: Path,
    to: str,
    *,
    split: str | None = None,
    n: int | None = None,
    spacing: float = SPACING,
    margin: float = MARGIN,
    overwrite: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Write a file per record, named after its key.

    Orbital records are evaluated on a grid around the molecule; grid records are written on their own. A CHGCAR of a
    molecule has the box of that grid as its cell, so its corner is at the origin and the atoms are shifted.

    Args:
        store: to read from.
        out: folder, made if missing.
        to: a format of ``orbdens.formats.WRITERS``. Cube files hold no spin density.
        split: named split of the store; None is all records.
        n: at most so many records, evenly spaced.
        spacing: spacing of the grid of orbital records, Å.
        margin: around the atoms, Å.
        overwrite: replace files that exist.
        progress: told of every record.

    Returns:
        The files.

    Raises:
        UserError: an unknown format, a record that cannot be read or has no cell to be written in, or a file that
            exists or cannot be written.
    """
    writer = find_writer(to)
    keys = store.keys(split)
    if n is not None:
        keys = evenly_spaced(keys, n)
    paths = {key: out / (name + writer.suffix) for key, name in file_names(keys).items()}
    for path in paths.values():
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists; --force replaces it")
    for done, (key, path) in enumerate(paths.items(), start=1):
        record = store[key]
        label = label_density(record, store.manifest)
        spin = spin_density(record, store.manifest) if writer.holds_spin else None
        try:
            grid = label.native_grid or writer.suit(label.suited_grid(spacing, margin), label.structure)
            spin_slabs = None if spin is None else spin.slabs(grid, writer.axis)
            _make_folder(out)
            writer.write(path, label.structure, grid, label.slabs(grid, writer.axis), spin_slabs)
        except UserError as error:
            raise UserError(f"record '{key}': {error}") from None
        progress("writing", done, len(paths))
    return list(paths.values())


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {out} cannot be made: {error.strerror}") from None


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
