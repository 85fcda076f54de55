"""Run by test_process.py: DataLoader workers evaluate densities after the parent did. Arguments: start methods."""

from __future__ import annotations

import sys

import torch
from torch.utils.data import DataLoader, Dataset

from orbdens.kernels import Orbitals, Shells, orbital_fields
from orbdens.kernels.cpu.threads import share


def evaluate() -> torch.Tensor:
    """Field and coefficient gradient of one s, p and d site at 5000 points."""
    shells = Shells.from_lists([[(l, [0.8], [1.0]) for l in range(3)]], torch.float32)
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) * 4 - 2
    coefficients = torch.ones(9, 1, requires_grad=True)
    orbitals = Orbitals.of_structure(torch.zeros(1, 3), torch.tensor([0]), shells, coefficients)
    fields = orbital_fields(orbitals, points, backend="cpu")
    return torch.cat([fields.detach(), *torch.autograd.grad(fields.sum(), coefficients)])


class Fields(Dataset):  # type: ignore[type-arg]
    """Evaluates in the worker."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        done: list[int] = []
        share(4, 2, done.append)  # DataLoader gives a worker one thread; the pool itself must survive as well
        assert sorted(done) == [0, 1, 2, 3]
        return evaluate()


def main() -> None:
    torch.set_num_threads(2)
    here = evaluate()
    torch.randn(600, 600) @ torch.randn(600, 600)  # starts torch's own OpenMP threads, which a fork does not take along
    for context in sys.argv[1:]:
        loader = DataLoader(Fields(), batch_size=None, num_workers=2, multiprocessing_context=context, timeout=60)
        assert all(torch.allclose(here, there, atol=1e-4) for there in loader)
    assert torch.equal(here, evaluate())


if __name__ == "__main__":
    main()
