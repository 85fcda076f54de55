"""Run by test_process.py, in a process whose peak of memory nothing else has raised. Argument: a backend."""

from __future__ import annotations

import resource
import sys

import torch

from .cases import fields_of, ragged

BUDGET = 30_000_000


def peak() -> int:
    """Bytes that this process ever held at once (Linux counts in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(backend: str) -> None:
    n = 60_000 if backend == "reference" else 4_000_000
    case = ragged(torch.float32)
    case["points"], case["point_ptr"] = torch.rand(n, 3) * 20, torch.tensor([0, n, n, n, n])
    fields_of({**case, "points": case["points"][:9], "point_ptr": case["point_ptr"].clamp(max=9)}, backend=backend)
    before = peak()
    fields_of(case, backend=backend, memory=BUDGET, cutoff=2.0)
    grown, allowed = peak() - before, 1.2 * BUDGET + 4 * n + 10_000_000  # the result, and the allocator's slack
    assert grown <= allowed, f"{grown} bytes more, of {allowed:.0f} allowed"


if __name__ == "__main__":
    main(sys.argv[1])
