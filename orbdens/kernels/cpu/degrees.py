"""The compiled loops of ``kernels/degrees.py``: arrays are [n_sites, rows * channels], taken a register at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from orbdens.kernels.cpu.threads import share_range
from orbdens.kernels.cpu.vector import compiled, fma, load, store


@compiled
def scale(x: Any, factors: Any, l_max: int, lanes: int, first: int, last: int, result: Any) -> None:
    """Into result [n_sites, (l_max + 1)² * channels] rows of x times the factor of their l."""
    channels = factors.shape[1] // (l_max + 1)
    for site in range(first, last):
        for l in range(l_max + 1):
            for c in range(0, channels, lanes):
                factor = load(factors, site, l * channels + c)
                for row in range(l * l, (l + 1) * (l + 1)):
                    store(result, site, row * channels + c, load(x, site, row * channels + c) * factor)


@compiled
def multiply(a: Any, b: Any, l_max: int, lanes: int, first: int, last: int, result: Any) -> None:
    """Into result [n_sites, (l_max + 1) * channels] products of a and b, summed over the rows of each l."""
    channels = result.shape[1] // (l_max + 1)
    for site in range(first, last):
        for l in range(l_max + 1):
            for c in range(0, channels, lanes):
                total = load(a, site, l * l * channels + c) * load(b, site, l * l * channels + c)
                for row in range(l * l + 1, (l + 1) * (l + 1)):
                    total = fma(load(a, site, row * channels + c), load(b, site, row * channels + c), total)
                store(result, site, l * channels + c, total)


def run(loop: Callable[..., None], first: Tensor, second: Tensor, lanes: int, result: Tensor) -> Tensor:
    """One of the loops over all sites, shared out over threads; arguments [n_sites, rows, channels]."""
    l_max = round(max(first.shape[1], result.shape[1]) ** 0.5) - 1
    arrays = [tensor.detach().contiguous().flatten(1).numpy() for tensor in (first, second)]
    out = result.flatten(1).numpy()

    share_range(len(first), lambda task, begin, end: loop(*arrays, l_max, lanes, begin, end, out))
    return result
