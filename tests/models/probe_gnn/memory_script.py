"""Run by test_points.py, in a process whose memory nothing else has touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from orbdens.models.probe_gnn.options import ProbeConfig
from orbdens.models.probe_gnn.points import NUMBERS, PointNetwork
from orbdens.structure import Structure

PROCESS = Path("/proc/self")
N_POINTS = 200_000
"""Without chunks their functions of all atoms would take 10 GB."""


def memory(name: str) -> int:
    """Bytes that this process holds (VmRSS) or has held at most (VmHWM)."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    rng = np.random.default_rng(0)
    chain = Structure(np.full(90, 6), np.arange(90)[:, None] * np.array([0.3, 0.0, 0.0]))
    network = PointNetwork(ProbeConfig(channels=4, fields=16, hidden=16))
    weights = torch.randn(90, network.n_functions, 16)
    points = rng.normal(size=(N_POINTS, 3)) + chain.positions[rng.integers(90, size=N_POINTS)]
    network.at(chain, points[:9], weights)
    (PROCESS / "clear_refs").write_text("5")
    before = memory("VmRSS")
    network.at(chain, points, weights)
    grown = memory("VmHWM") - before
    allowed = 2 * 4 * NUMBERS + 100 * N_POINTS  # and what is as long as the points themselves
    assert grown <= allowed, f"{grown} bytes more, of {allowed:.0f} allowed"


if __name__ == "__main__":
    main()
