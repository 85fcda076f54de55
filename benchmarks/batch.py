"""Predictions of many molecules into a store: ``python -m benchmarks.batch --json F``. Molecules a second, memory.

Molecules of about 20 atoms, those of ``benchmarks/data/exam/fresh.xyz`` displaced at random, by ``orbdens predict
--store`` in processes of its own. The command is killed (SIGKILL) when a tenth is done and given again; what it then
does of the rest is timed. Nothing is told unless the store is complete and holds what the model predicts alone.
Processor seconds are those of all processes; starting them, measured on one molecule, is told beside.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

import orbdens
from orbdens.comparison import comparison
from orbdens.density import OrbitalDensity
from orbdens.devices import FULL, MIXED, PRECISIONS
from orbdens.errors import UserError
from orbdens.formats.structures import iter_structures, read_structures, write_frame
from orbdens.labels import stored_density
from orbdens.machine import available_cores, describe_machine, describe_versions
from orbdens.metrics import nmae
from orbdens.store import CoefficientRecord, Store
from orbdens.structure import Structure

ATOMS = range(18, 23)
DISPLACEMENT = 0.02  # Å
RUN = "from orbdens.cli import main; main()"

ALLOWED = {FULL: 1e-5, MIXED: 5e-3}
"""Difference of a coefficient from the prediction of the molecule alone in full precision, relative to the largest."""

ALLOWED_NMAE = {FULL: 1e-3, MIXED: 0.03}
"""%; the same of densities."""


class Cost(NamedTuple):
    """Of a command and all its processes."""

    seconds: float
    processor_seconds: float
    peak_mb: float  # of the largest process


def molecules(n: int) -> Iterator[Structure]:
    """Neutral molecules, no two alike."""
    path = Path(__file__).parent / "data" / "exam" / "fresh.xyz"
    known = [one for one in read_structures(path) if one.n_atoms in ATOMS and (one.charge, one.multiplicity) == (0, 1)]
    rng = np.random.default_rng(0)
    for one in islice(cycle(known), n):
        yield Structure(one.numbers, one.positions + rng.normal(scale=DISPLACEMENT, size=one.positions.shape))


def command(file: Path, store: Path, precision: str) -> subprocess.Popen[bytes]:
    words = ["predict", str(file), "--store", str(store), "--precision", precision]
    return subprocess.Popen([sys.executable, "-c", RUN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(file: Path, store: Path, precision: str) -> Cost:
    """The whole command.

    Raises:
        SystemExit: it failed.
    """
    begun = time.perf_counter()
    _, status, used = os.wait4(command(file, store, precision).pid, 0)
    if status:
        raise SystemExit(f"orbdens predict ended with status {status}")
    return Cost(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def killed(file: Path, store: Path, precision: str, n: int) -> int:
    """Kill the command when it has stored ``n`` molecules; returns how many there are then."""
    process = command(file, store, precision)
    while process.poll() is None:
        time.sleep(1)
        if stored(store) >= n:
            process.send_signal(signal.SIGKILL)
            process.wait()
    time.sleep(1)  # the workers see to it that they end too
    return stored(store)


def stored(store: Path) -> int:
    with suppress(UserError), Store(store) as opened:  # there may be none yet
        return len(opened)
    return 0


def check(file: Path, store: Path, precision: str, n: int) -> tuple[float, float]:
    """Between 20 records and what the model predicts alone: the largest relative difference, and the mean NMAE in %.

    Raises:
        SystemExit: it is too large, or records are missing.
    """
    model, largest, errors = orbdens.load(), 0.0, []
    with Store(store) as opened:
        keys = opened.keys("predicted")
        if len(keys) != n:
            raise SystemExit(f"the store holds {len(keys)} of {n} molecules")
        for i, structure in enumerate(iter_structures(file)):
            if i % max(1, n // 20) == 0:
                record, alone = opened[keys[i]], model.predict(structure)
                assert isinstance(record, CoefficientRecord) and isinstance(alone, OrbitalDensity)
                difference = np.abs(record.coefficients - alone.coefficients.numpy()).max()
                largest = max(largest, float(difference / alone.coefficients.abs().max()))
                points = comparison(alone)
                predicted = points.values(stored_density(opened, keys[i]))
                errors.append(nmae(predicted, points.values(alone), points.volumes))
    error = fmean(errors)
    if not (largest <= ALLOWED[precision] and error <= ALLOWED_NMAE[precision]):
        raise SystemExit(f"coefficients differ by {largest:.1e} of the largest, densities by {error:.4f} %")
    return largest, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="molecules")
    parser.add_argument("--precision", choices=PRECISIONS, default=FULL)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    n, precision, cores = arguments.n, arguments.precision, available_cores()
    with tempfile.TemporaryDirectory() as folder:
        many, one, store = (Path(folder) / name for name in ("many.xyz", "one.xyz", "out.store"))
        with many.open("w") as file:
            for structure in molecules(n):
                write_frame(file, structure.to_ase())
        with one.open("w") as file:
            write_frame(file, next(molecules(1)).to_ase())
        start = run(one, Path(folder) / "one.store", precision)
        before = killed(many, store, precision, n // 10)
        if not 0 < before < n:
            raise SystemExit(f"the killed command left {before} of {n} molecules: give --n a larger number")
        whole = run(many, store, precision)
        difference, error = check(many, store, precision, n)
    rest = n - before
    figures = {
        "molecules": n,
        "stored before the kill": before,
        "precision": precision,
        "largest difference": difference,
        "NMAE of the difference, %": error,
        "molecules/s by the clock": rest / whole.seconds,
        "processor ms a molecule": 1000 * whole.processor_seconds / rest,
        "the same without starting": 1000 * (whole.processor_seconds - start.processor_seconds) / rest,
        f"molecules/s if {cores} cores were free": cores * rest / whole.processor_seconds,
        "peak memory of the largest process, MB": whole.peak_mb,
    }
    for name, value in figures.items():
        print(f"{name:42} {value if isinstance(value, str) else format(value, '.4g')}")
    if arguments.json:
        machine = describe_machine(cores) | describe_versions("torch", "numba")
        arguments.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
