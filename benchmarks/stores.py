"""A store of very many records: ``python -m benchmarks.stores make FOLDER STORE...``, then ``... start FOLDER``.

The records are copies of real ones, their atoms displaced at random and their orbitals made orthonormal in the new
places, so that each is a density of as many electrons: as large as a real record, but no solution of any equation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from orbdens import shipped
from orbdens.config import find_config, load_config
from orbdens.machine import describe_machine, describe_versions
from orbdens.models import conditioning, density_fitting
from orbdens.models.orbital import task
from orbdens.models.orbital.objectives import AnalyticStage
from orbdens.processes import stream_map
from orbdens.progress import Display
from orbdens.pyscf.integrals import Functions, overlaps
from orbdens.store import Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.store.writer import packed_record
from orbdens.training.batches import EndlessBatches
from orbdens.training.run import train

DISPLACEMENT = 0.03
"""Å; standard deviation of each coordinate."""

AT_ONCE = 50
"""Records that a process makes together."""

N_BATCHES, BATCH_SIZE = 400, 16

LOOK = 0.1
"""Seconds between two looks at the memory of a process."""

SMALL_BASIS = ("model.basis.beta=3", "model.basis.l_max=2")
"""Options that make the fits short, which are not what is measured."""

SPLIT = ("--train", "0.98", "--validation", "0.01", "--test", "0.01")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="make the store")
    making.add_argument("folder", type=Path)
    making.add_argument("stores", nargs="+", help="stores of orbitals of one level, whose records are copied")
    making.add_argument("--n", type=int, default=200_000)
    making.add_argument("--shards", type=int, default=1, help="LMDB files")
    starting = verbs.add_parser("start", help="measure what comes before the first step, and random reading")
    starting.add_argument("folder", type=Path)
    starting.add_argument("--config", type=Path, default=shipped.config_path("organics.yaml"))
    starting.add_argument("--json", type=Path)
    run = verbs.add_parser("run", help="one start of a training, of which start takes the figures")
    run.add_argument("folder", type=Path)
    run.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.verb == "make":
        make(arguments.folder, [Store(name) for name in arguments.stores], arguments.n, arguments.shards)
    elif arguments.verb == "run":
        print(json.dumps(run_to_first_step(arguments.folder, arguments.config)))
    else:
        figures = {"records": len(Store(arguments.folder)), **start(arguments.folder, arguments.config)}
        print("\n".join(f"{name:28} {value:,.4g}" for name, value in figures.items()))
        if arguments.json:
            machine = describe_machine(1) | describe_versions("torch", "lmdb", "lightning")
            arguments.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")


def make(folder: Path, stores: list[Store], n: int, shards: int) -> None:
    """Write the store."""
    sources = [(store, key) for store in stores for key in store.keys() if store[key].structure.multiplicity == 1]  # noqa: SIM118
    first = stores[0].manifest
    level = {**first.level, "displaced": f"{DISPLACEMENT:g} Å, orbitals orthonormalised"}
    manifest = Manifest(level, first.density, first.valence_electrons, first.label_basis, shards=shards)
    numbers = [list(range(i, min(i + AT_ONCE, n))) for i in range(0, n, AT_ONCE)]
    with Display() as display, StoreWriter(folder, manifest) as writer:
        for packed in stream_map(_displaced, numbers, _begin, (sources, manifest)):
            for key, record in packed:
                writer.put_packed(key, record)
            display.count("records", len(writer), n)
        writer.finish({})


_sources: list[tuple[Store, str]]
_manifest: Manifest


def _begin(sources: list[tuple[Store, str]], manifest: Manifest) -> None:
    global _sources, _manifest
    _sources, _manifest = sources, manifest


def _displaced(numbers: list[int]) -> list[tuple[str, bytes]]:
    """Displaced copies by their numbers, which draw the displacements: keys and packed records."""
    made = []
    for number in numbers:
        store, key = _sources[number % len(_sources)]
        record, rng = store[key], np.random.default_rng(number)
        assert isinstance(record, OrbitalRecord)
        old = record.structure
        positions = old.positions + DISPLACEMENT * rng.standard_normal(old.positions.shape)
        structure = replace(old, positions=positions.astype(np.float32).astype(np.float64))
        orbitals = record.orbitals.astype(np.float64)
        overlap = overlaps(Functions.of(structure, _manifest.orbital_basis))
        values, vectors = np.linalg.eigh(orbitals.T @ overlap @ orbitals)
        orbitals = orbitals @ (vectors / np.sqrt(values)) @ vectors.T
        new = OrbitalRecord(structure, orbitals.astype(np.float32), record.occupations)
        made.append((f"{number:07d}", packed_record(key, new, _manifest)))
    return made


def start(folder: Path, config: Path) -> dict[str, float]:
    """All figures, each of a process of its own, the fits cached from one to the next."""
    figures: dict[str, float] = {"gigabytes": sum(f.stat().st_size for f in folder.rglob("data.mdb")) / 1e9}
    for name, words in (("split", ("split", *SPLIT, "--force")), ("inspect", ("inspect",))):
        command = ["-c", "from orbdens.cli import main; main()", "data", words[0], str(folder), *words[1:]]
        figures |= {f"{name}_{what}": value for what, value in _measured(command)[0].items()}
    for name in ("first_start", "second_start"):
        measured, output = _measured(["-m", "benchmarks.stores", "run", str(folder), "--config", str(config)])
        figures |= {f"{name}_{what}": value for what, value in (measured | json.loads(output)).items()}
    figures |= random_batches(Store(folder), "cold_") | random_batches(Store(folder), "")
    return figures


def _measured(command: list[str]) -> tuple[dict[str, float], str]:
    """Seconds, seconds of processors and memory of a Python process and those that it starts; and what it says.

    The memory is its own: mapped pages of the store, which the system may take back at any time, do not count.
    """
    before, begun = _core_seconds(), time.perf_counter()
    memory = 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output)
        while process.poll() is None:
            memory = max(memory, _own_memory(process.pid))
            time.sleep(LOOK)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
        output.seek(0)
        text = output.read()
    return {"s": time.perf_counter() - begun, "core_s": _core_seconds() - before, "peak_mb": memory / 2**10}, text


def _core_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _own_memory(pid: int) -> int:
    """Resident memory of a process that belongs to no file, kB; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return 0


class _FirstStepError(Exception):
    """The first step begins."""


def run_to_first_step(folder: Path, config: Path) -> dict[str, float]:
    """Begin a training and stop before the loss of its first batch: seconds with and without the fits."""
    fits = core_fits = 0.0

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            nonlocal fits, core_fits
            since, used = time.perf_counter(), time.process_time()
            try:
                return work(*arguments)
            finally:
                fits += time.perf_counter() - since
                core_fits += time.process_time() - used

        return measured

    options = [f"data.store={folder}", "data.validation_split=validation", "training.steps=10"]
    options += ["training.threads=1", "training.device=cpu", *SMALL_BASIS]
    begun = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as out,
        patch.object(task, "fit_records", timed(density_fitting.fit_records)),
        patch.object(task, "regularised_fits", timed(conditioning.regularised_fits)),
        patch.object(AnalyticStage, "loss", side_effect=_FirstStepError),
        suppress(_FirstStepError),
    ):
        train(load_config(find_config(config), options), Path(out) / "run")
    seconds = time.perf_counter() - begun
    return {
        "to_first_step_s": seconds,
        "of_it_fits_s": fits,
        "beside_fits_s": seconds - fits,
        "beside_fits_core_s": time.process_time() - core_fits,
    }


def random_batches(store: Store, name: str) -> dict[str, float]:
    """Records read a second, and a second of a processor, as a training draws them.

    Args:
        store: to read from.
        name: of the figures; ``cold_`` asks the system to forget the file first.
    """
    if name:
        for file in store.path.rglob("data.mdb"):
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    batches: Iterator[Any] = iter(EndlessBatches(store.keys("train"), BATCH_SIZE, len(name), 0, lambda step: 0))
    store[next(batches)[0].key]  # checks the file's pages once
    begun, used = time.perf_counter(), time.process_time()
    for _ in range(N_BATCHES):
        for draw in next(batches):
            store[draw.key]
    n = N_BATCHES * BATCH_SIZE
    return {
        f"{name}records_per_s": n / (time.perf_counter() - begun),
        f"{name}records_per_core_s": n / (time.process_time() - used),
    }


if __name__ == "__main__":
    main()
