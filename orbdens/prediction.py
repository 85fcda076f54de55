"""``orbdens predict``: densities of the structures in any files, on grids, at points, or as coefficients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_output
from orbdens.formats.arrays import read_points, write_npz
from orbdens.formats.cube import CUBE_SUFFIXES, read_cube, write_cube
from orbdens.formats.structures import read_structures
from orbdens.grid import Grid
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.density import Density

BATCH_SIZE = 32
LARGEST_GRID = 1_000_000_000
"""Points; more would not fit the memory of most machines, nor does any program read such files."""

Wanted = Literal["cube", "npz", "points", "coefficients"]


@dataclass(frozen=True)
class Request:
    """What to predict and where it goes.

    Attributes:
        files: structure files that ASE reads, one or many structures each.
        spacing: Å; of grids around the structures.
        margin: Å; around the atoms (a periodic structure gets its cell instead).
        like: a cube file whose grid to take for every structure.
        points: an npy file of points in Å [n_points, 3] to take for every structure.
        coefficients: write the orbitals themselves.
        npz: write grids as npz in orbdens units instead of cube.
        out: file for a single structure, folder for many; None is the current folder.
        force: replace files that exist.
    """

    files: Sequence[Path]
    spacing: float = 0.2
    margin: float = 4.0
    like: Path | None = None
    points: Path | None = None
    coefficients: bool = False
    npz: bool = False
    out: Path | None = None
    force: bool = False

    @property
    def wanted(self) -> Wanted:
        if self.coefficients:
            return "coefficients"
        if self.points is not None:
            return "points"
        return "npz" if self.npz or (self.out is not None and self.out.suffix.lower() == ".npz") else "cube"


@dataclass(frozen=True)
class Written:
    """A file that was written, and what is known of the density in it: see ``Density``."""

    path: Path
    structure: Structure
    n_electrons: float
    expected_error: float | None
    unfamiliar: tuple[str, ...]


def predict(model: Path, request: Request, on_written: Callable[[Written, int], None]) -> None:
    """Predict all structures of a request in batches and write one file for each.

    Everything that can be wrong with the input is found before the first file is written.

    Args:
        model: model.safetensors or the run folder that holds it.
        request: what is wanted.
        on_written: called after every file with what was written and the number of files in all.

    Raises:
        UserError: an input file is missing, unreadable or holds a structure that cannot be computed, an element the
            model never saw, or an output file that exists or cannot be written.
    """
    read = [(file, structure) for file in request.files for structure in read_structures(file)]
    structures = [structure for _, structure in read]
    paths = _output_paths([file for file, _ in read], request)
    grid = read_cube(request.like)[1] if request.like is not None else None
    points = read_points(request.points) if request.points is not None else None

    from orbdens.checkpoint import load_model

    largest = max((grid or Grid.around(s, request.spacing, request.margin)).n_points for s in structures)
    if largest > LARGEST_GRID:
        raise UserError(f"a grid of {largest:.2g} points is too large; choose a larger --grid or a smaller --margin")
    network = load_model(model)
    for structure in structures:
        network.count_electrons(structure)
    for path in paths:
        check_output(path, request.force)
    for start in range(0, len(structures), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        fields = network.predict(structures[batch])
        for path, structure, field in zip(paths[batch], structures[batch], fields, strict=True):
            place = grid or field.suited_grid(request.spacing, request.margin)
            _write(path, structure, field, request, place, points)
            on_written(Written(path, structure, field.n_electrons, field.expected_error, field.unfamiliar), len(paths))


def _output_paths(sources: list[Path], request: Request) -> list[Path]:
    """One path per structure: NAME.cube, or NAME-1.cube, NAME-2.cube, ... for a file with many structures."""
    suffix = {"cube": ".cube", "npz": ".npz", "points": ".points.npz", "coefficients": ".orbitals.npz"}[request.wanted]
    out = request.out
    if out is not None and out.suffix.lower() in (*CUBE_SUFFIXES, ".npz"):
        if len(sources) > 1:
            raise UserError(f"{len(sources)} structures need a folder to go to, but --out names the one file {out}")
        if request.wanted != "cube" and out.suffix.lower() != ".npz":
            raise UserError(f"{request.wanted} would be written as .npz, but --out names {out}")
        return [out]
    folder = out if out is not None else Path()
    paths: list[Path] = []
    total, seen = Counter(sources), Counter[Path]()
    for source in sources:
        seen[source] += 1
        number = f"-{seen[source]:0{len(str(total[source]))}d}" if total[source] > 1 else ""
        paths.append(folder / f"{source.stem}{number}{suffix}")
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise UserError(f"two input files would both be written to {path}: rename one, or run them separately")
    return paths


def _write(
    path: Path,
    structure: Structure,
    field: Density,
    request: Request,
    grid: Grid,
    points: NDArray[np.float64] | None,
) -> None:
    atoms = {"numbers": structure.numbers, "positions": structure.positions}
    if request.wanted == "coefficients":
        write_npz(path, **atoms, **_orbitals(field))
    elif points is not None:
        write_npz(path, **atoms, points=points, density=field.at(points))
    else:
        values = field.on(grid)
        if request.wanted == "cube":
            write_cube(path, structure, grid, values)
        else:
            write_npz(path, **atoms, origin=grid.origin, steps=grid.steps, density=values)


def _orbitals(field: Density) -> dict[str, NDArray[np.generic]]:
    """Everything that a sum over orbitals needs; README says how to read it."""
    from orbdens.density import OrbitalDensity

    if not isinstance(field, OrbitalDensity):
        raise UserError("--coefficients needs a model that predicts orbitals, but this one predicts values on a grid")
    shells = {
        name: getattr(field.shells, name).numpy()
        for name in ("shell_ptr", "shell_l", "primitive_ptr", "exponents", "weights")
    }
    return {
        "site_positions": field.site_positions,
        "site_types": field.site_types,
        "coefficients": field.coefficients,
        **shells,
    }
