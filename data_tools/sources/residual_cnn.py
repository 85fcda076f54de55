"""The residual CNN's sets: a folder of arrays for each molecule, from periodic PySCF with GTH pseudopotentials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.sources.files import Files, folders_like, single
from data_tools.sources.record_source import Item, RecordSource
from data_tools.sources.small_texts import table, xyz_frame
from data_tools.sources.statement import UserStatement, source_name
from orbdens.errors import UserError
from orbdens.formats.npz import read_npy
from orbdens.formats.text import MOST_POINTS, opened_text
from orbdens.store.records import GridRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

LEVEL = {"code": "PySCF", "xc": "PBE", "pseudo": "GTH"}

ENDINGS = ("centered.xyz",)

PARTS = ("centered.xyz", "rho_*.npy", "grid_sizes_*.dat", "box.*")
"""Files of a folder."""


def recognises(beginning: bytes) -> bool:
    """Never: these sets are folders."""
    return False


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """The densities in such folders among and below some folders, each a record named after its folder.

    Raises:
        UserError: there are none.
    """
    found = [(folder, path) for path in paths for folder in folders_like([path], is_residual_cnn_folder)]
    if not found:
        raise UserError(f"{source_name(paths)} holds no folder with centered.xyz and rho_22.npy")
    files = Files([file for folder, _ in found for part in PARTS for file in sorted(folder.glob(part))], "", ())

    def items() -> Iterator[Item]:
        for folder, path in found:
            key = folder.relative_to(path).as_posix() if folder != path else folder.resolve().name
            yield Item(key, str(folder), partial(read_residual_cnn, folder, statement.charge))

    return RecordSource(
        source_name(paths),
        statement.manifest({"kind": "residual-CNN folder", **files.facts()}, LEVEL),
        items(),
        count=len(found),
        digest=files.digest,
        splits=statement.named_splits(),
        dtype=statement.dtype,
    )


def is_residual_cnn_folder(path: Path) -> bool:
    """Whether a folder holds a density as these sets do."""
    return (path / "centered.xyz").is_file() and any(path.glob("rho_*.npy"))


def read_residual_cnn(folder: Path, charge: int = 0) -> GridRecord:
    """The density of a folder: ``rho_22.npy`` (flat, e/Bohr³), ``grid_sizes_22.dat``, a box in Å, ``centered.xyz``.

    Without a box the molecule's centre is taken for the middle of a rectangular one, as the sets were made; the
    electron count tells whether that holds.

    Raises:
        UserError: a file is missing, broken, or does not fit the others.
    """
    names = sorted(path.name for path in folder.glob("rho_*.npy"))
    if "rho_22.npy" not in names and len(names) != 1:
        raise UserError(f"expected rho_22.npy in {folder}, but found {', '.join(names)}")
    tag = "22" if "rho_22.npy" in names else names[0].removeprefix("rho_").removesuffix(".npy")
    density = read_npy(folder / f"rho_{tag}.npy")
    with opened_text(folder / "centered.xyz") as text:
        frame = xyz_frame(text)
    if frame is None:
        raise UserError(f"{folder / 'centered.xyz'} holds no atoms")
    numbers, positions = frame
    sizes = table(folder / f"grid_sizes_{tag}.dat")
    shape = tuple(int(n) for n in sizes.reshape(-1))
    if len(shape) != 3 or (sizes % 1 != 0).any() or min(shape) < 1 or math.prod(shape) > MOST_POINTS:
        raise UserError(f"expected three numbers of points in {folder / f'grid_sizes_{tag}.dat'}, but found {shape}")
    if density.size != math.prod(shape):
        raise UserError(f"{folder / f'rho_{tag}.npy'} holds {density.size} values, expected {math.prod(shape)}")
    cell = _box(folder, positions)
    values = single(np.asarray(density, dtype=np.float64).reshape(shape) / BOHR**3, str(folder / f"rho_{tag}.npy"))
    structure = Structure(np.array(numbers), positions, cell, (True, True, True), charge=charge).check(str(folder))
    return GridRecord(structure, np.zeros(3), cell / np.array(shape)[:, None], values)


def _box(folder: Path, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    if (folder / "box.npy").is_file():
        box = np.asarray(read_npy(folder / "box.npy"), dtype=np.float64)
    elif (folder / "box.dat").is_file():
        box = table(folder / "box.dat")
    else:
        box = np.diag(2 * positions.mean(axis=0))
    if box.shape == (3,):
        box = np.diag(box)
    if box.shape != (3, 3) or not np.isfinite(box).all() or not abs(np.linalg.det(box)) > 0:
        raise UserError(f"expected three lattice vectors in Å as the box of {folder}, but found {box.tolist()}")
    return box
