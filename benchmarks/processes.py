"""How much faster two processes train than one: ``python -m benchmarks.processes --config CONFIG --store STORE``.

Short runs on one and on two processes of one thread take turns, and the best of each counts, as other work on the
machine only slows down. The same steps, so the losses must agree. Processor seconds of all processes, less those of
runs of a quarter of the steps, tell what a step costs whatever else the machine does: the ratio of the two is what two
free cores give if no process waits for the other.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from orbdens import shipped
from orbdens.checkpoint import MODEL_FILE, read_header
from orbdens.config import find_config, load_config
from orbdens.training.folder import METRICS_FILE
from orbdens.training.run import train


class Run(NamedTuple):
    structures: int
    minutes: float
    processor_seconds: float
    loss: float


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run(arguments: argparse.Namespace, devices: int, steps: int) -> Run:
    """Train a new model on so many processes."""
    overrides = [
        *([f"data.store={arguments.store}"] if arguments.store else []),
        "data.n_train=100",
        "data.n_validation=4",
        "training.minutes=null",
        f"training.steps={steps}",
        f"training.validate_every={steps}",
        "training.threads=1",
        "training.device=cpu",
        f"training.devices={devices}",
        *arguments.set,
    ]
    config = load_config(find_config(arguments.config), overrides)
    begun = processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        out = train(config, Path(folder) / "run")
        minutes = read_header(out / MODEL_FILE).training["minutes"]
        rows = list(csv.DictReader((out / METRICS_FILE).read_text().splitlines()))
    batch: int = getattr(config.training, "batch_size")  # noqa: B009 (a model without steps has none)
    return Run(steps * batch, minutes, processor_seconds() - begun, float(rows[-1]["loss"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=shipped.config_path("lithium-oxide.yaml"))
    parser.add_argument("--store", help="folder of a store [default: the config's]")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="options of the config")
    arguments = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], arguments.processes: []}
    costs: dict[int, list[float]] = {1: [], arguments.processes: []}
    losses = {}
    for _ in range(arguments.repeats):
        for devices in rates:
            few = run(arguments, devices, arguments.steps // 4)
            many = run(arguments, devices, arguments.steps)
            rates[devices].append(many.structures / many.minutes / 60)
            costs[devices].append((many.processor_seconds - few.processor_seconds) / (many.structures - few.structures))
            losses[devices] = many.loss
    for devices, found in rates.items():
        cost = 1000 * statistics.median(costs[devices])
        print(f"{devices} of one thread: {max(found):.1f} structures/s, {cost:.1f} ms, loss {losses[devices]:.8g}")
    ratio, load = max(rates[arguments.processes]) / max(rates[1]), os.getloadavg()[0]
    one, several = (statistics.median(found) for found in costs.values())
    by_processor = arguments.processes * one / several
    print(f"ratio {ratio:.2f} by the clock, {by_processor:.2f} by processor seconds, load {load:.1f}")


if __name__ == "__main__":
    main()
