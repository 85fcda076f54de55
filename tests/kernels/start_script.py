"""Run by test_process.py: what takes long to import is imported by those who need it."""

from __future__ import annotations

import sys

import torch

from orbdens.kernels import Orbitals, Shells, edge_rotations, orbital_fields


def main() -> None:
    slow = {"numba", "e3nn", "scipy", "torch._dynamo"}
    edge_rotations(torch.ones(1, 3), 4)
    assert not slow & sys.modules.keys(), "the front door"
    shells = Shells.from_lists([[(0, [1.0], [1.0])]], torch.float32)
    orbital_fields(
        Orbitals.of_structure(torch.zeros(1, 3), torch.tensor([0]), shells, torch.ones(1, 1)), torch.zeros(1, 3)
    )
    assert not {"e3nn", "torch._dynamo"} & sys.modules.keys(), "values without gradients"


if __name__ == "__main__":
    main()
