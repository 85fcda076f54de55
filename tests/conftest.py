"""What several test files share: one tiny trained model, evaluations made up of Gaussians, and the command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import orbdens as orbdens_package
from orbdens.cli.main import run as run_command
from orbdens.evaluation.result import Cost, Errors, Evaluation, MeasuredOn, ModelFacts, Slice
from orbdens.metrics import REGIONS
from orbdens.structure import Structure

if not torch.cuda.is_available():  # Triton's interpreter runs the gpu backend; chosen before anything imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")

LI2O = "3\nLi-O-Li\nO 0 0 0\nLi 1.6 0.3 0\nLi -1.6 0.3 0\n"

PLACE = str(Path(orbdens_package.__file__).parent.parent)
"""Where the package under test lies, so that subprocesses find the same one."""

TINY = [
    "training.steps=2",
    "training.warmup_steps=0",
    "data.n_train=20",
    "data.n_validation=2",
    "model.channels=4",
    "model.layers=1",
    "model.l_max=2",
    "model.basis.l_max=2",
    "model.basis.beta=3",
]
"""Overrides of configs/lithium-oxide.yaml for a model that is made in seconds."""

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Mistake = Callable[[str, Path, str], None]


@pytest.fixture(scope="session")
def orbdens() -> CommandLine:
    """Run ``orbdens ...`` as a user would; ``cwd`` is where."""

    def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from orbdens.cli import main; main()", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "PYTHONPATH": PLACE}
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, env=environment)

    return run


@pytest.fixture
def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Run a command in a folder; it must end with status 2 and one sentence that fits a pattern, and change no file."""

    def run(command: str, folder: Path, pattern: str) -> None:
        monkeypatch.chdir(folder)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        status = run_command(command.split(), debug=False)
        output = capsys.readouterr()
        assert status == 2, output.err
        assert len(output.err.strip().splitlines()) == 1, output.err
        assert output.err.startswith("orbdens: ")
        assert re.search(pattern, output.err), output.err
        assert output.out == ""
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, orbdens: CommandLine) -> Path:
    """Run folder of a tiny orbital model of Li-O-Li, made by ``orbdens train``."""
    folder = tmp_path_factory.mktemp("trained")
    done = orbdens("train", "lithium-oxide.yaml", *TINY, "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def water() -> tuple[Structure, Any]:
    """Water and its converged RKS/PBE calculation in gth-dzvp."""
    from water import WATER, calculate_water

    return WATER, calculate_water()


@pytest.fixture
def molecule(tmp_path: Path) -> Path:
    """An xyz file of one Li-O-Li molecule."""
    path = tmp_path / "molecule.xyz"
    path.write_text(LI2O)
    return path


@pytest.fixture
def make_evaluation() -> Callable[..., Evaluation]:
    """Evaluations with errors around a given size in %, on 125 structures."""
    return _evaluation


ATOMS = (("O", 0.0, 0.35, 0.0), ("Li", -1.6, -0.45, 0.0), ("Li", 1.6, -0.45, 0.0))


def _density(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros_like(x)
    for (_, at_x, at_y, _), size in zip(ATOMS, (2.0, 0.15, 0.15), strict=True):
        total = total + size * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 0.49)
    return total


def _evaluation(name: str, size: float, **measured_on: str | float) -> Evaluation:
    rng = np.random.default_rng(len(name))
    errors = size * np.exp(0.35 * rng.standard_normal(125))
    step, corner = 0.08, (-3.6, -2.45)
    x, y = np.meshgrid(corner[0] + step * np.arange(91), corner[1] + step * np.arange(61), indexing="ij")
    reference = _density(x, y)
    predicted = reference * (1 + 0.01 * size * np.sin(7 * x) * np.cos(6 * y)) + 2e-4 * size * np.cos(9 * x + 5 * y)
    shares = dict(zip(REGIONS, (0.2, 0.6, 0.2), strict=True))
    on = {"store": "lithium_oxide", "split": "test", "fingerprint": "0123456789abcdef", "spacing": 0.2, "margin": 4.0}
    return Evaluation(
        model=ModelFacts(name=name, kind="orbital", n_parameters=123456, training_minutes=1.75),
        measured_on=MeasuredOn.model_validate(on | measured_on),
        errors=Errors(
            keys=[f"Li2O-{i:03d}" for i in range(125)],
            nmae=errors.tolist(),
            electrons=(1e-3 * size * rng.standard_normal(125)).tolist(),
            dipole=(0.05 * errors).tolist(),
            regions={region: (share * errors).tolist() for region, share in shares.items()},
            negative=(0.01 * errors).tolist(),
        ),
        slice=Slice(
            key="Li2O-000",
            formula="Li2O",
            step=step,
            corner=corner,
            atoms=list(ATOMS),
            reference=reference.round(5).tolist(),
            predicted=predicted.round(5).tolist(),
        ),
        cost=Cost(structures_per_s=20.0, peak_memory_mb=800.0, peak_gpu_memory_mb=None),
        machine={"cpu": "a processor", "cores": 2, "threads": 2},
        versions={"orbdens": "0", "torch": "0"},
    )
