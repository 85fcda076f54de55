"""Gradients of every backend against float64 autograd of the definition, and the operator's life with torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from orbdens.kernels import Orbitals, orbital_field_derivatives, orbital_field_hessians, orbital_fields
from orbdens.kernels.operator import arguments_of, fields_op
from orbdens.kernels.reference import structure_fields

from .cases import BACKENDS, NAMES, ROWS, convert, fields_of, gradients, orbitals_of, ragged, scaled_down
from .systems import contracted, random_coefficients, random_points

ACCURACY = {torch.float32: 1e-4, torch.float64: 1e-8}


def by_definition(case: dict[str, Any], cotangent: torch.Tensor, cutoff: float | None) -> dict[str, torch.Tensor]:
    """Gradients by autograd straight through the definition, without the operator, in float64."""
    leaves = {
        name: (getattr(case["shells"], name) if name in ("exponents", "weights") else case[name])
        .double()
        .clone()
        .requires_grad_()
        for name in NAMES
    }
    shells = case["shells"].with_radial(leaves["exponents"], leaves["weights"])
    ptr = shells.coefficient_ptr(case["site_type"])
    total = torch.zeros((), dtype=torch.float64)
    for s in range(len(case["point_ptr"]) - 1):
        points = slice(case["point_ptr"][s], case["point_ptr"][s + 1])
        sites = slice(case["site_ptr"][s], case["site_ptr"][s + 1])
        rows = slice(ptr[case["site_ptr"][s]], ptr[case["site_ptr"][s + 1]])
        orbitals = Orbitals.of_structure(
            leaves["site_positions"][sites],
            case["site_type"][sites],
            shells,
            leaves["coefficients"][rows],
            scalings=leaves["scalings"][sites],
            cutoff=cutoff,
        )
        fields = structure_fields(orbitals, leaves["points"][points], torch.zeros(1, 3, dtype=torch.float64))
        total = total + (fields * cotangent[points]).sum()
    total.backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
@pytest.mark.parametrize(("k", "cutoff"), [(1, None), (1, 2.5), (3, None)])
def test_all_gradients_equal_float64_autograd(backend: str, dtype: torch.dtype, k: int, cutoff: float | None) -> None:
    case = ragged(dtype, k, scaled_down(backend, 130))
    cotangent = random_coefficients(len(case["points"]), k, seed=5)
    truth = by_definition(convert(case, torch.float64), cotangent, cutoff)
    mine = gradients(case, cotangent, backend=backend, cutoff=cutoff, tolerance=1e-10)
    assert set(mine) == set(NAMES)
    for name in NAMES:
        error = (mine[name].double() - truth[name]).abs().max()
        assert error <= ACCURACY[dtype] * truth[name].abs().max(), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_wanted_gradients_are_made(backend: str) -> None:
    case = ragged(n=scaled_down(backend, 130))
    case["coefficients"].requires_grad_()
    fields_of(case, backend=backend).sum().backward()
    assert case["points"].grad is None
    assert case["coefficients"].grad.abs().max() > 0


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
def test_gradient_and_laplacian_at_points_equal_pyscf(backend: str, dtype: torch.dtype) -> None:
    benzene = contracted()
    n = scaled_down(backend, 90)
    points, coefficients = random_points(n).to(dtype), random_coefficients(benzene.n_coefficients, 2)
    orbitals = benzene.truth(points, derivatives=2)
    truth = orbitals @ coefficients.to(dtype).double().numpy()
    fields, first, laplacian = orbital_field_derivatives(benzene.orbitals(coefficients, dtype), points, backend=backend)
    accuracy = 1e-4 if dtype == torch.float32 else 1e-8
    for mine, exact in (
        (fields, truth[0]),
        (first, truth[1:4].transpose(1, 0, 2)),
        (laplacian, truth[4] + truth[7] + truth[9]),
    ):
        assert np.abs(mine.double().numpy() - exact).max() <= accuracy * np.abs(exact).max()


@pytest.mark.parametrize(("backend", "dtype"), [row for row in ROWS if row[0] != "gpu"])
def test_hessian_at_points_equals_pyscf(backend: str, dtype: torch.dtype) -> None:
    benzene = contracted()
    points, coefficients = random_points(90).to(dtype), random_coefficients(benzene.n_coefficients, 2)
    truth = benzene.truth(points, derivatives=2) @ coefficients.to(dtype).double().numpy()
    found = orbital_field_hessians(benzene.orbitals(coefficients, dtype), points, backend=backend)
    square = truth[[4, 5, 6, 5, 7, 8, 6, 8, 9]].transpose(1, 0, 2).reshape(90, 3, 3, 2)
    accuracy = 1e-4 if dtype == torch.float32 else 1e-8
    for mine, exact in zip(found, (truth[0], truth[1:4].transpose(1, 0, 2), square), strict=True):
        assert np.abs(mine.double().numpy() - exact).max() <= accuracy * np.abs(exact).max()


@pytest.mark.parametrize("cutoff", [None, 2.5])
def test_hessian_of_high_l_scaled_contracted_shells_is_that_of_the_definition(cutoff: float | None) -> None:
    orbitals = orbitals_of(ragged(k=2), cutoff=cutoff, tolerance=1e-12)
    points, ptr = ragged()["points"], ragged()["point_ptr"]
    truth = orbital_field_hessians(orbitals, points, ptr, backend="reference")
    for mine, exact in zip(orbital_field_hessians(orbitals, points, ptr, backend="cpu"), truth, strict=True):
        assert torch.allclose(mine, exact, atol=1e-9 * float(exact.abs().max()))


def test_a_backend_without_second_derivatives_says_so() -> None:
    case = ragged()
    with pytest.raises(RuntimeError, match="'gpu' has no second derivatives"):
        orbital_field_hessians(orbitals_of(case), case["points"], case["point_ptr"], backend="gpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    case = ragged(torch.float32, n=scaled_down(backend, 40) // 2)
    shells = case["shells"]
    shells = shells.with_radial(shells.exponents.requires_grad_(), shells.weights.requires_grad_())
    for name in ("points", "site_positions", "coefficients", "scalings"):
        case[name].requires_grad_()
    orbitals = orbitals_of(case, shells=shells, cutoff=3.0)
    torch.library.opcheck(fields_op, arguments_of(orbitals, case["points"], case["point_ptr"], 10**8, backend))


def test_compiles_into_one_graph() -> None:
    case = ragged(torch.float32)

    def loss(coefficients: torch.Tensor, scalings: torch.Tensor) -> torch.Tensor:
        orbitals = Orbitals(
            case["site_positions"],
            case["site_type"],
            case["site_ptr"],
            case["shells"],
            2 * coefficients,
            scalings=scalings,
        )
        return orbital_fields(orbitals, case["points"], case["point_ptr"], backend="cpu").square().sum()

    leaves = [case["coefficients"].clone().requires_grad_(), case["scalings"].clone().requires_grad_()]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    plain, traced = loss(*leaves), compiled(*leaves)
    assert torch.allclose(plain, traced)
    for one, other in zip(torch.autograd.grad(plain, leaves), torch.autograd.grad(traced, leaves), strict=True):
        assert torch.allclose(one, other)
