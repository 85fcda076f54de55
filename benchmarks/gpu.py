"""What a GPU is worth: ``python -m benchmarks.gpu --json F``. Ends with one sentence and status 2 where there is none.

Kernels (benzene of ``benchmarks.kernels``), a training step (a config and its store), and prediction (drugs, by the
weights that ship), each on the GPU, on the processor, and for the kernels as the sum written out in plain PyTorch on
the GPU. Nothing is told about speed unless the GPU gives what the processor gives: values to 1e-5 of their maximum,
gradients to 1e-4 for the kernels and 1e-3 for the network. ``--device cpu`` or ``interpreter`` goes through the same
steps without a GPU, to see that they run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import orbdens
from benchmarks.kernels import CUTOFF, Case, grid_points, random_points
from orbdens.checkpoint import build_model
from orbdens.config import find_config, load_config
from orbdens.devices import PROCESSOR, Device, find_device
from orbdens.errors import UserError
from orbdens.formats.structures import read_structures
from orbdens.grid import Grid
from orbdens.kernels import Orbitals, orbital_fields, orbital_fields_on_grid
from orbdens.machine import describe_machine, describe_versions
from orbdens.models.orbital.task import OrbitalTask
from orbdens.models.task import Stage, TrainingData
from orbdens.progress import silent
from orbdens.store import open_store
from orbdens.training.batches import splits_of

DRUGS = Path(__file__).parent / "data" / "exam" / "drugs.xyz"

GATE = {"kernels values": 1e-5, "kernels gradients": 1e-4, "step loss": 1e-4, "step gradients": 1e-3}
GATE |= {"prediction values": 1e-5, "prediction electrons": 1e-4}
"""Largest errors with which anything is told."""

MATERIALISED = 20_000
"""Points at which the sum that is written out is measured: it needs memory for every point and orbital."""


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    found, expected = found.detach().cpu().double(), expected.detach().double()
    return float((found - expected).abs().max() / expected.abs().max())


def seconds(run: Callable[[], Any], device: Device, repeats: int) -> float:
    """Median wall time of several runs after one that compiles; of all that a GPU was given to do."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        run()
        if device.place.type == "cuda":
            torch.cuda.synchronize(device.place)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


class Kernels:
    """Benzene with fitted coefficients, in single precision."""

    def __init__(self, n_points: int) -> None:
        self.case = Case()
        origin, shape = self.case.grid(0.1)
        points = grid_points(origin, shape, 0.1)
        chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:n_points]
        self.points = points[chosen].float()
        spacing = (np.prod(shape) * 0.1**3 / n_points) ** (1 / 3)
        self.origin, self.steps, self.shape = origin, spacing * torch.eye(3), self.case.grid(spacing)[1]
        self.training = random_points(min(n_points, 20_000))

    def orbitals(self, place: torch.device) -> Orbitals:
        return self.case.orbitals(torch.float32, CUTOFF).to(place)

    def gradients(self, device: Device, backend: str) -> torch.Tensor:
        """Of the mean density at training points by the coefficients: forward and backward."""
        orbitals = self.orbitals(device.place)
        leaf = orbitals.coefficients.clone().requires_grad_()
        points = self.training.to(device.place)
        orbital_fields(orbitals.changed(coefficients=leaf), points, backend=backend).abs().mean().backward()
        assert leaf.grad is not None
        return leaf.grad

    def errors(self, device: Device) -> dict[str, float]:
        truth = self.case.orbitals(torch.float64, CUTOFF)
        few = self.points[:5000]
        found = orbital_fields(self.orbitals(device.place), few.to(device.place), backend=device.kernels)
        return {
            "kernels values": difference(found, orbital_fields(truth, few.double(), backend="reference")),
            "kernels gradients": difference(self.gradients(device, device.kernels), self.gradients(PROCESSOR, "cpu")),
        }

    def figures(self, device: Device, repeats: int) -> dict[str, float]:
        """Points a second of the device, of the processor, and of the sum written out on the device."""
        result = {}
        for name, where, backend in (
            ("device", device, device.kernels),
            ("processor", PROCESSOR, "cpu"),
            ("materialised on the device", device, "reference"),
        ):
            n = MATERIALISED if backend == "reference" else len(self.points)
            orbitals, points = self.orbitals(where.place), self.points[:n].to(where.place)
            took = seconds(partial(orbital_fields, orbitals, points, backend=backend), where, repeats)
            result[f"kernels, points, {name} [points/s]"] = len(points) / took
            took = seconds(partial(self.gradients, where, backend), where, repeats)
            result[f"kernels, forward and backward, {name} [points/s]"] = len(self.training) / took
            if backend != "reference":
                on_grid = partial(orbital_fields_on_grid, orbitals, self.origin, self.steps, self.shape)
                took = seconds(partial(on_grid, backend=backend), where, repeats)
                result[f"kernels, grid to the host, {name} [points/s]"] = float(np.prod(self.shape)) / took
        return result


class Step:
    """The first steps of a config on its store, of every stage."""

    def __init__(self, config: str, store: str | None, folder: Path) -> None:
        overrides = [
            "data.n_train=64",
            "objective.points_stage=0.5",
            *([] if store is None else [f"data.store={store}"]),
        ]
        self.config = load_config(find_config(Path(config)), overrides)
        records = open_store(self.config.data.store)
        keys, _ = splits_of(records, self.config.data)
        data = TrainingData(records, keys, folder, silent)
        self.model = build_model(self.config, OrbitalTask.facts(self.config, data))
        self.task = OrbitalTask(self.model, self.config, data)
        self.keys = keys[: self.config.training.batch_size]

    def batch(self, stage: Stage, device: Device) -> Any:
        examples = [stage.example(key, np.random.default_rng(i)) for i, key in enumerate(self.keys)]
        return stage.collate(examples).to(device.place)

    def gradients(self, stage: Stage, batch: Any, device: Device) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and all its gradients in one tensor."""
        self.model.to(device.place).zero_grad()
        loss = stage.loss(batch)
        loss.backward()
        parts = [weight.grad.flatten() for weight in self.model.parameters() if weight.grad is not None]
        return loss, torch.cat(parts)

    def errors(self, device: Device) -> dict[str, float]:
        worst = {"step loss": 0.0, "step gradients": 0.0}
        for stage in self.task.stages:
            expected = self.gradients(stage, self.batch(stage, PROCESSOR), PROCESSOR)
            found = self.gradients(stage, self.batch(stage, device), device)
            for name, one, other in zip(worst, found, expected, strict=True):
                worst[name] = max(worst[name], difference(one, other))
        return worst

    def figures(self, device: Device, repeats: int) -> dict[str, float]:
        """Structures a second of network and kernels, forward and backward, without making the examples."""
        result = {}
        for number, stage in enumerate(self.task.stages):
            for name, where in (("device", device), ("processor", PROCESSOR)):
                batch = self.batch(stage, where)
                took = seconds(partial(self.gradients, stage, batch, where), where, repeats)
                result[f"training, stage {number + 1}, {name} [structures/s]"] = len(self.keys) / took
        return result


class Prediction:
    """Drugs by the weights that ship."""

    def __init__(self, n: int, n_points: int) -> None:
        self.structures = read_structures(DRUGS)[:n]
        spacing = 0.1
        while Grid.around(self.structures[0], spacing, 3.0).n_points > n_points:
            spacing *= 1.1
        self.grid = Grid.around(self.structures[0], spacing, 3.0)

    def errors(self, device: Device) -> dict[str, float]:
        expected = orbdens.load(device="cpu").predict(self.structures)
        found = orbdens.load(device=_word(device)).predict(self.structures)
        worst = {"prediction values": 0.0, "prediction electrons": 0.0}
        for one, other in zip(found, expected, strict=True):
            places = np.random.default_rng(0).permutation(Grid.around(other.structure, 0.5, 2.0).points())[:500]
            values = [torch.from_numpy(density.at(places)) for density in (one, other)]
            worst["prediction values"] = max(worst["prediction values"], difference(*values))
            missing = abs(one.n_electrons - other.n_electrons)
            worst["prediction electrons"] = max(worst["prediction electrons"], missing)
        return worst

    def figures(self, device: Device, repeats: int) -> dict[str, float]:
        """Structures a second to coefficients, and points a second of a grid in the memory of the host."""
        result = {}
        for name, where in (("device", device), ("processor", PROCESSOR)):
            model = orbdens.load(device=_word(where))
            took = seconds(partial(model.predict, self.structures), where, repeats)
            result[f"prediction, coefficients, {name} [structures/s]"] = len(self.structures) / took
            density = model.predict(self.structures[0])
            took = seconds(partial(density.on, self.grid), where, repeats)
            result[f"prediction, grid to the host, {name} [points/s]"] = self.grid.n_points / took
        return result


def _word(device: Device) -> str:
    """The word that names a device."""
    return "interpreter" if device.kernels == "gpu" and device.place.type == "cpu" else str(device.place)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="what is measured against the processor")
    parser.add_argument("--config", default="lithium-oxide.yaml", help="of the training step, an orbital model")
    parser.add_argument("--store", help="of the training step [default: that of the config]")
    parser.add_argument("--structures", type=int, default=16, help="drugs that are predicted")
    parser.add_argument("--points", type=int, default=1_000_000, help="points of grids")
    parser.add_argument("--repeats", type=int, default=5, help="runs, whose median counts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    try:
        device = find_device(options.device)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        parts = (
            Kernels(options.points),
            Step(options.config, options.store, Path(folder)),
            Prediction(options.structures, options.points),
        )
        errors: dict[str, float] = {}
        for part in parts:
            errors |= part.errors(device)
        for name, error in errors.items():
            print(f"{name:24s} error {error:.1e}  limit {GATE[name]:.0e}")
        if not all(error <= GATE[name] for name, error in errors.items()):
            print("the correctness gate failed: no speed is told", file=sys.stderr)
            return 1
        figures: dict[str, float] = {}
        for part in parts:
            figures |= part.figures(device, options.repeats)
    for name, value in figures.items():
        print(f"{name:72s} {value:12.4g}")
    if options.json:
        machine = describe_machine() | {"device": str(device.place)} | describe_versions("torch", "numba")
        everything = {"machine": machine, "options": vars(options) | {"json": str(options.json)}, "errors": errors}
        options.json.write_text(json.dumps(everything | figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
