"""What compiled loops buy where messages begin and end: ``python -m benchmarks.edges``.

Processor time on one core of turning both ends of an edge into its frame and of the way back to the sum at sites, each
with its derivatives, by products of matrices (the definition) and by ``orbdens.kernels.to_frames`` and ``to_sites``,
for an orbital model of 48 channels, after a check that both agree. Beside it the rotations themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from orbdens.kernels import pack_rotations, to_frames, to_sites
from orbdens.kernels.pairs import edge_frames

L_MAX, M_MAX, CHANNELS = 4, 2, 48
N_EDGES, N_SITES = 2000, 100
SECONDS = 1.0


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vectors = torch.randn(N_EDGES, 3)
    ends = torch.stack([torch.randint(N_SITES, (N_EDGES,)), torch.arange(N_EDGES) * N_SITES // N_EDGES])
    frames = pack_rotations(vectors, L_MAX, M_MAX)
    x = torch.randn(N_SITES, (L_MAX + 1) ** 2, CHANNELS, requires_grad=True)
    factors = torch.randn(N_EDGES, L_MAX + 1, 2 * CHANNELS, requires_grad=True)
    gates = torch.randn(N_EDGES, L_MAX + 1, CHANNELS, requires_grad=True)
    widths = [len(rows) * CHANNELS for rows in edge_frames.frame_rows(L_MAX, M_MAX)]
    values = [torch.randn(N_EDGES, width, requires_grad=True) for width in widths]

    ways: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "rotations": (
            lambda: edge_frames._pack_rotations(vectors, L_MAX, M_MAX),
            lambda: pack_rotations(vectors, L_MAX, M_MAX),
        ),
        "to frames": (
            lambda: edge_frames._to_frames(x, ends, frames, factors, M_MAX),
            lambda: to_frames(x, ends, frames, factors, M_MAX),
        ),
        "to sites": (
            lambda: edge_frames._to_sites(torch.zeros(x.shape), values, ends[1:], frames, gates),
            lambda: to_sites(torch.zeros(x.shape), values, ends[1:], frames, gates),
        ),
    }
    for name, (definition, loops) in ways.items():
        with torch.no_grad():
            torch.testing.assert_close(loops(), definition(), rtol=1e-4, atol=1e-4)
            forward = [_microseconds(way) for way in (definition, loops)]
        print(f"{name:10} forward: matrices {forward[0]:5.2f}, loops {forward[1]:5.2f} µs an edge")
        if name != "rotations":
            both = [_microseconds(lambda way=way: _with_derivatives(way())) for way in (definition, loops)]
            print(f"{name:10} with derivatives: matrices {both[0]:5.2f}, loops {both[1]:5.2f} µs an edge")


def _with_derivatives(result: torch.Tensor | list[torch.Tensor]) -> None:
    parts = [result] if isinstance(result, torch.Tensor) else result
    torch.autograd.backward(parts, [torch.ones_like(part) for part in parts])


def _microseconds(work: Callable[[], Any]) -> float:
    """Of processor time, an edge."""
    work()
    n, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        work()
        n += 1
    return (time.process_time() - begun) / n / N_EDGES * 1e6


if __name__ == "__main__":
    main()
