"""What oneDNN buys in linear maps of many rows: ``python -m benchmarks.linear``.

10⁹ floating-point operations a second on one core, forward and with both derivatives, by torch's own way (MKL) and by
``orbdens.models.linear``, for the maps of an orbital model of 48 channels, after a check that both agree.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from orbdens.models.linear import Linear

MAPS = ((480, 432), (384, 192), (288, 144), (64, 480))
"""Inputs and outputs."""

ROWS = 2000
SECONDS = 1.0


def main() -> None:
    torch.set_num_threads(1)
    for inputs, outputs in MAPS:
        ours, theirs, x = Linear(inputs, outputs), nn.Linear(inputs, outputs), torch.randn(ROWS, inputs)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
        rates = [f"{_rate(linear, x, back):4.0f}" for back in (False, True) for linear in (theirs, ours)]
        print(
            f"{inputs} x {outputs}: forward torch {rates[0]}, ours {rates[1]}; with derivatives {rates[2]}, {rates[3]}"
        )


def _rate(linear: nn.Linear, x: torch.Tensor, back: bool) -> float:
    """GFLOP/s of processor time."""
    x = x.clone().requires_grad_(back)
    n, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        with torch.set_grad_enabled(back):
            y = linear(x)
            if back:
                y.sum().backward()  # type: ignore[no-untyped-call]
        n += 1
    spent = time.process_time() - begun
    return n * 2 * x.numel() * linear.out_features * (3 if back else 1) / spent / 1e9


if __name__ == "__main__":
    main()
