"""``orbdens evaluate``: how far a model's densities are from the reference densities of a store."""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

import orbdens
from orbdens.checkpoint import find_model, load_model, read_header
from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.evaluation.result import Cost, Errors, Evaluation, MeasuredOn, ModelFacts, Slice
from orbdens.grid import Grid
from orbdens.labels import label_density
from orbdens.metrics import (
    REGIONS,
    density_error,
    dipole_error,
    distances_to_atoms,
    electronic_dipole,
    negative_part,
    nuclear_charges,
)
from orbdens.sampling import evenly_spaced
from orbdens.store import GridRecord, OrbitalRecord, Store, open_store
from orbdens.structure import Structure

BATCH_SIZE = 16
SLICE_STEP = 0.08
SLICE_MARGIN = 2.0


def evaluate(
    model: Path,
    store: str,
    split: str,
    spacing: float = 0.2,
    margin: float = 4.0,
    name: str | None = None,
    n: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Compare a model with every structure of a split.

    Args:
        model: model.safetensors or the run folder that holds it.
        store: folder of the store, or ``lithium-oxide``.
        split: named split of the store.
        spacing: Å; uniform grid on which orbital records are compared (grid records: on their own grids).
        margin: Å; of that grid around the atoms.
        name: what tables call the model; None takes the name of its folder.
        n: at most so many structures, evenly spaced over the split; None takes all.
        on_progress: called with the number of structures done and their total.

    Raises:
        UserError: no such model, store or split, or an element the model never saw.
    """
    file = find_model(model)
    _, _, training = read_header(file)
    network = load_model(file)
    records = open_store(store)
    keys = records.keys(split)
    if not keys:
        raise UserError(f"split '{split}' of {store} is empty")
    if n is not None:
        keys = evenly_spaced(keys, n)
    errors = Errors(keys=keys, nmae=[], electrons=[], dipole=[], regions={r: [] for r in REGIONS}, negative=[])
    expected: list[float] = []
    fingerprint = hashlib.sha256()
    picture: Slice | None = None
    all_on_own_grids = True
    seconds = 0.0
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    for start in range(0, len(keys), BATCH_SIZE):
        batch = [records[key] for key in keys[start : start + BATCH_SIZE]]
        clock = time.perf_counter()
        fields = network.predict([record.structure for record in batch])
        seconds += time.perf_counter() - clock
        for key, record, field in zip(keys[start:], batch, fields, strict=False):
            structure = record.structure
            fingerprint.update(structure.numbers.tobytes() + structure.positions.astype("<f4").tobytes())
            label = label_density(record, records.manifest)
            all_on_own_grids &= label.native_grid is not None
            grid = label.native_grid or Grid.around(structure, spacing, margin)
            clock = time.perf_counter()
            predicted = field.on(grid)
            seconds += time.perf_counter() - clock
            _add(errors, record, field, predicted, grid, records)
            if field.expected_error is not None:
                expected.append(field.expected_error)
            picture = picture or _slice(key, record, field, records)
            on_progress(len(errors.nmae), len(keys))
    assert picture is not None
    return Evaluation(
        model=ModelFacts(
            name=name or file.resolve().parent.name,
            kind=network.config.kind,
            n_parameters=sum(parameter.numel() for parameter in network.parameters()),
            training_minutes=training_minutes(training),
        ),
        measured_on=MeasuredOn(
            store=records.path.resolve().name,
            split=split,
            fingerprint=fingerprint.hexdigest()[:16],
            spacing=None if all_on_own_grids else spacing,
            margin=None if all_on_own_grids else margin,
        ),
        errors=errors.model_copy(update={"expected": expected}) if expected else errors,
        slice=picture,
        cost=Cost(
            structures_per_s=len(keys) / seconds,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            peak_gpu_memory_mb=torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        ),
        machine=_machine(),
        versions={"orbdens": orbdens.__version__, "python": platform.python_version()}
        | {package: version(package) for package in ("torch", "numpy", "numba", "e3nn")},
    )


def training_minutes(notes: dict[str, Any]) -> float | None:
    """Minutes of training in the notes of a checkpoint, those of the model it started from included."""
    minutes: float | None = notes.get("minutes")
    before = training_minutes(notes["start"]) if notes.get("start") else 0.0
    return None if minutes is None or before is None else minutes + before


def _add(
    errors: Errors,
    record: OrbitalRecord | GridRecord,
    field: Density,
    predicted: NDArray[np.float32],
    grid: Grid,
    store: Store,
) -> None:
    structure = record.structure
    reference = label_density(record, store.manifest).on(grid)
    error = density_error(predicted, reference, distances_to_atoms(structure, grid))
    errors.nmae.append(error.nmae)
    errors.negative.append(negative_part(predicted))
    for region, share in error.regions.items():
        errors.regions[region].append(share)
    too_many = field.n_electrons - store.manifest.n_electrons(structure)
    errors.electrons.append(too_many)
    charges = nuclear_charges(structure, store.manifest.valence_electrons)
    centre = charges @ structure.positions / charges.sum()
    if record.dipole is None:
        reference_dipole = electronic_dipole(grid, reference)
        too_many = float(predicted.sum(dtype=np.float64) - reference.sum(dtype=np.float64)) * grid.volume_element
        predicted_dipole = electronic_dipole(grid, predicted)
    else:
        reference_dipole = record.dipole
        predicted_dipole = charges @ structure.positions + field.dipole
    errors.dipole.append(dipole_error(predicted_dipole + too_many * centre, reference_dipole))


def _slice(key: str, record: OrbitalRecord | GridRecord, field: Density, store: Store) -> Slice:
    """Both densities on the plane that holds as many atoms as possible."""
    structure = record.structure
    centre, axes = cutting_plane(structure)
    local = (structure.positions - centre) @ axes.T
    low = local[:, :2].min(axis=0) - SLICE_MARGIN
    n_x, n_y = (int(n) + 1 for n in np.ceil((local[:, :2].max(axis=0) + SLICE_MARGIN - low) / SLICE_STEP))
    points = Grid(centre + low @ axes[:2], SLICE_STEP * axes, (n_x, n_y, 1)).points()
    reference = label_density(record, store.manifest).at(points)
    return Slice(
        key=key,
        formula=structure.formula,
        step=SLICE_STEP,
        corner=[round(float(x), 4) for x in low],
        atoms=[
            (chemical_symbols[number], round(float(x), 4), round(float(y), 4), round(float(z), 4))
            for number, (x, y, z) in zip(structure.numbers, local, strict=True)
        ],
        reference=_rounded(reference, n_x, n_y),
        predicted=_rounded(field.at(points), n_x, n_y),
    )


def _rounded(values: NDArray[np.float32], n_x: int, n_y: int) -> list[list[float]]:
    rows: list[list[float]] = values.astype(np.float64).round(5).reshape(n_x, n_y).tolist()
    return rows


def cutting_plane(structure: Structure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A point of the plane through three atoms that has most (heavy) atoms near it, and a frame of it [3, 3].

    The first axis of the frame is the longest of the molecule in the plane, the third the normal.
    """
    positions = structure.positions
    heaviest = np.argsort(-structure.numbers, kind="stable")[:16]
    best, centre, normal = -1.0, positions.mean(axis=0), None
    for triple in itertools.combinations(heaviest.tolist(), 3):
        a, b, c = positions[list(triple)]
        candidate = np.cross(b - a, c - a)
        length = np.linalg.norm(candidate)
        if length < 0.1:
            continue
        height = (positions - a) @ candidate / length
        score = float((structure.numbers * np.exp(-((height / 0.3) ** 2))).sum())
        if score > best + 1e-6:
            best, centre, normal = (
                score,
                positions.mean(axis=0) - height.mean() * candidate / length,
                candidate / length,
            )
    if normal is None:  # one atom, or all on a line
        _, _, axes = np.linalg.svd(positions - centre)
        return centre, axes
    flat = positions - centre - np.outer((positions - centre) @ normal, normal)
    along = np.linalg.svd(flat)[2][0]
    return centre, np.stack([along, np.cross(normal, along), normal])


def _machine() -> dict[str, str | int | float]:
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    machine: dict[str, str | int | float] = {
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }
    return machine | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})
