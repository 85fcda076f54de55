"""Bytes a molecule takes in a store, against other layouts, and how fast one is read: ``python -m benchmarks.storage``.

Writes copies of stores of orbital records, checks that they hold the same records, and refuses to print otherwise.
Bytes are per molecule, files and index included; shares are of raw float32. SCDP's layout holds four float32 a point of
a 0.2 Å grid with 4 Å margin (coordinates and density) and a graph. Grids are the densities of a few of the molecules.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
import zstandard
from torch.utils.data import DataLoader, Dataset

from orbdens.grid import Grid
from orbdens.labels import label_density
from orbdens.machine import describe_machine, describe_versions
from orbdens.metrics import MARGIN, SPACING
from orbdens.sampling import evenly_spaced
from orbdens.store import GridRecord, Manifest, Record, Store, StoreWriter, open_store
from orbdens.store.encoding import encode_record
from orbdens.store.packing import DICTIONARY, FAST, change_tensors, pack, shuffle, unpack

CUTOFF = 6.0
"""Å; of the graphs in SCDP's records."""

N_GRIDS = 5
N_READ = 3000


class Records(Dataset[Any]):
    """Records of a store by key, as a loader's worker reads them."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getitem__(self, key: str) -> Record:
        return self.store[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", default=["lithium-oxide"], help="stores of orbital records")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name in arguments.stores:
        store = open_store(name)
        with tempfile.TemporaryDirectory() as folder:
            figures = orbitals(store, Path(folder)) | grids(store, Path(folder))
        results[Path(name).name] = figures
        print(f"{name}\n" + "\n".join(f"  {what:28} {_shown(value)}" for what, value in figures.items()))
    if arguments.json:
        versions = describe_versions("torch", "numba", "pyscf", "lmdb", "safetensors", "zstandard")
        tree = {"machine": describe_machine(1) | versions, "stores": results}
        arguments.json.write_text(json.dumps(tree, indent=2) + "\n")


def orbitals(store: Store, folder: Path) -> dict[str, float]:
    """Sizes and rates of a store's orbital records."""
    if store.manifest.label_basis is None:
        sys.exit(f"{store.path} holds other records than orbitals")
    records = {key: store[key] for key in store.keys()}  # noqa: SIM118
    raw = [_raw_bytes(record) for record in records.values()]
    begin = time.perf_counter()
    written = _write(store, folder / "orbitals", records)
    writing = time.perf_counter() - begin
    _write_version_1(folder / "version-1", records)
    points, edges = np.array([_points_and_edges(record) for record in records.values()]).T
    scdp = (16 * points + 32 * edges).mean()
    disk, old = (_size(folder / name) / len(records) for name in ("orbitals", "version-1"))
    return {
        "molecules": len(records),
        "mean_atoms": float(np.mean([record.structure.n_atoms for record in records.values()])),
        "raw_float32_bytes": float(np.mean(raw)),
        "disk_bytes": disk,
        "disk_over_raw": disk / float(np.mean(raw)),
        "version_1_disk_over_raw": old / float(np.mean(raw)),
        "mean_grid_points": float(points.mean()),
        "scdp_layout_bytes": float(scdp),
        "scdp_layout_over_disk": float(scdp) / disk,
        "written_per_s": len(records) / writing,
        **_read_rates(written),
    }


def grids(store: Store, folder: Path) -> dict[str, float]:
    """Sizes and rates of grid records of some of a store's densities."""
    records: dict[str, GridRecord] = {}
    for key in evenly_spaced(store.keys(), N_GRIDS):
        record = store[key]
        grid = Grid.around(record.structure, SPACING, MARGIN)
        records[key] = GridRecord(
            record.structure, grid.origin, grid.steps, label_density(record, store.manifest).on(grid)
        )
    halves = {key: _half(record) for key, record in records.items()}
    single = _write(store, folder / "float32", records)
    half = _write(store, folder / "float16", halves)
    raw = sum(record.values.nbytes for record in records.values())
    values = next(iter(records.values()))
    plain = encode_record(values)
    packed = pack(plain)
    compress = zstandard.ZstdCompressor(level=FAST, dict_data=DICTIONARY).compress
    errors = [_nmae(halves[key].values, record.values) for key, record in records.items()]
    return {
        "grids": len(records),
        "grid_float32_disk_share": _size(single.path) / raw,
        "grid_float16_disk_share": _size(half.path) / raw,
        "grid_float16_nmae_percent": float(np.mean(errors)),
        "grid_zstd_share": len(compress(plain)) / len(plain),
        "grid_shuffled_zstd_share": len(compress(change_tensors(plain, _shuffle_only))) / len(plain),
        "grid_packed_share": len(packed) / len(plain),
        "grid_pack_mb_per_s": len(plain) / 1e6 / _seconds(lambda: pack(plain)),
        "grid_unpack_mb_per_s": len(plain) / 1e6 / _seconds(lambda: unpack(packed)),
    }


def _raw_bytes(record: Any) -> int:
    """Bytes of all that a record holds, in float32, atomic numbers (and spins) in one byte."""
    n_atoms, n_occupied = record.structure.n_atoms, len(record.occupations)
    floats = record.orbitals.size + 3 * n_atoms + n_occupied
    floats += (record.energy is not None) + (3 if record.dipole is not None else 0)
    return 4 * floats + n_atoms + (n_occupied if record.spins is not None else 0)


def _points_and_edges(record: Record) -> tuple[int, int]:
    """Points of the grid around a molecule, and directed edges of its graph."""
    positions = record.structure.positions
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    return Grid.around(record.structure, SPACING, MARGIN).n_points, int((distances < CUTOFF).sum()) - len(positions)


def _write(store: Store, path: Path, records: dict[str, Any]) -> Store:
    """A new store of records, read back and compared."""
    manifest = store.manifest
    with StoreWriter(
        path, Manifest(manifest.level, manifest.density, manifest.valence_electrons, manifest.label_basis)
    ) as writer:
        for key, record in records.items():
            writer.put(key, record)
        writer.finish({})
    written = Store(path)
    for key, record in records.items():
        if encode_record(written[key]) != encode_record(record):
            sys.exit(f"record '{key}' does not come out as it went in: nothing is printed")
    return written


def _write_version_1(path: Path, records: dict[str, Any]) -> None:
    """An LMDB with a value per record, as format version 1 had it."""
    with lmdb.open(str(path), map_size=1 << 34) as environment, environment.begin(write=True) as transaction:
        for key in sorted(records):
            transaction.put(key.encode(), encode_record(records[key]), append=True)


def _half(record: GridRecord) -> GridRecord:
    return GridRecord(record.structure, record.origin, record.steps, record.values.astype(np.float16))


def _nmae(values: Any, reference: Any) -> float:
    reference = reference.astype(np.float64)
    return float(100 * np.abs(values.astype(np.float64) - reference).sum() / np.abs(reference).sum())


def _shuffle_only(data: bytes, width: int, smooth: bool) -> bytes:
    return shuffle(data, width, False)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("data.mdb"))


def _read_rates(store: Store) -> dict[str, float]:
    """Records and bytes of arrays per second, in random order: in this process, and out of one worker of a loader.

    Per second on the clock, and per second of processor time, which a busy machine does not change as much.
    """
    keys = store.keys()
    rng = random.Random(0)
    order = [rng.choice(keys) for _ in range(N_READ)]
    begin, used = time.perf_counter(), time.process_time()
    size = sum(_array_bytes(store[key]) for key in order)
    alone, used = time.perf_counter() - begin, time.process_time() - used
    begin = time.perf_counter()
    for key in order:
        store.structure(key)
    structures = time.perf_counter() - begin
    batches = [order[i : i + 16] for i in range(0, len(order), 16)]
    loader: DataLoader[Any] = DataLoader(Records(store), batch_sampler=batches, num_workers=1, collate_fn=_as_list)
    before = _time_of_children()
    batch = iter(loader)
    n_first = len(next(batch))  # the worker has started
    begin = time.perf_counter()
    n = sum(len(records) for records in batch)
    worker = time.perf_counter() - begin
    del batch  # ends the worker, whose time is known then
    return {
        "read_per_s": len(order) / alone,
        "read_mb_per_s": size / alone / 1e6,
        "read_per_processor_s": len(order) / used,
        "structures_read_per_s": len(order) / structures,
        "worker_read_per_s": n / worker,
        "worker_read_mb_per_s": size / len(order) * n / worker / 1e6,
        "worker_read_per_processor_s": (n + n_first) / (_time_of_children() - before),
    }


def _time_of_children() -> float:
    """Processor time of processes that this one has started and that have ended, s."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _as_list(records: Sequence[Record]) -> list[Record]:
    return list(records)


def _array_bytes(record: Record) -> int:
    """Bytes of the arrays of a record, those of its structure aside."""
    return sum(value.nbytes for value in vars(record).values() if isinstance(value, np.ndarray))


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main()
