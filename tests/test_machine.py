"""What is told of a machine, also where the system has no way to ask."""

from __future__ import annotations

import io
import os
import resource
import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from orbdens import doctor, machine


def test_a_machine_and_its_versions() -> None:
    told = machine.describe_machine()
    assert {"cpu", "cores", "threads", "system"} <= set(told)
    assert told["threads"] == torch.get_num_threads()
    assert machine.describe_machine(threads=7)["threads"] == 7
    assert machine.describe_versions("torch")["torch"].startswith(torch.__version__.split("+")[0])


def test_peak_memory_in_units_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3 * 2**20))
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine.peak_memory_mb() == 3 * 2**10
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.peak_memory_mb() == 3
    monkeypatch.setitem(sys.modules, "resource", None)  # Windows
    assert machine.peak_memory_mb() is None


def test_systems_that_do_not_count_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e6 < machine.memory_per_core() < 1e15
    for name in ("sched_getaffinity", "getloadavg", "sysconf"):
        monkeypatch.delattr(os, name, raising=False)
    assert machine.available_cores() == (os.cpu_count() or 1)
    assert machine.memory_per_core() == float("inf")
    assert "load" not in machine.describe_machine()
    text = io.StringIO()
    doctor.report([], Console(file=text, width=120))
    assert f"{os.cpu_count()}, {torch.get_num_threads()}" in text.getvalue()
