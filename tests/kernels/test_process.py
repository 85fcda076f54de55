"""Life beside torch: threads, forked and spawned workers, the compiler's cache."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import orbdens
from orbdens.kernels.cpu import loops

from .cases import fields_of, gradients, ragged
from .systems import random_coefficients, random_points

TESTS = Path(__file__).parent.parent


def many_points() -> dict[str, Any]:
    """Enough points that every thread has work."""
    case = ragged(torch.float32)
    case["points"], case["point_ptr"] = random_points(5000).float(), torch.tensor([0, 4000, 4500, 4500, 5000])
    return case


def run(script: str, *arguments: str, **variables: str) -> None:
    """Run a script of this folder in a fresh process, which imports what this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-m", f"kernels.{script}", *arguments]
    done = subprocess.run(command, cwd=TESTS, env=environment, timeout=100, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cold_start_imports_what_it_needs() -> None:
    """Prediction starts with it: seconds count."""
    run("start_script")


def test_workers_evaluate_after_the_parent_did() -> None:
    run("loader_script", "fork", "spawn")


def test_two_python_threads_at_once() -> None:
    case = many_points()
    alone = fields_of(case, backend="cpu")
    with ThreadPoolExecutor(4) as pool:
        for fields in pool.map(lambda _: fields_of(case, backend="cpu"), range(12)):
            assert torch.equal(fields, alone)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """torch's number of threads is put back afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_are_obeyed_and_do_not_change_values(
    n_threads: int, monkeypatch: pytest.MonkeyPatch, restored_threads: None
) -> None:
    case, cotangent = many_points(), random_coefficients(5000, 1)
    torch.set_num_threads(2)
    two, two_gradients = fields_of(case, backend="cpu"), gradients(case, cotangent, backend="cpu")
    torch.set_num_threads(n_threads)
    forward, met, working = loops.forward, threading.Condition(), set()

    def watched(*arguments: Any) -> None:
        """Lets no thread go on before as many as there should be have met."""
        with met:
            working.add(threading.get_ident())
            met.notify_all()
            met.wait_for(lambda: len(working) >= n_threads, timeout=20)
        forward(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loops, "forward", watched)
        assert torch.equal(fields_of(case, backend="cpu"), two)
    assert len(working) == n_threads
    again = gradients(case, cotangent, backend="cpu")
    for name, grad in again.items():
        # Sums over points in another order, in single precision.
        assert torch.allclose(grad, two_gradients[name], rtol=1e-5, atol=1e-5 * float(grad.abs().max())), name
        assert torch.equal(grad, gradients(case, cotangent, backend="cpu")[name]), "same threads, same bits"


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_memory_budget_is_kept(backend: str) -> None:
    run("memory_script", backend)


def test_a_second_process_compiles_nothing() -> None:
    fields_of(ragged(torch.float32), backend="cpu")
    run("cache_script")


def test_a_read_only_installation_compiles_into_a_folder_for_temporary_files(tmp_path: Path) -> None:
    """Files where Numba wants folders stand for folders that cannot be written to: so it is for root as well."""
    package = tmp_path / "site" / "orbdens"
    source = Path(orbdens.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    for folder in {file.parent for file in (package / "kernels").rglob("*.py")}:
        (folder / "__pycache__").touch()
    (tmp_path / "temporary").mkdir()
    variables = {
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null",
        "NUMBA_CACHE_DIR": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    variables["PYTHONPATH"] = os.pathsep.join([str(package.parent), *sys.path])
    for hits in (0, 1):  # a second process compiles nothing
        run("read_only_script", str(hits), str(package), TMPDIR=str(tmp_path / "temporary"), **variables)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is an extra")
def test_triton_kernels_compile_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    run("compile_script")
