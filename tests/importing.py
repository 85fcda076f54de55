"""Small files as other programs write them, and their import."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.sources.importing import Imported, import_source
from data_tools.sources.kinds import open_source
from data_tools.sources.registry import SourceKind
from data_tools.sources.statement import UserStatement
from orbdens.formats.cube import write_cube
from orbdens.grid import Grid
from orbdens.store import GridRecord, Store
from orbdens.structure import Structure

Array = np.ndarray[Any, Any]


def chgcar(seed: int, electrons: float = 10.0, element: str = "O") -> bytes:
    """A small CHGCAR of carbon and another element, whose values sum to so many electrons."""
    drawn = np.random.default_rng(seed).lognormal(size=27)
    words = [f" {value:.11E}" for value in drawn * 27 * electrons / drawn.sum()]
    lines = "\n".join("".join(words[i : i + 5]) for i in range(0, 27, 5))
    return f"a\n1\n4 0 0\n0 4 0\n0 0 4\n C {element}\n 1 1\nDirect\n 0 0 0\n 0 0 0.3\n\n3 3 3\n{lines}\n".encode()


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    """An archive of such members."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def bring(
    paths: Path | list[Path],
    store: Path,
    reading: UserStatement | None = None,
    kind: SourceKind | None = None,
    **options: Any,
) -> Imported:
    """What ``orbdens data import`` does."""
    source = open_source(paths if isinstance(paths, list) else [paths], reading or UserStatement(), kind)
    return import_source(source, store, **options)


def grids(store: Path, split: str | None = None) -> list[GridRecord]:
    """The records of a store."""
    records = [Store(store)[key] for key in Store(store).keys(split)]
    assert all(isinstance(record, GridRecord) for record in records)
    return records  # type: ignore[return-value]


def gaussians(points: Array, centres: Array, counts: Array, width: float) -> Array:
    """A Gaussian of so many electrons at each centre."""
    squares = ((points[..., None, :] - centres) ** 2).sum(axis=-1)
    normalised: Array = counts / (2 * np.pi * width**2) ** 1.5 * np.exp(-squares / (2 * width**2))
    return normalised.sum(axis=-1)


def water_cube(path: Path) -> tuple[Structure, Grid, Array]:
    """A cube file of water made of Gaussians, 8 electrons; e/Å³."""
    structure = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0.1], [0.76, 0.02, -0.5], [-0.76, 0, -0.5]]))
    grid = Grid.around(structure, 0.3, 2.0)
    values = gaussians(grid.points(), structure.positions, np.array([6, 1, 1]), 0.4).reshape(grid.shape)
    write_cube(path, structure, grid, values)
    return structure, grid, values
