"""Predicted densities: of structures in memory (``orbdens.predict``), and of files into files (the verb)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from orbdens import shipped
from orbdens.errors import UserError
from orbdens.files import check_output, check_room
from orbdens.formats import WRITERS, find_writer, read_head
from orbdens.formats.npz import read_points, write_npz
from orbdens.formats.structures import iter_structures, write_structure
from orbdens.grid import Grid
from orbdens.metrics import MARGIN, SPACING
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

if TYPE_CHECKING:
    import ase

    from orbdens.density import Density
    from orbdens.models.interface import DensityModel


@overload
def predict(
    atoms: ase.Atoms | Structure, model: str | Path | DensityModel | None = None, device: str = "auto"
) -> Density: ...


@overload
def predict(
    atoms: Sequence[ase.Atoms | Structure], model: str | Path | DensityModel | None = None, device: str = "auto"
) -> list[Density]: ...


def predict(
    atoms: ase.Atoms | Structure | Sequence[ase.Atoms | Structure],
    model: str | Path | DensityModel | None = None,
    device: str = "auto",
) -> Density | list[Density]:
    """The density of one molecule or crystal, or the densities of many.

    A model that is named is loaded by every call; to predict again and again, ``orbdens.load`` it once.

    Args:
        atoms: positions in Å; of ASE's Atoms, ``info`` may hold ``charge`` (e) and ``multiplicity``.
        model: a loaded model, or model.safetensors, the run folder that holds it, or None for the weights that ship.
        device: where to compute, as in ``devices``: auto, cpu, cuda, cuda:N or interpreter. A loaded model computes
            where it is.

    Raises:
        UserError: there is no such model or device, a structure cannot be computed, or it holds an element the model
            never saw.
    """
    if model is None or isinstance(model, str | Path):
        from orbdens.checkpoint import load_model

        model = load_model(model, device)
    return model.predict(atoms)


@dataclass(frozen=True)
class Box:
    """The part of a grid within a box along x, y and z.

    Attributes:
        low: its corner, Å; -inf where it is open.
        high: the opposite corner, Å; inf where it is open.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def of(self, grid: Grid, structure: Structure) -> Grid:
        """As ``Grid.within``, errors too."""
        return grid.within(np.array(self.low), np.array(self.high), structure)


@dataclass(frozen=True)
class Around:
    """The part of a grid within a cube around an atom.

    Attributes:
        atom: its number, the first is 1.
        radius: Å, half an edge of the cube.
    """

    atom: int
    radius: float

    def of(self, grid: Grid, structure: Structure) -> Grid:
        """As ``Grid.within``, errors too; UserError if there is no such atom."""
        if not 1 <= self.atom <= structure.n_atoms:
            raise UserError(f"{structure.formula} has the atoms 1 to {structure.n_atoms}, but no atom {self.atom}")
        centre = structure.positions[self.atom - 1]
        return grid.within(centre - self.radius, centre + self.radius, structure)


@dataclass(frozen=True)
class Request:
    """What to predict and where it goes.

    Attributes:
        files: structure files that ASE reads, one or many structures each.
        smiles: SMILES whose geometries RDKit makes; they are called by their formulas.
        model: model.safetensors, the run folder that holds it, or None for the weights that ship.
        charge: e; of every structure; None takes what the files say.
        multiplicity: 2S + 1 of every structure; None takes what the files say.
        spacing: Å; of grids around the structures.
        margin: Å; around the atoms (a periodic structure gets its cell instead).
        like: a cube or HDF5 file whose grid to take for every structure.
        part: of a grid, which alone is wanted; None for all of it.
        points: an npy file of points in Å [n_points, 3] to take for every structure; written as npz.
        coefficients: write the orbitals themselves, as npz.
        core: add the cores of the atoms to a valence density.
        to: format of grids, of ``orbdens.formats.WRITERS``; None goes by the name of ``out``, or takes cube.
        out: file for a single structure, folder for many; None is the current folder.
        force: replace files that exist.
        device: where to compute, as in ``devices``: auto, cpu, cuda, cuda:N or interpreter.
        precision: of the network, see ``DensityModel.with_precision``.
    """

    files: Sequence[Path]
    model: Path | None = None
    charge: int | None = None
    multiplicity: int | None = None
    spacing: float = SPACING
    margin: float = MARGIN
    like: Path | None = None
    part: Box | Around | None = None
    points: Path | None = None
    coefficients: bool = False
    core: bool = False
    smiles: Sequence[str] = ()
    to: str | None = None
    out: Path | None = None
    force: bool = False
    device: str = "auto"
    precision: str = "32-true"

    def structures(self) -> list[tuple[str, Structure, str | None]]:
        """Name, structure and SMILES (of those that come from one) of all: NAME, or NAME-1, NAME-2, ...

        Raises:
            UserError: a file or SMILES cannot be read, RDKit is missing, or two files would get one name.
        """
        read = list(self.each())
        names = unique_names([source for source, _, _ in read])
        return [(name, structure, one) for name, (_, structure, one) in zip(names, read, strict=True)]

    def each(self) -> Iterator[tuple[tuple[str, str], Structure, str | None]]:
        """Stem and source (what ``unique_names`` takes), structure and SMILES of all, read one after the other.

        Raises:
            UserError: as ``structures``, but for names.
        """
        for file in self.files:
            for structure in iter_structures(file):
                yield (file.stem, str(file)), self.with_state(structure), None
        if self.smiles:
            from orbdens.formats.smiles import from_smiles

            for one in self.smiles:
                structure = self.with_state(from_smiles(one))
                yield (structure.formula, ""), structure, one

    def with_state(self, structure: Structure) -> Structure:
        """A structure with the charge and the multiplicity that are asked for."""
        charge = structure.charge if self.charge is None else self.charge
        multiplicity = structure.multiplicity if self.multiplicity is None else self.multiplicity
        if (charge, multiplicity) == (structure.charge, structure.multiplicity):
            return structure
        return replace(structure, charge=charge, multiplicity=multiplicity)

    def grid(self, suited: Grid, structure: Structure) -> Grid:
        """The points that are wanted of a structure.

        Args:
            suited: the grid around it, or the one of ``like``.
            structure: a structure.

        Raises:
            UserError: the part that is wanted holds none.
        """
        if self.part is not None:
            return self.part.of(suited, structure)
        return suited if self.like is not None else find_writer(self.format).suit(suited, structure)

    @property
    def model_name(self) -> str:
        """What files call the model: the word for weights that ship, or its run folder."""
        if self.model is None:
            return shipped.MODELS[0]
        return self.model.resolve().parent.name if self.model.suffix == ".safetensors" else self.model.name

    @property
    def named_file(self) -> Path | None:
        """``out`` where it names a file: by its ending, unless it is a folder."""
        out = self.out
        return out if out and not out.is_dir() and any(w.names(out) for w in WRITERS.values()) else None

    @property
    def format(self) -> str:
        """Format of the files."""
        if self.coefficients or self.points is not None:
            return "npz"
        file = self.named_file
        return self.to or next((name for name, writer in WRITERS.items() if file and writer.names(file)), "cube")

    @property
    def suffix(self) -> str:
        """How names of the files end."""
        content = ".orbitals" if self.coefficients else ".points" if self.points is not None else ""
        return content + find_writer(self.format).suffix


@dataclass(frozen=True)
class Written:
    """A file that was written, that of the geometry of a SMILES, and what is known of the density: see ``Density``."""

    path: Path
    structure: Structure
    geometry: Path | None
    n_electrons: float
    expected_error: float | None
    unfamiliar: tuple[str, ...]
    warnings: tuple[str, ...]


def split_inputs(inputs: Sequence[Path], alone: bool = False) -> tuple[Path | None, list[Path]]:
    """The model (None if none is named) and the structure files among ``[MODEL] FILE...``.

    The first is a model if it is a folder, ends in .safetensors, or is no file and has no ending.

    Args:
        inputs: what the user named.
        alone: whether the model may stand alone, or nothing, because structures come from elsewhere.

    Raises:
        UserError: there are no structure files.
    """
    if not inputs and alone:
        return None, []
    if not inputs:
        raise UserError("expected structure files (FILE...), or a SMILES (--smiles)")
    first, *others = inputs
    names_model = first.is_dir() or first.suffix == ".safetensors" or not (first.suffix or first.is_file())
    if not names_model:
        return None, list(inputs)
    exists = first.exists() or str(first) in shipped.MODELS
    if not others and not (alone and exists):
        if exists:
            raise UserError(f"expected structure files (FILE...) after the model {first}")
        raise UserError(f"there is no file {first}, nor a model of that name; a SMILES goes with --smiles")
    return first, others


def predicted(request: Request) -> Iterator[tuple[str, Density]]:
    """The densities of all structures of a request beside their names: NAME of NAME.xyz, or NAME-1, NAME-2, ...

    All structures are checked before the first is computed.

    Raises:
        UserError: as ``predict_files``, but for what it says of output files.
    """
    named = request.structures()

    from orbdens.checkpoint import load_model

    densities = load_model(request.model, request.device, request.precision).predict_many(
        [structure for _, structure, _ in named]
    )
    yield from zip([name for name, _, _ in named], densities, strict=True)


def predict_files(request: Request, progress: Progress = silent) -> Iterator[Written]:
    """Predict all structures of a request in batches and write one file for each.

    Everything that can be wrong with the input is found before the first file is written.

    Args:
        request: what is wanted.
        progress: told of every file.

    Yields:
        What was written, after every file.

    Raises:
        UserError: an input file is missing, unreadable or holds a structure that cannot be computed, an element the
            model never saw, or an output file that exists or cannot be written.
    """
    named = request.structures()
    structures = [structure for _, structure, _ in named]
    paths = _output_paths([name for name, _, _ in named], request)
    geometries = [
        path.with_name(f"{_stem(path, request)}.xyz") if one else None
        for path, (_, _, one) in zip(paths, named, strict=True)
    ]
    like = read_head(request.like)[1] if request.like is not None else None
    points = read_points(request.points) if request.points is not None else None
    n_points = 0
    if not request.coefficients and points is None:
        if request.part is not None and find_writer(request.format).repeats:
            raise UserError(f"--to {request.format} holds a whole cell, and no part of one: take another format")
        around = [like or Grid.around(one, request.spacing, request.margin) for one in structures]
        n_points = sum(request.grid(grid, one).n_points for grid, one in zip(around, structures, strict=True))

    from orbdens.checkpoint import load_model

    model = load_model(request.model, request.device, request.precision)
    densities = model.predict_many(structures)  # which checks all of them before the first
    if request.core:
        from orbdens.observables.cores import WholeDensity, check_valence

        for structure in structures:
            check_valence(structure, model.count_electrons(structure))
        densities = map(WholeDensity.of, densities)
    elif not request.coefficients and points is None:
        from orbdens.observables.cores import for_grids

        densities = map(for_grids, densities)
    for path in [*paths, *filter(None, geometries)]:
        check_output(path, request.force)
    check_room(paths, n_points * (find_writer(request.format).bytes_per_point or 0))
    for done, (path, geometry, density) in enumerate(zip(paths, geometries, densities, strict=True), start=1):
        if geometry is not None:
            write_structure(geometry, density.structure, smiles=named[done - 1][2] or "")
        if request.coefficients:
            expected = {} if density.expectation is None else density.expectation.arrays()
            write_npz(path, **_atoms(density), **_orbitals(density), **expected)
        elif points is not None:
            write_npz(path, **_atoms(density), points=points, density=density.at(points))
        else:
            suited = like or density.suited_grid(request.spacing, request.margin)
            _write_grid(path, density, request, suited, progress)
        progress("predicting", done, len(paths))
        yield Written(
            path,
            density.structure,
            geometry,
            density.n_electrons,
            density.expected_error,
            density.unfamiliar,
            density.warnings,
        )


def _output_paths(names: list[str], request: Request) -> list[Path]:
    """One path per structure: NAME.cube, or NAME-1.cube, NAME-2.cube, ... for a file with many structures."""
    if request.named_file is not None:
        if len(names) > 1:
            raise UserError(
                f"{len(names)} structures need a folder to go to, but --out names the one file {request.out}"
            )
        if not find_writer(request.format).names(request.named_file):
            raise UserError(f"files of format {request.format} are asked for, but --out names {request.out}")
        return [request.named_file]
    folder = request.out if request.out is not None else Path()
    return [folder / f"{name}{request.suffix}" for name in names]


def _stem(path: Path, request: Request) -> str:
    """The name of an output file without what tells its content and format."""
    return path.name.removesuffix(request.suffix) if path.name.endswith(request.suffix) else path.stem


def unique_names(sources: Sequence[tuple[str, str]]) -> list[str]:
    """One name per structure, of its stem and source: NAME, or NAME-1, NAME-2, ... of a source with many structures.

    Raises:
        UserError: two sources would get one name.
    """
    names: list[str] = []
    total, seen = Counter(sources), Counter[tuple[str, str]]()
    for source in sources:
        seen[source] += 1
        number = f"-{seen[source]:0{len(str(total[source]))}d}" if total[source] > 1 else ""
        names.append(f"{source[0]}{number}")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(f"two input files would both be called {name}: rename one, or run them separately")
    return names


def _write_grid(path: Path, density: Density, request: Request, suited: Grid, progress: Progress) -> None:
    """Write a density slab by slab."""
    writer, structure = find_writer(request.format), density.structure
    grid = request.grid(suited, structure)

    def slabs() -> Iterator[NDArray[np.float32]]:
        done = 0
        for slab in density.slabs(grid, writer.axis):
            yield slab
            done += slab.size
            if slab.size < grid.n_points:
                progress(f"points of {path.name}", done, grid.n_points)

    facts: dict[str, str | float] = {"n_electrons": density.n_electrons, "model": request.model_name}
    writer.write(path, structure, grid, slabs(), facts=facts)


def _atoms(density: Density) -> dict[str, NDArray[np.generic]]:
    return {"numbers": density.structure.numbers, "positions": density.structure.positions}


def _orbitals(density: Density) -> dict[str, NDArray[np.generic]]:
    """Everything that a sum over orbitals needs; README says how to read it."""
    from orbdens.density import OrbitalDensity

    if not isinstance(density, OrbitalDensity):
        raise UserError("--coefficients needs a model that predicts orbitals, but this one predicts values on a grid")
    shells = {
        name: getattr(density.shells, name).numpy()
        for name in ("shell_ptr", "shell_l", "primitive_ptr", "exponents", "weights")
    }
    return {
        "site_positions": density.site_positions,
        "site_types": density.site_types,
        "coefficients": density.coefficients.cpu().numpy(),
        **shells,
    }
