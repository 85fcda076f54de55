"""What training costs and what each idea in it is worth: ``python -m benchmarks.training TABLE --store STORE``.

Tables: ``throughput`` (structures per second, and where the time of a step goes), ``ablations`` (one idea left out at a
time), ``general`` (likewise, of the general weights), ``networks`` (size, depth and kind of the network), ``curve``
(number of training structures). All but the first train one model a line for ``--minutes`` and score it. Whoever
decides by a table must not look at the test split: lines are scored on the validation split of the config or on
structures held out of the training split, those of ``curve``, by which nothing is decided, on ``test``.
A line that stands in ``--json`` already is not run again, so that a table may be made in parts.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from orbdens import shipped
from orbdens.checkpoint import MODEL_FILE, build_model, load_model, read_header
from orbdens.comparison import comparison
from orbdens.config import Config, find_config, load_config
from orbdens.labels import stored_density
from orbdens.machine import describe_machine, describe_versions
from orbdens.metrics import Summary, dipole_error, nmae
from orbdens.models.orbital.head import Head
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.task import TrainingData
from orbdens.processes import keep_freed_memory
from orbdens.progress import silent
from orbdens.sampling import evenly_spaced
from orbdens.store import open_store
from orbdens.training.batches import splits_of
from orbdens.training.run import train

HELD_OUT = "held-out"
"""Instead of a split's name: structures of the training split that the line was not trained on."""


def unconditioned(head: Head) -> None:
    """Make the head output coefficients of the L2-normalised primitives, all of them of one scale."""
    for kind, radials in enumerate(head.basis.radials):
        for radial in radials:
            factor = head.get_buffer(f"factor_{kind}_{radial.l}")
            inverse = torch.tensor(np.linalg.pinv(radial.to_primitive)[:, : factor.shape[1]], dtype=torch.float32)
            # The same size of the density at first: only its conditioning is gone.
            factor.copy_(inverse * factor.norm() / inverse.norm())


def without_mean(head: Head) -> None:
    """Let step 0 be no density at all rather than that of averaged atoms; spreads are then those about zero."""
    for kind in range(len(head.basis.radials)):
        mean, factor = head.get_buffer(f"mean_{kind}"), head.get_buffer(f"factor_{kind}_0")
        about_zero = factor.double() @ factor.double().T + torch.outer(mean, mean).double()
        spread, directions = torch.linalg.eigh(about_zero)
        factor.copy_((directions * spread.clamp(min=0).sqrt()).flip(1))
        mean.zero_()


@contextmanager
def _after_statistics(change: Callable[[Head], None]) -> Iterator[None]:
    """Change heads after their statistics were set: what no user would want is no option of the package."""
    whole = Head.fit_statistics

    def changed(head: Head, fits: Any) -> None:
        whole(head, fits)
        change(head)

    with patch.object(Head, "fit_statistics", changed):
        yield


@dataclass(frozen=True)
class Line:
    """A line of a table: overrides of the config, and what else is changed."""

    overrides: tuple[str, ...] = ()
    change: Callable[[Head], None] | None = None


TABLES: dict[str, dict[str, Line]] = {
    "ablations": {
        "as in the config": Line(),
        "another seed": Line(("training.seed=1",)),
        "without conditioned head": Line(change=unconditioned),
        "without free-atom start": Line(change=without_mean),
        "half of it on points": Line(("objective.points_stage=0.5",)),
        "points objective only": Line(("objective.points_stage=1",)),
        "analytic objective only": Line(("objective.points_stage=0",)),
        "without bond sites": Line(("model.sites=atoms",)),
        "bond sites all of one type": Line(("model.sites=bonds",)),
        "electrons made exact over the whole structure": Line(("model.electrons=global",)),
        "fixed exponents": Line(("model.learn_exponents=false",)),
        "scaled and displaced orbitals": Line(("model.scaling_limit=1.5", "model.displacement_limit=0.3")),
    },
    "general": {
        "as in the config": Line(),
        "another seed": Line(("training.seed=1",)),
        "electrons made exact over the whole structure": Line(("model.electrons=global",)),
        "a bond site for each pair of elements": Line(("model.sites=bond-pairs",)),
        "without bond sites": Line(("model.sites=atoms",)),
        "cut-off 4 Å": Line(("model.cutoff=4",)),
        "cut-off 7 Å": Line(("model.cutoff=7",)),
        "without free-atom start": Line(change=without_mean),
    },
    "networks": {
        "as in the config": Line(),
        "e3nn tensor products": Line(("model.convolution=tensor-product",)),
        "2 layers": Line(("model.layers=2",)),
        "4 layers": Line(("model.layers=4",)),
        "m_max 1": Line(("model.m_max=1",)),
        "m_max 4": Line(("model.m_max=4",)),
        "l_max 6": Line(("model.l_max=6",)),
        "16 channels": Line(("model.channels=16",)),
        "64 channels": Line(("model.channels=64",)),
    },
    "curve": {f"{n} structures": Line((f"data.n_train={n}",)) for n in (100, 300, 1000)},
}


def run_line(line: Line, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train one model and score it.

    ``minutes`` are those of the steps; ``preparation_minutes`` went into label fits, which later lines on the same
    store and basis find in its cache.
    """
    config = load_config(
        find_config(arguments.config),
        [
            f"data.store={arguments.store}",
            f"training.minutes={arguments.minutes}",
            f"training.threads={arguments.threads}",
            *([f"data.n_validation={arguments.n}"] if arguments.split == HELD_OUT else []),
            *line.overrides,
            *arguments.set,
        ],
    )
    with nullcontext() if line.change is None else _after_statistics(line.change):
        train(config, folder, force=True)
    notes = read_header(folder / MODEL_FILE).training
    return {
        **{name: notes[name] for name in ("structures", "steps", "minutes", "preparation_minutes")},
        **score(folder, config, arguments.split, arguments.n),
        "split": arguments.split,
    }


def score(folder: Path, config: Config, split: str, n: int) -> dict[str, float]:
    """Errors of a trained model on ``n`` structures of a split: NMAE in % (0.2 Å, 4 Å margin), dipole in Debye."""
    store, model = open_store(config.data.store), load_model(folder)
    keys = splits_of(store, config.data)[1] if split == HELD_OUT else store.keys(split)
    nmaes, dipoles = [], []
    for key in evenly_spaced(keys, n):
        reference = stored_density(store, key)
        points = comparison(reference)
        predicted = model.predict(reference.structure)
        nmaes.append(nmae(points.values(predicted), points.values(reference), points.volumes))
        dipoles.append(dipole_error(predicted.dipole, reference.dipole))
    summary = Summary.of(nmaes)
    return {
        "scored": len(nmaes),
        "nmae_mean": summary.mean,
        "nmae_p95": summary.p95,
        "dipole_mean": Summary.of(dipoles).mean,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """Structures per second of a training step and of ``predict``, and the shares of a step."""
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as a training does
    stages = {"analytic": "objective.points_stage=0", "points": "objective.points_stage=1"}
    cases = {
        f"l_max {l_max}, {stage} stage": [f"model.l_max={l_max}", option]
        for l_max in (4, 6)
        for stage, option in stages.items()
    }
    tensor_products = ["model.l_max=4", "model.convolution=tensor-product", stages["analytic"]]
    cases["l_max 4, analytic stage, e3nn tensor products"] = tensor_products
    cases |= {
        f"l_max 4, {stage} stage, bf16": ["model.l_max=4", option, "training.precision=bf16-mixed"]
        for stage, option in stages.items()
    }
    chosen = arguments.only or cases
    return {name: _step(arguments, overrides) for name, overrides in cases.items() if name in chosen}


def _step(arguments: argparse.Namespace, overrides: list[str]) -> dict[str, float]:
    small = [f"data.store={arguments.store}", f"data.n_train={3 * 16 + 20}"]
    config = load_config(find_config(arguments.config), [*small, *overrides, *arguments.set])
    store = open_store(config.data.store)
    keys, _ = splits_of(store, config.data)
    data = TrainingData(store, keys, arguments.runs / "cache", silent)
    model = build_model(config, OrbitalTask.facts(config, data))
    task = OrbitalTask(model, config, data)
    stage = task.stages[0]
    optimiser = torch.optim.Adam(model.parameters())
    batch_keys = keys[: config.training.batch_size]
    # Other work on the machine does not count in CPU seconds, which are those of one thread alone.
    now = time.process_time if arguments.threads == 1 else time.perf_counter
    clock: dict[str, list[float]] = {part: [] for part in ("data", "network and kernels", "optimiser")}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        begun = now()
        result = work()
        clock[part].append(now() - begun)
        return result

    def examples() -> Any:
        return stage.collate([stage.example(key, np.random.default_rng(0)) for key in batch_keys])

    def gradients(batch: Any) -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.training.precision == "bf16-mixed"):
            loss = stage.loss(batch)
        loss.backward()

    for _ in range(arguments.repeats + 2):
        batch = timed("data", examples)
        timed("network and kernels", partial(gradients, batch))
        timed("optimiser", optimiser.step)
    seconds = {part: statistics.median(times[2:]) for part, times in clock.items()}
    linear = {torch.ops.mkldnn._linear_pointwise: _flops_of_linear}  # torch does not count those of oneDNN
    with FlopCounterMode(display=False, custom_mapping=linear) as products:
        gradients(examples())
    gigaflops = products.get_total_flops() / 1e9
    structures = [store[key].structure for key in batch_keys]
    begun = now()
    model.predict(structures)
    predicted = now() - begun
    whole = sum(seconds.values())
    return {
        "trained_per_s": len(batch_keys) / whole,
        "predicted_per_s": len(batch_keys) / predicted,
        **{f"share of {part}": value / whole for part, value in seconds.items()},
        "GFLOP of matrix products": gigaflops,
        "share of the step they take at peak": gigaflops / _peak(now) / whole,
    }


def _flops_of_linear(x: Sequence[int], weight: Sequence[int], *others: Any, **options: Any) -> int:
    """Of rows [..., inputs] times the transpose of a weight [outputs, inputs], by their shapes."""
    return 2 * math.prod(x) * weight[0]


def _peak(now: Callable[[], float]) -> float:
    """GFLOP/s of a large product of matrices, single precision: what the network's products can reach at best."""
    n, matrix = 1024, torch.randn(1024, 1024)
    seconds = []
    for _ in range(10):
        begun = now()
        matrix @ matrix
        seconds.append(now() - begun)
    return 2 * n**3 / min(seconds) / 1e9


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["throughput", *TABLES])
    parser.add_argument("--store", required=True, help="folder of an orbital store, or the word lithium-oxide")
    parser.add_argument("--config", type=Path, default=shipped.config_path("ethanol.yaml"), help="of every line")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further options of every line")
    parser.add_argument("--only", nargs="+", metavar="LINE", help="lines to run, by name")
    parser.add_argument("--minutes", type=float, default=10.0, help="training time of a line")
    parser.add_argument("--split", help=f"split to score on; {HELD_OUT}: some of the training split, not trained on")
    parser.add_argument("--n", type=int, default=100, help="structures to score on, evenly spaced")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7, help="steps that throughput times")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"), help="folder for the trained models")
    parser.add_argument("--json", type=Path, help="results; lines that stand there are kept")
    arguments = parser.parse_args(given)
    if arguments.split is None:
        arguments.split = "test" if arguments.table == "curve" else HELD_OUT
    results = _read(arguments.json)
    if arguments.table == "throughput":
        results |= throughput(arguments)
    else:
        for name, line in TABLES[arguments.table].items():
            if name in results or (arguments.only and name not in arguments.only):
                continue
            figures = run_line(line, arguments, arguments.runs / arguments.table / name.replace(" ", "-"))
            results = _read(arguments.json) | results | {name: figures}
            _write(arguments.json, results, arguments.threads)
    _write(arguments.json, results, arguments.threads)
    for name, figures in results.items():
        shown = (
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
        )
        print(f"{name:32}", "  ".join(shown))


def _read(path: Path | None) -> dict[str, Any]:
    """Lines that are there already, which another process may have added meanwhile."""
    tree: dict[str, Any] = json.loads(path.read_text())["lines"] if path and path.exists() else {}
    return tree


def _write(path: Path | None, lines: dict[str, Any], threads: int) -> None:
    if path:
        machine = describe_machine(threads) | describe_versions("torch", "numba", "pyscf")
        path.write_text(json.dumps({"machine": machine, "lines": lines}, indent=2) + "\n")


if __name__ == "__main__":
    main()
