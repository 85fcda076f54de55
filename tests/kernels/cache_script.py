"""Run by test_process.py after the parent compiled: the compiled loops must come from the cache."""

from __future__ import annotations

import torch

from orbdens.kernels import Shells, orbital_fields, prepare, screening
from orbdens.kernels.cpu import loops


def main() -> None:
    shells = Shells.from_lists([[(0, [1.0], [1.0])]], torch.float32)
    ptr = torch.tensor([0, 1])
    orbital_fields(torch.zeros(1, 3), ptr, torch.zeros(1, 3), ptr[:1], ptr, shells, torch.ones(1, 1), backend="cpu")
    for function in (loops.forward, screening.site_radii, screening.shell_strength, prepare._morton_order):
        assert sum(function.stats.cache_hits.values()) == 1, function
        assert not function.stats.cache_misses, function


if __name__ == "__main__":
    main()
