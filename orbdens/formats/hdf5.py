"""Densities on grids in HDF5, in chunks and compressed, in the units of orbdens: for grids larger than the memory.

Any program that reads HDF5 reads a part without the rest. Names are those of our npz files:

- ``density`` float32 or float64 [nx, ny, nz], e/Å³, z fastest; ``spin_density`` likewise, where there is one;
- ``origin`` [3] and ``steps`` [3, 3], a step vector a row, Å: point (i, j, k) is at ``origin + (i, j, k) @ steps``;
- ``numbers`` [n_atoms] and ``positions`` [n_atoms, 3], Å; of a structure that repeats also ``cell`` [3, 3], Å, a vector
  a row, and ``pbc`` [3];
- attributes ``format`` (``orbdens density``), ``version`` (of this format, 1), ``orbdens`` (version of the program),
  ``charge`` (e), ``multiplicity``, and of predictions ``n_electrons`` (of the whole density, in closed form where there
  is one) and ``model``; every dataset has its ``unit``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import orbdens
from orbdens.errors import UserError
from orbdens.files import check_input, written_whole
from orbdens.grid import THICKNESS, Grid, Values
from orbdens.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py

FORMAT, VERSION = "orbdens density", 1

CHUNK = (THICKNESS, 64, 64)
"""Points of a chunk: 128 KiB, whole in a slab that is written at once, and small enough to read planes of any axis."""

LEVEL = 1
"""Of gzip: higher ones make files a few per cent smaller in several times the time."""

UNITS = dict.fromkeys(("origin", "steps", "positions", "cell"), "Angstrom") | {"density": "e/Angstrom^3"}


def write_hdf5(
    path: Path,
    structure: Structure,
    grid: Grid,
    values: Values,
    spin_values: Values | None = None,
    facts: Mapping[str, str | float] | None = None,
) -> None:
    """Write a density on a grid, whole or not at all.

    Args:
        path: replaced if it exists.
        structure: its atoms, in Å.
        grid: where the values are.
        values: e/Å³, of the grid's shape, or its slabs along the first axis, written as they come.
        spin_values: density of up minus density of down electrons, likewise; None leaves it out.
        facts: further attributes of the file.

    Raises:
        UserError: the file cannot be written.
    """
    small = {"numbers": structure.numbers, "positions": structure.positions, "origin": grid.origin, "steps": grid.steps}
    if structure.cell is not None and structure.periodic:
        small |= {"cell": structure.cell, "pbc": np.array(structure.pbc)}
    own = {"format": FORMAT, "version": VERSION, "orbdens": orbdens.__version__}
    state = {"charge": structure.charge, "multiplicity": structure.multiplicity}
    with written_whole(path) as temporary, _new_file(temporary) as (file, sink):
        file.attrs.update(own | state | dict(facts or {}))
        for name, array in small.items():
            file[name] = array
        for name, given in (("density", values), ("spin_density", spin_values)):
            if given is not None:
                _write_parts(file, sink, name, grid, given)
        for name, dataset in file.items():
            dataset.attrs["unit"] = UNITS.get(name.removeprefix("spin_"), "")


def _write_parts(file: h5py.File, sink: _Sink, name: str, grid: Grid, values: Values) -> None:
    chunk = tuple(min(n, most) for n, most in zip(grid.shape, CHUNK, strict=True))
    packed = {"compression": "gzip", "compression_opts": LEVEL, "shuffle": True}
    begin, dataset = 0, None
    for part in grid.parts(values):
        if dataset is None:
            dataset = file.create_dataset(name, grid.shape, part.dtype, chunks=chunk, **packed)
        dataset[begin : begin + len(part)] = part
        begin += len(part)
        file.flush()
        sink.check()


class _Sink(FileIO):
    """A file that takes whatever is written, and tells afterwards that it could not keep it.

    HDF5 keeps a file open whose writing failed, for it cannot write what is left, and takes the process down with it
    when it ends (2.0.0: a full disk is a segmentation fault). So it never hears of a full disk.
    """

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self.failed is None:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failed = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failed = self.failed or error
        return self.tell()

    def check(self) -> None:
        """Raise what stopped a write, if anything did."""
        if self.failed is not None:
            raise self.failed


@contextmanager
def _new_file(path: Path) -> Iterator[tuple[h5py.File, _Sink]]:
    import h5py  # a tenth of a second that other formats do without

    with _Sink(path, "w+") as sink:
        with h5py.File(sink, "w") as file:
            yield file, sink
            file.flush()
            sink.check()
        sink.check()


def read_hdf5(path: Path) -> tuple[Structure, Grid, NDArray[np.floating]]:
    """Read a density that ``write_hdf5`` wrote.

    Returns:
        The structure, its cell among it, the grid, and e/Å³ of its shape, as it is in the file.

    Raises:
        UserError: no such file, or not one of these.
    """
    with _opened(path) as file:
        structure, grid = _head(file, path)
        return structure, grid, file["density"][...]


def read_hdf5_head(path: Path) -> tuple[Structure, Grid]:
    """As ``read_hdf5``, without reading the values."""
    with _opened(path) as file:
        return _head(file, path)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    import h5py

    check_input(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a whole HDF5 file of a density: {reason}") from None


def _head(file: h5py.File, path: Path) -> tuple[Structure, Grid]:
    kind, version = file.attrs.get("format"), file.attrs.get("version", 0)
    if kind != FORMAT:
        raise UserError(f"expected an HDF5 file of a density that orbdens wrote, but {path} says of itself: {kind}")
    if version > VERSION:
        raise UserError(f"{path} has version {version} of the format, and this orbdens knows {VERSION}: update it")
    arrays = {name: file[name][...] for name in file if not name.endswith("density")}
    cell = arrays.get("cell")
    x, y, z = (bool(repeats) for repeats in arrays.get("pbc", (False, False, False)))
    state = {name: int(file.attrs[name]) for name in ("charge", "multiplicity")}
    structure = Structure(arrays["numbers"].astype(np.int64), arrays["positions"], cell, (x, y, z), **state)
    nx, ny, nz = file["density"].shape
    return structure, Grid(arrays["origin"], arrays["steps"], (nx, ny, nz))
