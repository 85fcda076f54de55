"""Run by test_process.py after the parent compiled: the compiled loops must come from the cache."""

from __future__ import annotations

import torch

from orbdens.kernels import Orbitals, Shells, blocks, orbital_fields, screening
from orbdens.kernels.cpu import loops


def main() -> None:
    shells = Shells.from_lists([[(0, [1.0], [1.0])]], torch.float32)
    orbitals = Orbitals.of_structure(torch.zeros(1, 3), torch.tensor([0]), shells, torch.ones(1, 1))
    orbital_fields(orbitals, torch.zeros(1, 3), backend="cpu")
    for function in (loops.forward, screening.site_radii, screening.shell_strength, blocks.morton_order):
        assert sum(function.stats.cache_hits.values()) == 1, function
        assert not function.stats.cache_misses, function


if __name__ == "__main__":
    main()
