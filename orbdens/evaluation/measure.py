"""``orbdens evaluate``: how far a model's densities are from the reference densities of a store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.checkpoint import find_model, load_model, read_header
from orbdens.comparison import Comparison, comparison
from orbdens.density import Density
from orbdens.electrons import core_charges
from orbdens.errors import UserError
from orbdens.evaluation.result import Cost, Errors, Evaluation, MeasuredOn, ModelFacts, Slice
from orbdens.evaluation.robustness import Turned, off_grid_error
from orbdens.evaluation.slices import Raster
from orbdens.grid import Grid
from orbdens.labels import label_density, stored_density
from orbdens.machine import describe_machine, describe_versions, peak_memory_mb
from orbdens.metrics import (
    MARGIN,
    QUADRATURE,
    REGIONS,
    SPACING,
    DensityError,
    density_error,
    dipole_error,
    negative_part,
)
from orbdens.observables.contact import contact_error
from orbdens.observables.hirshfeld import hirshfeld
from orbdens.observables.mbis import mbis
from orbdens.observables.partition import Quadrature
from orbdens.observables.potential import potential
from orbdens.observables.surfaces import merz_kollman_points
from orbdens.progress import Progress, silent
from orbdens.sampling import evenly_spaced
from orbdens.store import Store, open_store
from orbdens.structure import Structure
from orbdens.units import KCAL_PER_MOL

SLICE_STEP = 0.08
"""Å; between the points of the slice that is kept as a picture."""

SLICE_MARGIN = 2.0
"""Å; of the slice around the atoms."""


@dataclass(frozen=True)
class Measured:
    """Errors of the density of one structure; units as in ``Errors``.

    Attributes:
        structure: whose density it is.
        on_own: it was compared on the grid, or at the points, of its record.
        on_quadrature: it was compared on a quadrature, as it has cores.
        seconds: that the prediction took, points included.
        flagged: the model called its prediction an extrapolation, by ``unfamiliar`` or ``warnings`` of the density.
    """

    key: str
    structure: Structure
    on_own: bool
    on_quadrature: bool
    seconds: float
    density: DensityError
    electrons: float
    dipole: float | None
    negative: float
    expected: float | None
    flagged: bool
    off_grid: float | None
    turned: float | None
    contact: float | None
    potential: float | None
    atomic_charges: Mapping[str, float]


def evaluate(
    model: str | Path | None,
    store: str | Path,
    split: str = "test",
    spacing: float = SPACING,
    margin: float = MARGIN,
    name: str | None = None,
    n: int | None = None,
    progress: Progress = silent,
    with_potential: bool = False,
    with_charges: bool = False,
    with_robustness: bool = False,
) -> Evaluation:
    """Compare a model with every structure of a split.

    Args:
        model: model.safetensors, the run folder that holds it, or None for the weights that ship.
        store: folder of the store, or ``lithium-oxide``.
        split: named split of the store.
        spacing: Å; uniform grid on which orbital records are compared (grid records: on their own grids; those with
            cores: on a quadrature).
        margin: Å; of that grid around the atoms.
        name: what tables call the model; None takes the name of its folder.
        n: at most so many structures, evenly spaced over the split; None takes all.
        progress: told of every structure.
        with_potential: also compare electrostatic potentials on the surface, which takes about a second a structure.
        with_charges: also compare Hirshfeld and MBIS charges of atoms, which takes some seconds a structure.
        with_robustness: also compare half a step off the grid, and predict each molecule once more, turned at random.

    Raises:
        UserError: no such model, store or split, an element the model never saw, all-electron densities on grids, or
            potentials of periodic structures or of densities on grids, or charges of periodic structures are asked for.
    """
    file = find_model(model)
    network = load_model(file)
    records = open_store(store)
    keys = records.keys(split)
    if not keys:
        raise UserError(f"split '{split}' of {store} is empty")
    if n is not None:
        keys = evenly_spaced(keys, n)
    structures = [records.structure(key) for key in keys]
    first = network.predict(structures[0])
    first.on(Grid.around(structures[0], spacing=1.0, margin=0.0))  # what is compiled now is no part of the speed
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    measured: list[Measured] = []
    turned = None
    if with_robustness and not any(structure.periodic for structure in structures):
        turned = [Turned.of(structure, seed) for seed, structure in enumerate(structures)]
    for one in measure_each(
        network.predict_many(structures),
        records,
        keys,
        spacing,
        margin,
        with_potential,
        with_charges,
        with_robustness,
        None if turned is None else zip(turned, network.predict_many([one.structure for one in turned]), strict=True),
    ):
        measured.append(one)
        progress("evaluating", len(measured), len(keys))
    on_quadrature = all(one.on_quadrature for one in measured)  # all records of a store are alike
    no_new_grid = on_quadrature or all(one.on_own for one in measured)
    return Evaluation(
        model=ModelFacts(
            name=name or file.resolve().parent.name,
            kind=network.config.kind,
            n_parameters=network.n_parameters,
            training_minutes=training_minutes(read_header(file).training),
        ),
        measured_on=MeasuredOn(
            store=records.path.resolve().name,
            split=split,
            fingerprint=_fingerprint(structures),
            spacing=None if no_new_grid else spacing,
            margin=None if no_new_grid else margin,
            quadrature=QUADRATURE if on_quadrature else None,
        ),
        errors=_errors(measured),
        slice=_slice(keys[0], stored_density(records, keys[0]), first),
        cost=Cost(
            structures_per_s=len(keys) / sum(one.seconds for one in measured),
            peak_memory_mb=peak_memory_mb(),
            peak_gpu_memory_mb=torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        ),
        machine=describe_machine(),
        versions=describe_versions("torch", "numpy", "numba", "e3nn"),
    )


def training_minutes(notes: dict[str, Any]) -> float | None:
    """Minutes of training in the notes of a checkpoint, those of the model it started from included."""
    minutes: float | None = notes.get("minutes")
    before = training_minutes(notes["start"]) if notes.get("start") else 0.0
    return None if minutes is None or before is None else minutes + before


def measure_each(
    densities: Iterator[Density],
    store: Store,
    keys: Sequence[str],
    spacing: float = SPACING,
    margin: float = MARGIN,
    with_potential: bool = False,
    with_charges: bool = False,
    with_off_grid: bool = False,
    turned: Iterator[tuple[Turned, Density]] | None = None,
) -> Iterator[Measured]:
    """Compare densities, which are predicted as they are asked for, with the records of ``keys``.

    Args:
        densities: in the order of the keys.
        store: the records.
        keys: of the records.
        spacing: Å; of the grid on which orbital records are compared.
        margin: Å; of that grid around the atoms.
        with_potential: also compare electrostatic potentials on the surface.
        with_charges: also compare charges of atoms.
        with_off_grid: also compare half a step off the grid.
        turned: the same molecules turned, and their densities, to be compared as well.
    """
    for key in keys:
        begun = time.perf_counter()
        density = next(densities)
        seconds = time.perf_counter() - begun
        record = store[key]
        label = label_density(record, store.manifest)
        points = comparison(label, spacing, margin)
        begun = time.perf_counter()
        predicted = points.values(density)
        seconds += time.perf_counter() - begun
        reference = points.values(label)
        excess = density.n_electrons - store.manifest.n_electrons(label.structure)
        one = None if turned is None else next(turned)
        yield Measured(
            key=key,
            structure=label.structure,
            on_own=label.tabulated,
            on_quadrature=label.has_cores and not label.tabulated,
            seconds=seconds,
            density=density_error(predicted, reference, points.nearest()[0], points.volumes),
            electrons=excess,
            dipole=_dipole_error(density, predicted, points, label, record.dipole, excess),
            negative=negative_part(predicted, points.volumes),
            expected=density.expected_error,
            flagged=bool(density.unfamiliar or density.warnings),
            off_grid=off_grid_error(density, label, points) if with_off_grid else None,
            turned=None if one is None else one[0].error(one[1], points, reference),
            contact=contact_error(density, label),
            potential=_potential_error(density, label) if with_potential else None,
            atomic_charges=_charge_errors(density, label) if with_charges else {},
        )


def _potential_error(density: Density, label: Density) -> float:
    """RMS error of the potential on the points of the Merz-Kollman shells, kcal/mol per e."""
    points = merz_kollman_points(label.structure)
    errors = potential(density, points) - potential(label, points)
    return float(np.sqrt((errors**2).mean()) * KCAL_PER_MOL)


def _charge_errors(density: Density, label: Density) -> dict[str, float]:
    """Mean magnitude of the errors of atomic charges by each scheme, e."""
    ours, reference = Quadrature.of_whole(density), Quadrature.of_whole(label)
    charges = {
        "hirshfeld": (hirshfeld(ours).charges, hirshfeld(reference).charges),
        "mbis": (mbis(ours)[0].charges, mbis(reference)[0].charges),
    }
    return {scheme: float(np.abs(found - true).mean()) for scheme, (found, true) in charges.items()}


def _dipole_error(
    density: Density,
    predicted: NDArray[np.float32],
    points: Comparison,
    label: Density,
    exact: NDArray[np.float64] | None,
    excess: float,
) -> float | None:
    """In Debye, about the centre of the charges.

    None for a periodic structure, whose dipole depends on where its cell is cut.

    Args:
        density: the prediction.
        predicted: its values where it was compared, e/Å³.
        points: where that was.
        label: the reference.
        exact: the whole dipole of the record, cores included, e·Å [3]; without one it is that of the label, and if that
            is tabulated, the prediction's is that of its values there.
        excess: electrons that the prediction has too many.
    """
    structure = density.structure
    if structure.periodic:
        return None
    assert label.valence_electrons is not None  # a store knows them
    charges = core_charges(structure, label.valence_electrons)
    nuclear = charges @ structure.positions
    found = density.dipole
    if exact is None:
        exact = nuclear + label.dipole
        if label.tabulated:
            found = points.dipole(predicted)
            excess = float((points.volumes * predicted.astype(np.float64)).sum()) - label.n_electrons
    return dipole_error(nuclear + found + excess * nuclear / charges.sum(), exact)


def _errors(measured: Sequence[Measured]) -> Errors:
    return Errors(
        keys=[one.key for one in measured],
        nmae=[one.density.nmae for one in measured],
        electrons=[one.electrons for one in measured],
        dipole=[one.dipole for one in measured],
        regions={region: [one.density.regions[region] for one in measured] for region in REGIONS},
        negative=[one.negative for one in measured],
        expected=_of_all(one.expected for one in measured),
        charges=[one.structure.charge for one in measured],
        multiplicities=[one.structure.multiplicity for one in measured],
        flagged=[one.flagged for one in measured],
        off_grid=_of_all(one.off_grid for one in measured),
        turned=_of_all(one.turned for one in measured),
        contact=_of_all(one.contact for one in measured),
        potential=_of_all(one.potential for one in measured),
        atomic_charges={name: [one.atomic_charges[name] for one in measured] for name in measured[0].atomic_charges},
    )


def _of_all(figures: Iterable[float | None]) -> list[float] | None:
    """The figures of all structures; None where one has none."""
    every = list(figures)
    known = [figure for figure in every if figure is not None]
    return known if len(known) == len(every) else None


def _fingerprint(structures: Sequence[Structure]) -> str:
    """A hash of elements and coordinates, the same wherever the same structures are measured on."""
    digest = hashlib.sha256()
    for structure in structures:
        digest.update(structure.numbers.tobytes() + structure.positions.astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def _slice(key: str, label: Density, density: Density) -> Slice | None:
    """Both densities on the plane that holds as many atoms as possible; None where the label knows no such plane."""
    if label.native_points is not None:
        return None
    structure = label.structure
    raster = Raster.around(structure, SLICE_STEP, SLICE_MARGIN)
    points = raster.points()
    x, y = raster.corner
    return Slice(
        key=key,
        formula=structure.formula,
        step=raster.step,
        corner=(round(float(x), 4), round(float(y), 4)),
        atoms=[(symbol, round(x, 4), round(y, 4), round(z, 4)) for symbol, x, y, z in raster.marks(structure)],
        reference=_rounded(label.at(points), raster.shape),
        predicted=_rounded(density.at(points), raster.shape),
    )


def _rounded(values: NDArray[np.float32], shape: tuple[int, int]) -> list[list[float]]:
    rows: list[list[float]] = values.astype(np.float64).round(5).reshape(shape).tolist()
    return rows
