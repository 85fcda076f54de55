"""``benchmarks.gpu``: a sentence where there is no GPU, and no speed of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["the device is to be cuda, but torch finds no CUDA GPU here"]


def test_speed_is_told_of_what_is_right_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    error = {"kernels values": 1e-6}
    parts = SimpleNamespace(errors=lambda device: error, figures=lambda device, repeats: {"of it [1/s]": 7.0})
    for name in ("Kernels", "Step", "Prediction"):
        monkeypatch.setattr(gpu, name, lambda *arguments: parts)
    assert gpu.main(["--device", "cpu", "--json", str(tmp_path / "figures.json")]) == 0
    written = json.loads((tmp_path / "figures.json").read_text())
    assert (written["of it [1/s]"], written["errors"], written["machine"]["device"]) == (7.0, error, "cpu")
    assert "of it" in capsys.readouterr().out
    error["kernels values"] = float("nan")
    assert gpu.main(["--device", "cpu", "--json", str(tmp_path / "wrong.json")]) == 1
    assert "of it" not in capsys.readouterr().out
    assert not (tmp_path / "wrong.json").exists()


def test_the_processor_agrees_with_itself(tmp_path: Path) -> None:
    step = gpu.Step("lithium-oxide.yaml", None, tmp_path)
    errors = step.errors(gpu.PROCESSOR)
    assert set(errors) <= set(gpu.GATE) and max(errors.values()) == 0
    assert all(rate > 0 for rate in step.figures(gpu.PROCESSOR, 1).values())
