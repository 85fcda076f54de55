"""The grid entry point: the same numbers as points one by one, whatever the steps, the shape and the channels."""

from __future__ import annotations

import pytest
import torch

from orbdens.kernels import Orbitals, orbital_fields, orbital_fields_on_grid, solid_harmonics
from orbdens.kernels.harmonics import monomials

from .cases import ROWS, ragged, scaled_down
from .systems import contracted, even_tempered, random_coefficients, random_points

STRAIGHT = torch.diag(torch.tensor([0.31, 0.27, 0.4], dtype=torch.float64))
SKEW = STRAIGHT + torch.tensor([[0, 0.1, 0], [0, 0, 0], [0.1, 0, 0]], dtype=torch.float64)


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
@pytest.mark.parametrize("steps", [STRAIGHT, SKEW, -STRAIGHT])
@pytest.mark.parametrize(("shape", "k"), [((9, 8, 17), 1), ((1, 1, 1), 1), ((3, 0, 4), 1), ((4, 3, 9), 2)])
def test_equals_points(
    backend: str, dtype: torch.dtype, steps: torch.Tensor, shape: tuple[int, int, int], k: int
) -> None:
    if scaled_down(backend, 999) < 999 and (k == 1 or steps is STRAIGHT):
        pytest.skip("for the interpreted gpu backend one of them is enough")
    case = ragged(torch.float64, k)
    sites = slice(0, 3)
    coefficients = case["coefficients"][: case["shells"].n_coefficients(case["site_type"][sites])]
    origin = torch.tensor([-1.3, -1.1, -2.0], dtype=torch.float64)
    points = origin + torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in shape)) @ steps
    for cutoff in (None, 2.0):
        orbitals = Orbitals.of_structure(
            case["site_positions"][sites],
            case["site_type"][sites],
            case["shells"],
            coefficients,
            scalings=case["scalings"][sites],
            cutoff=cutoff,
        )
        truth = orbital_fields(orbitals, points, backend="reference")
        fields = orbital_fields_on_grid(orbitals.to(dtype=dtype), origin, steps, shape, backend=backend)
        assert fields.shape == (len(points), k)
        assert fields.dtype == dtype
        scale = float(truth.abs().max()) if truth.numel() else 1.0
        limit = (2e-5 if dtype == torch.float32 else 1e-7) * scale
        assert fields.numel() == 0 or float((fields.double() - truth).abs().max()) <= limit


def test_float32_accuracy_against_pyscf_in_the_benchmark_basis() -> None:
    benzene = even_tempered()
    coefficients = random_coefficients(benzene.n_coefficients, 1)
    origin = torch.tensor([-1.5, 0.2, -1.0], dtype=torch.float64)
    shape = (24, 20, 16)
    points = origin + 0.1 * torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in shape))
    truth = torch.from_numpy(benzene.truth(points)) @ coefficients.float().double()
    steps = 0.1 * torch.eye(3, dtype=torch.float64)
    fields = orbital_fields_on_grid(benzene.orbitals(coefficients, torch.float32), origin, steps, shape, backend="cpu")
    assert float((fields.double() - truth).abs().max()) <= 1e-5 * float(truth.abs().max())


def test_small_memory_gives_the_same_grid() -> None:
    benzene = contracted()
    orbitals = benzene.orbitals(random_coefficients(benzene.n_coefficients, 1))
    arguments = (orbitals, torch.zeros(3), SKEW, (5, 6, 7))
    whole = orbital_fields_on_grid(*arguments)
    assert torch.allclose(whole, orbital_fields_on_grid(*arguments, memory=20_000), atol=1e-9)


def test_monomials_are_the_harmonics() -> None:
    x, y, z = random_points(20).unbind(1)
    for l in range(9):
        powers = torch.stack([x**a * y**b * z ** (l - a - b) for a in range(l + 1) for b in range(l - a + 1)], 1)
        mine = powers @ torch.from_numpy(monomials(l)).T
        truth = solid_harmonics(l, torch.stack([x, y, z], 1))[:, l * l :]
        assert torch.allclose(mine, truth, rtol=1e-10, atol=1e-8)
