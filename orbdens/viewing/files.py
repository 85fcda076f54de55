"""The verb view: structure files, densities in cube and HDF5 files and run folders as pages or pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orbdens.checkpoint import MODEL_FILE, load_model, read_header
from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.files import check_output
from orbdens.formats import DENSITY_ENDINGS, read_density
from orbdens.grid_density import GridDensity
from orbdens.prediction import Request, predicted
from orbdens.progress import Progress, silent
from orbdens.viewing import View, view

if TYPE_CHECKING:
    from orbdens.viewing.scene import Show


@dataclass(frozen=True)
class Sight:
    """What to look at and where it goes.

    Attributes:
        request: structure files, which are predicted, or cube and HDF5 files, which are shown as they are; model,
            charge, multiplicity. A model without files is shown beside the reference of a record it was validated on.
        show: what is seen first.
        reference: a cube or HDF5 file of the same atoms.
        png: pictures instead of pages.
        out: file for one structure, or folder for many; its ending tells pages from pictures.
        force: replace files that exist.
    """

    request: Request
    show: Show = "density"
    reference: Path | None = None
    png: bool = False
    out: Path | None = None
    force: bool = False

    def paths(self, names: list[str]) -> list[Path]:
        """A path for each structure; UserError if they cannot be written."""
        out, ending = self.out, ".png" if self.png else ".html"
        if out is not None and out.suffix and not out.is_dir():
            if out.suffix.lower() not in (".html", ".png"):
                raise UserError(f"expected --out to end in .html or .png, but got {out}")
            if len(names) > 1:
                raise UserError(f"{len(names)} structures need a folder to go to, but --out names the one file {out}")
            if self.png and out.suffix.lower() != ".png":
                raise UserError(f"--png asks for a picture, but --out names {out}")
            paths = [out]
        else:
            paths = [(out or Path()) / f"{name}{ending}" for name in names]
        if len(set(paths)) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise UserError(f"two input files would both become {twice}: rename one, or run them separately")
        for path in paths:
            check_output(path, self.force)
        return paths


def view_files(sight: Sight, progress: Progress = silent) -> Iterator[tuple[Path, View]]:
    """Write a page or picture for each structure.

    Yields:
        Path and what was written there, after every file.

    Raises:
        UserError: as ``predicted`` and ``view``, or a file cannot be read or written.
    """
    named, reference = _densities(sight.request)
    if sight.reference is not None:
        reference = _of_file(sight.reference, sight.request)
    if reference is not None and len(named) > 1:
        raise UserError(f"a reference goes with one structure, but there are {len(named)}")
    paths = sight.paths([name for name, _ in named])
    for done, (path, (name, density)) in enumerate(zip(paths, named, strict=True), start=1):
        one = view(density, sight.show, name, reference)
        one.save(path)
        progress("views", done, len(paths))
        yield path, one


def _densities(request: Request) -> tuple[list[tuple[str, Density]], Density | None]:
    """Densities beside their names, and the reference of the only one where it is known."""
    known = [file for file in request.files if file.name.lower().endswith(DENSITY_ENDINGS)]
    if not request.files and not request.smiles:
        name, density, reference = _of_run(request)
        return [(name, density)], reference
    named: list[tuple[str, Density]] = [(file.stem, _of_file(file, request)) for file in known]
    others = replace(request, files=[file for file in request.files if file not in known])
    if others.files or others.smiles:
        named += predicted(others)
    return named, None


def _of_file(file: Path, request: Request) -> Density:
    structure, grid, values = read_density(file)
    return GridDensity(request.with_state(structure.check(str(file))), grid, values.astype("float32"))


def _of_run(request: Request) -> tuple[str, Density, Density]:
    """A model's density of the first record that it was validated on, and the record's own."""
    if request.model is None:
        raise UserError("expected structure files, cube or HDF5 files (FILE...), a run folder, or a SMILES (--smiles)")
    model = load_model(request.model, request.device)
    from orbdens.labels import stored_density
    from orbdens.store import open_store
    from orbdens.training.batches import splits_of

    file = request.model / MODEL_FILE if request.model.is_dir() else request.model
    if not file.is_file():
        raise UserError(f"{request.model} goes with structure files (FILE...): it knows no store to take one from")
    config = read_header(file).config
    store = open_store(config.data.store)
    key = splits_of(store, config.data)[1][0]
    reference = stored_density(store, key)
    return f"{request.model.stem} {key}".replace("/", "-"), model.predict(reference.structure), reference
