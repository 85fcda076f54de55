"""Predictions of many structures into a store of coefficients: by all cores, in bounded memory, gone on with any time.

Structures are read first to find everything that is wrong, and then predicted: from memory if they are not too many,
else they are read once more, one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers

from orbdens.checkpoint import find_model, load_model
from orbdens.density import Density, OrbitalDensity
from orbdens.devices import FULL, find_device
from orbdens.errors import UserError
from orbdens.models.interface import ATOMS_AT_ONCE, DensityModel
from orbdens.prediction import Request, unique_names
from orbdens.processes import stream_map
from orbdens.progress import Progress, silent
from orbdens.store import CoefficientRecord, Manifest, SiteOrbitals, StoreWriter
from orbdens.store.records import SITE_ARRAYS
from orbdens.store.writer import packed_record
from orbdens.structure import Structure

SPLIT = "predicted"
"""The split of all records."""

KEPT_ATOMS = 2_000_000
"""Structures with more atoms than this together are read twice rather than kept: 64 MB, and 1 kB a structure."""

Batch = list[tuple[str, Structure]]


@dataclass
class Predicted:
    """What a call has put into a store.

    Attributes:
        count: structures in the store.
        before: how many of them were there already.
        expected_errors: NMAE in % to expect of those of this call, where the model can tell.
        doubtful: keys of those of this call with a warning, or with unfamiliar atoms or bonds.
    """

    count: int
    before: int
    expected_errors: list[float] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)


class Packed(NamedTuple):
    """A prediction as it comes from a process."""

    key: str
    record: bytes
    expected_error: float | None
    doubtful: bool


def predict_store(request: Request, target: Path, progress: Progress = silent) -> Predicted:
    """Predict all structures of a request and store them: ``labels.stored_density(Store(target), key)`` reads one.

    Keys are the names that files would have. The same call goes on with a store that it left unfinished.

    Args:
        request: files or SMILES, model, charge, multiplicity, device (one process works on a GPU, all cores without
            one); ``force`` replaces what is at ``target``.
        target: folder of the store.
        progress: told of every structure.

    Raises:
        UserError: a structure cannot be read or predicted, the model's densities are no sums over orbitals, the store
            at ``target`` is another one, or it cannot be written.
    """
    path = find_model(request.model)
    model = load_model(path, request.device, request.precision)
    names, kept = _read(request, model)
    manifest = _manifest(request, path, model, model.predict(next(_structures(request, kept))))
    if not request.force:
        _check_same(target, manifest)
    with StoreWriter(target, manifest, resume=not request.force, overwrite=request.force) as writer:
        done = Predicted(len(names), len(writer))
        named = zip(names, _structures(request, kept), strict=True)
        batches = _batches(task for task in named if task[0] not in writer)
        n = done.before
        if find_device(request.device).is_processor:
            found = stream_map(_predict, batches, _begin, (path, request.precision, manifest))
        else:  # which the processes would have to share
            found = (_packed_batch(model, manifest, batch) for batch in batches)
        for packed in (one for batch in found for one in batch):
            writer.put_packed(packed.key, packed.record)
            if packed.expected_error is not None:
                done.expected_errors.append(packed.expected_error)
            if packed.doubtful:
                done.doubtful.append(packed.key)
            n += 1
            progress("predicting", n, len(names))
        writer.finish({SPLIT: names})
    return done


def _read(request: Request, model: DensityModel) -> tuple[list[str], list[Structure] | None]:
    """Names of all structures, and the structures themselves unless these are too many to keep.

    Raises:
        UserError: some cannot be read or predicted; the first of them is named.
    """
    sources: list[tuple[str, str]] = []
    refused: list[str] = []
    kept: list[Structure] | None = []
    n_atoms = 0
    for number, (source, structure, _) in enumerate(request.each(), start=1):
        sources.append(source)
        n_atoms += structure.n_atoms
        if n_atoms > KEPT_ATOMS:
            kept = None
        if kept is not None:
            kept.append(structure)
        try:
            structure.check(f"structure {number}")
            model.count_electrons(structure)
        except UserError as error:
            refused.append(f"structure {number} ({source[0]}, {structure.formula}): {error}")
    if refused:
        more = f"; {len(refused) - 1} more cannot be predicted" if len(refused) > 1 else ""
        raise UserError(f"{refused[0]}{more}")
    return unique_names(sources), kept


def _structures(request: Request, kept: list[Structure] | None) -> Iterator[Structure]:
    return (structure for _, structure, _ in request.each()) if kept is None else iter(kept)


def _manifest(request: Request, path: Path, model: DensityModel, density: Density) -> Manifest:
    """What the store says about itself, by a density of the model."""
    electrons = model.facts["valence_electrons"]
    files = [{"name": file.name, "sha256": _digest(file)} for file in request.files]
    return Manifest(
        level={"method": "predicted by orbdens", "model": model.config.kind, "weights": _digest(path)},
        density="all-electron" if all(n == atomic_numbers[s] for s, n in electrons.items()) else "valence",
        valence_electrons=electrons,
        site_orbitals=_table(density),
        provenance={
            "command": "orbdens predict --store",
            "files": files,
            "smiles": list(request.smiles),
            "charge": request.charge,
            "multiplicity": request.multiplicity,
            **({} if request.precision == FULL else {"precision": request.precision}),
        },
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_same(target: Path, manifest: Manifest) -> None:
    """Raise UserError if there is another store at ``target``."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    known, own = Manifest.read(target).to_json(), json.loads(json.dumps(manifest.to_json()))
    for name, what in (("level", "another model"), ("provenance", "other structures or options")):
        if known[name] != own[name]:
            raise UserError(f"{target} is a store of {what}; --force replaces it")


def _batches(tasks: Iterator[tuple[str, Structure]]) -> Iterator[Batch]:
    """Structures that a process is given together: as many as a model takes at once."""
    batch: Batch = []
    n_atoms = 0
    for key, structure in tasks:
        if batch and n_atoms + structure.n_atoms > ATOMS_AT_ONCE:
            yield batch
            batch, n_atoms = [], 0
        batch.append((key, structure))
        n_atoms += structure.n_atoms
    if batch:
        yield batch


def _table(density: Density) -> SiteOrbitals:
    """The orbitals of a predicted density.

    Raises:
        UserError: it is no sum over orbitals.
    """
    if not isinstance(density, OrbitalDensity):
        raise UserError("--store needs a model that predicts orbitals, but this one predicts values at points")
    return SiteOrbitals({name: tuple(getattr(density.shells, name).tolist()) for name in SITE_ARRAYS}, density.cutoff)


_model: DensityModel
_of_store: Manifest
"""What a worker process has been given by ``_begin``."""


def _begin(path: Path, precision: str, manifest: Manifest) -> None:
    global _model, _of_store
    _model, _of_store = load_model(path, "cpu", precision), manifest


def _predict(batch: Batch) -> list[Packed]:
    """Predict in a worker process."""
    return _packed_batch(_model, _of_store, batch)


def _packed_batch(model: DensityModel, manifest: Manifest, batch: Batch) -> list[Packed]:
    densities = model.predict_many([structure for _, structure in batch])
    packed: list[Packed] = []
    checked = None
    for (key, _), density in zip(batch, densities, strict=True):
        assert isinstance(density, OrbitalDensity)  # or there were no manifest
        if density.shells is not checked and _table(density) != manifest.site_orbitals:
            raise UserError(
                "--store needs the same orbitals at all sites of a kind, "
                "but this model scales them (model.scaling_limit)"
            )
        checked = density.shells
        packed.append(_packed(key, density, manifest))
    return packed


def _packed(key: str, density: OrbitalDensity, manifest: Manifest) -> Packed:
    record = CoefficientRecord(
        density.structure,
        density.site_positions,
        density.site_types.astype(np.int32),
        density.coefficients.float().cpu().numpy(),
        {} if density.expectation is None else density.expectation.arrays(),
        density.warnings,
    )
    doubtful = bool(density.warnings or density.unfamiliar)
    return Packed(key, packed_record(key, record, manifest), density.expected_error, doubtful)
