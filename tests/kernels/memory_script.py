"""Run by test_process.py, in a process whose memory nothing else has touched. Argument: a backend."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from .cases import fields_of, ragged

BUDGET = 30_000_000
PROCESS = Path("/proc/self")


def memory(name: str) -> int:
    """Bytes that this process holds (VmRSS) or has held at most (VmHWM)."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main(backend: str) -> None:
    # So much that it goes far beyond the budget where that is ignored.
    n, cutoff = (60_000, None) if backend == "reference" else (10_000_000, 2.0)
    case = ragged(torch.float32)
    case["points"], case["point_ptr"] = torch.rand(n, 3).mul_(20), torch.tensor([0, n, n, n, n])
    fields_of({**case, "points": case["points"][:9], "point_ptr": case["point_ptr"].clamp(max=9)}, backend=backend)
    (PROCESS / "clear_refs").write_text("5")  # what compiling held at most is forgotten
    before = memory("VmRSS")
    fields_of(case, backend=backend, memory=BUDGET, cutoff=cutoff)
    grown, allowed = (
        memory("VmHWM") - before,
        1.2 * BUDGET + 4 * n + 10_000_000,
    )  # the result, and the allocator's slack
    assert grown <= allowed, f"{grown} bytes more, of {allowed:.0f} allowed"


if __name__ == "__main__":
    main(sys.argv[1])
