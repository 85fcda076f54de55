"""The verbs potential, charges and moments: densities of predictions or of a store, and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.formats import read_head
from orbdens.formats.cube import CUBE_SUFFIXES, write_potential_cube
from orbdens.formats.esp import read_esp, write_esp
from orbdens.formats.npz import read_points, write_npz
from orbdens.formats.structures import read_structures
from orbdens.grid import Grid
from orbdens.metrics import MARGIN, SPACING
from orbdens.observables.surfaces import ISO_LEVEL, POINTS_PER_AREA, SCALES
from orbdens.prediction import Request, predicted
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.density import Density
    from orbdens.observables.multipoles import Moments

SurfaceKind = Literal["vdw", "isodensity"]
SCHEMES = ("resp", "esp", "mbis", "hirshfeld")
"""Charges by name: restrained and free fits of the potential, and shares of the density."""

HIGHEST = 10_000.0
"""Hartree/e; a potential on a grid point that a nucleus lies on is written as this."""


@dataclass(frozen=True)
class Source:
    """Whose densities: of structure files, predicted, or of the records of a store.

    Attributes:
        request: structure files, model, charge and multiplicity.
        store: folder of a store, or None.
        split: its named split.
        n: at most so many records, evenly spaced; None takes all.
    """

    request: Request
    store: str | None = None
    split: str = "test"
    n: int | None = None

    def densities(self) -> list[tuple[str, Density]]:
        """Names and densities; errors as ``predicted``, or of the store."""
        if self.store is None:
            return list(predicted(self.request))
        from orbdens.labels import stored_density
        from orbdens.sampling import evenly_spaced
        from orbdens.store import open_store

        store = open_store(self.store)
        keys = store.keys(self.split)
        return [(key, stored_density(store, key)) for key in (keys if self.n is None else evenly_spaced(keys, self.n))]


@dataclass(frozen=True)
class Target:
    """Where a potential is wanted, and the file it goes to.

    Attributes:
        spacing: Å; of grids around the structures.
        margin: Å; of grids around the atoms.
        like: a cube or HDF5 file whose grid to take.
        points: an npy file of points in Å [n_points, 3].
        surface: the kind of a surface.
        scales: factors on van der Waals radii, a surface for each.
        level: e/Å³; of an isodensity surface.
        points_per_area: Å⁻²; of points on surfaces.
        out: file for one structure, or folder for many; its ending tells the format of points: .npz or .esp.
        force: replace files that exist.
    """

    spacing: float = SPACING
    margin: float = MARGIN
    like: Path | None = None
    points: Path | None = None
    surface: SurfaceKind | None = None
    scales: Sequence[float] = SCALES
    level: float = ISO_LEVEL
    points_per_area: float = POINTS_PER_AREA
    out: Path | None = None
    force: bool = False

    def paths(self, names: Sequence[str]) -> list[Path]:
        """A path for each structure; UserError if they cannot be written, or the ending is of another content."""
        on_grid = self.surface is None and self.points is None
        endings = CUBE_SUFFIXES if on_grid else (".npz", ".esp")
        out = self.out
        if out is not None and out.suffix and not out.is_dir():
            if not out.name.lower().endswith(endings):
                raise UserError(f"this potential goes to a file that ends in {' or '.join(endings)}, not to {out}")
            if len(names) > 1:
                raise UserError(f"{len(names)} structures need a folder to go to, but --out names the one file {out}")
            paths = [out]
        else:
            paths = [(out or Path()) / f"{name}.potential{endings[0]}" for name in names]
        for path in paths:
            check_output(path, self.force)
        return paths


@dataclass(frozen=True)
class WrittenPotential:
    """A file that was written, and the lowest and highest potential in it, Hartree/e."""

    path: Path
    structure: Structure
    lowest: float
    highest: float


def potential_files(source: Source, target: Target, progress: Progress = silent) -> Iterator[WrittenPotential]:
    """Write the electrostatic potentials of structures, a file for each.

    Yields:
        What was written, after every file.

    Raises:
        UserError: as ``predicted`` and ``potential``, or a file cannot be read or written.
    """
    from orbdens.density import check_molecule
    from orbdens.observables.potential import cores

    like = None if target.like is None else read_head(target.like)[1]
    points = None if target.points is None else read_points(target.points)
    named = source.densities()
    paths = target.paths([name for name, _ in named])
    for _, density in named:
        check_molecule(density.structure, "potential")
        cores(density)
    for done, (path, (_, density)) in enumerate(zip(paths, named, strict=True), start=1):
        if points is None and target.surface is None:
            ends = _on_grid(path, density, like or density.suited_grid(target.spacing, target.margin))
        else:
            ends = _at_points(path, density, points, target)
        progress("potentials", done, len(paths))
        yield WrittenPotential(path, density.structure, *ends)


def _on_grid(path: Path, density: Density, grid: Grid) -> tuple[float, float]:
    """Write a potential slab by slab; its lowest and highest value, Hartree/e."""
    from orbdens.density import slabs_of
    from orbdens.observables.potential import potential

    ends = [np.inf, -np.inf]

    def slabs() -> Iterator[NDArray[np.float64]]:
        for slab in slabs_of(grid):
            values = np.minimum(potential(density, slab.points()).reshape(slab.shape), HIGHEST)
            ends[:] = min(ends[0], float(values.min())), max(ends[1], float(values.max()))
            yield values

    write_potential_cube(path, density.structure, grid, slabs())
    return ends[0], ends[1]


def _at_points(path: Path, density: Density, points: NDArray[np.float64] | None, target: Target) -> tuple[float, float]:
    """Write a potential at points or on surfaces; its lowest and highest value, Hartree/e."""
    from orbdens.observables.potential import potential_and_field
    from orbdens.observables.surfaces import isodensity_surface, van_der_waals_surface

    structure, areas = density.structure, {}
    if points is None:
        if target.surface == "isodensity":
            surfaces = [isodensity_surface(density, target.level, target.points_per_area)]
        else:
            surfaces = [van_der_waals_surface(structure, scale, target.points_per_area) for scale in target.scales]
        points = np.concatenate([surface.points for surface in surfaces])
        areas = {"areas": np.concatenate([surface.areas for surface in surfaces])}
    values, fields = potential_and_field(density, points)
    if path.suffix.lower() == ".esp":
        write_esp(path, structure, points, values)
    else:
        atoms = {"numbers": structure.numbers, "positions": structure.positions}
        write_npz(path, **atoms, points=points, potential=values, field=fields, **areas)
    return float(values.min()), float(values.max())


@dataclass(frozen=True)
class AtomicCharges:
    """Charges of the atoms of one structure.

    Attributes:
        name: of the file or record.
        structure: its atoms.
        charges: by scheme, e [n_atoms].
        figures: by scheme, what else is known: ``rms`` (kcal/mol per e) and ``relative_rms`` of a fit; ``dipoles``
            (e·Å) and ``volumes`` (e·Å³) of the atoms of a partition.
    """

    name: str
    structure: Structure
    charges: Mapping[str, NDArray[np.float64]]
    figures: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        schemes = {scheme: {"charges": q.tolist(), **self.figures[scheme]} for scheme, q in self.charges.items()}
        return {"name": self.name, "formula": self.structure.formula, "elements": self.structure.symbols, **schemes}


def atomic_charges(
    source: Source, schemes: Sequence[str], density_file: Path | None = None, progress: Progress = silent
) -> Iterator[AtomicCharges]:
    """Charges of the atoms of every structure by every scheme.

    Args:
        source: whose.
        schemes: of ``SCHEMES``.
        density_file: where the density on the points of the partition goes, as ``density.npz`` of denspart.
        progress: told of every structure.

    Raises:
        UserError: as ``predicted``, a scheme is unknown, or the densities have no potential.
    """
    unknown = [scheme for scheme in schemes if scheme not in SCHEMES]
    if unknown:
        raise UserError(f"there are charges of {', '.join(SCHEMES)}, but not of '{unknown[0]}'")
    named = source.densities()
    if density_file is not None and len(named) > 1:
        raise UserError(f"--density names one file, but there are {len(named)} structures")
    for done, (name, density) in enumerate(named, start=1):
        yield _charges(name, density, schemes, density_file)
        progress("charges", done, len(named))


def _charges(name: str, density: Density, schemes: Sequence[str], density_file: Path | None) -> AtomicCharges:
    from orbdens.formats.denspart import write_quadrature
    from orbdens.observables.hirshfeld import hirshfeld
    from orbdens.observables.mbis import mbis
    from orbdens.observables.partition import Quadrature
    from orbdens.observables.resp import PotentialAtPoints, esp_charges, resp_charges

    charges: dict[str, NDArray[np.float64]] = {}
    figures: dict[str, dict[str, Any]] = {}
    if {"mbis", "hirshfeld"} & set(schemes) or density_file is not None:
        quadrature = Quadrature.of_whole(density)
        if density_file is not None:
            arrays = quadrature.points, quadrature.volumes, quadrature.density
            write_quadrature(density_file, density.structure, *arrays)
    for scheme in schemes:
        if scheme in ("mbis", "hirshfeld"):
            atoms = hirshfeld(quadrature) if scheme == "hirshfeld" else mbis(quadrature)[0]
            charges[scheme] = atoms.charges
            figures[scheme] = {"dipoles": atoms.dipoles.tolist(), "volumes": atoms.volumes.tolist()}
        else:
            fit = {"resp": resp_charges, "esp": esp_charges}[scheme]([PotentialAtPoints.of(density)])
            charges[scheme] = fit.charges
            figures[scheme] = {"rms": fit.rms, "relative_rms": fit.relative_rms}
    return AtomicCharges(name, density.structure, charges, figures)


def charges_of_potentials(files: Sequence[Path], potentials: Sequence[Path], request: Request) -> AtomicCharges:
    """RESP and ESP charges of potentials that another program wrote, those of all conformers together.

    Args:
        files: structure files, one for each potential (conformers or orientations).
        potentials: files as ``read_esp`` reads them.
        request: charge of the structures.

    Raises:
        UserError: as ``resp_charges``, or a file cannot be read.
    """
    from orbdens.observables.resp import PotentialAtPoints, esp_charges, resp_charges

    structures = [request.with_state(structure) for file in files for structure in read_structures(file)]
    if len(structures) != len(potentials):
        raise UserError(f"{len(potentials)} potentials need as many structures, but the files hold {len(structures)}")
    given = [PotentialAtPoints(s, *read_esp(f)) for s, f in zip(structures, potentials, strict=True)]
    fits = {"resp": resp_charges(given), "esp": esp_charges(given)}
    return AtomicCharges(
        files[0].stem,
        structures[0],
        {scheme: fit.charges for scheme, fit in fits.items()},
        {scheme: {"rms": fit.rms, "relative_rms": fit.relative_rms} for scheme, fit in fits.items()},
    )


@dataclass(frozen=True)
class MolecularMoments:
    """Moments of one structure.

    Attributes:
        name: of the file or record.
        structure: its atoms.
        moments: of the molecule.
        hartree_energy: Hartree; None for a density on a grid.
        atoms: multipoles of the atoms by MBIS to l = 2, where they are asked for.
    """

    name: str
    structure: Structure
    moments: Moments
    hartree_energy: float | None
    atoms: NDArray[np.float64] | None

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        figures = {name: np.asarray(value).tolist() for name, value in vars(self.moments).items()}
        atoms = None if self.atoms is None else self.atoms.tolist()
        facts = {"name": self.name, "formula": self.structure.formula, "elements": self.structure.symbols}
        return {**facts, **figures, "hartree_energy": self.hartree_energy, "atoms": atoms}


def molecular_moments(source: Source, atoms: bool, progress: Progress = silent) -> Iterator[MolecularMoments]:
    """Moments of every structure.

    Args:
        source: whose.
        atoms: also multipoles of the atoms.
        progress: told of every structure.

    Raises:
        UserError: as ``predicted``, ``moments`` and ``mbis``.
    """
    from orbdens.observables.mbis import mbis
    from orbdens.observables.multipoles import hartree_energy, moments
    from orbdens.observables.partition import Quadrature

    named = source.densities()
    for done, (name, density) in enumerate(named, start=1):
        energy = None if density.tabulated else hartree_energy(density)
        of_atoms = mbis(Quadrature.of_whole(density))[0].multipoles if atoms else None
        yield MolecularMoments(name, density.structure, moments(density), energy, of_atoms)
        progress("moments", done, len(named))


def write_json(path: Path, content: Sequence[Mapping[str, Any]]) -> None:
    """Write figures as JSON, whole or not at all; UserError if that cannot be."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
