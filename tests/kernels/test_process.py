"""Life beside torch: threads, forked and spawned workers, the compiler's cache."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from orbdens.kernels import orbital_fields

from .cases import gradients, ragged
from .systems import random_coefficients, random_points


def many_points() -> dict[str, Any]:
    """Enough points that every thread has work."""
    case = ragged(torch.float32)
    case["points"], case["point_ptr"] = random_points(5000).float(), torch.tensor([0, 4000, 4500, 4500, 5000])
    return case


def run(script: str, *arguments: str) -> None:
    """Run a script of this folder in a fresh process that imports what this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, Path(__file__).with_name(script), *arguments]
    subprocess.run(command, env=environment, check=True, timeout=100)


def test_workers_evaluate_after_the_parent_did() -> None:
    run("loader_script.py", "fork", "spawn")


def test_two_python_threads_at_once() -> None:
    case = many_points()
    alone = orbital_fields(**case, backend="cpu")
    with ThreadPoolExecutor(4) as pool:
        for fields in pool.map(lambda _: orbital_fields(**case, backend="cpu"), range(12)):
            assert torch.equal(fields, alone)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_are_obeyed_and_do_not_change_values(n_threads: int) -> None:
    before = torch.get_num_threads()
    case, cotangent = many_points(), random_coefficients(5000, 1)
    torch.set_num_threads(2)
    two, two_gradients = orbital_fields(**case, backend="cpu"), gradients(case, cotangent, backend="cpu")
    torch.set_num_threads(n_threads)
    assert torch.equal(orbital_fields(**case, backend="cpu"), two)
    again = gradients(case, cotangent, backend="cpu")
    for name, grad in again.items():
        assert torch.allclose(grad, two_gradients[name], rtol=1e-3, atol=1e-3)
        assert torch.equal(grad, gradients(case, cotangent, backend="cpu")[name]), "same threads, same bits"
    torch.set_num_threads(before)


def test_a_second_process_compiles_nothing() -> None:
    orbital_fields(**ragged(torch.float32), backend="cpu")
    run("cache_script.py")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is an extra")
def test_triton_kernels_compile_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    run("compile_script.py")
