"""How much faster two processes train than one: ``python -m benchmarks.processes --config CONFIG --store STORE``.

Short runs on one and on two processes of one thread take turns, and the best of each counts, as other work on the
machine only slows down. The same steps, so the losses must agree.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path

from orbdens import shipped
from orbdens.checkpoint import MODEL_FILE, read_header
from orbdens.config import find_config, load_config
from orbdens.training.folder import METRICS_FILE
from orbdens.training.run import train


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
    losses = {}
    for _ in range(arguments.repeats):
        for devices in rates:
            overrides = [
                *([f"data.store={arguments.store}"] if arguments.store else []),
                "data.n_train=100",
                "data.n_validation=4",
                "training.minutes=null",
                f"training.steps={arguments.steps}",
                f"training.validate_every={arguments.steps}",
                "training.threads=1",
                "training.device=cpu",
                f"training.devices={devices}",
                *arguments.set,
            ]
            config = load_config(find_config(arguments.config), overrides)
            with tempfile.TemporaryDirectory() as folder:
                out = train(config, Path(folder) / "run")
                minutes = read_header(out / MODEL_FILE).training["minutes"]
                rows = list(csv.DictReader((out / METRICS_FILE).read_text().splitlines()))
            batch: int = getattr(config.training, "batch_size")  # noqa: B009 (a model without steps has none)
            rates[devices].append(arguments.steps * batch / minutes / 60)
            losses[devices] = float(rows[-1]["loss"])
    for devices, found in rates.items():
        print(f"{devices} of one thread: {max(found):.1f} structures/s, loss {losses[devices]:.8g}")
    print(f"ratio {max(rates[arguments.processes]) / max(rates[1]):.2f}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
