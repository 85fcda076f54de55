"""Closed-form integrals against sums over fine grids, which converge exponentially for Gaussians."""

from __future__ import annotations

import pytest
import torch

from orbdens.kernels import (
    Orbitals,
    orbital_field_integrals,
    orbital_field_moments,
    orbital_field_transforms,
    orbital_fields,
    orbital_fields_on_grid,
    shell_integrals,
    shell_moments,
)

from .cases import orbitals_of, ragged, small_shells

WAVES = torch.tensor([[0.0, 0, 0], [0.7, -0.4, 0.2], [0.0, 0.0, 1.5]], dtype=torch.float64)


@pytest.fixture(scope="module")
def batch() -> Orbitals:
    """Four structures, scaled exponents, contracted shells to l = 6, two channels."""
    return orbitals_of(ragged(k=2))


def summed(orbitals: Orbitals, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Integral, moment and transforms of one structure by sums over a grid."""
    step, n, origin = 0.24, 138, -16.5
    axis = origin + step * torch.arange(n, dtype=torch.float64)
    steps = step * torch.eye(3, dtype=torch.float64)
    one = orbitals.structure(index)
    fields = (
        torch.cat(
            [
                orbital_fields_on_grid(
                    Orbitals.of_structure(
                        one.site_positions, one.site_type, one.shells, column, scalings=one.scalings, tolerance=1e-12
                    ),
                    torch.full((3,), origin, dtype=torch.float64),
                    steps,
                    (n, n, n),
                )
                for column in one.coefficients.split(1, dim=1)
            ],
            dim=1,
        ).reshape(n, n, n, -1)
        * step**3
    )
    moments = torch.stack([torch.einsum("xyzk,x->k", fields.movedim(which, 0), axis) for which in range(3)])
    phases = torch.exp(-1j * WAVES[:, :, None] * axis)
    transforms = torch.einsum("xyzk,vx,vy,vz->vk", fields.to(phases.dtype), *phases.unbind(1))
    return fields.sum((0, 1, 2)), moments, transforms


def test_equal_sums_over_a_grid(batch: Orbitals) -> None:
    integrals, moments = orbital_field_integrals(batch), orbital_field_moments(batch)
    transforms = orbital_field_transforms(batch, WAVES)
    assert integrals.shape == (4, 2) and moments.shape == (4, 3, 2) and transforms.shape == (4, 3, 2)
    for index in (0, 2):
        charge, moment, transform = summed(batch, index)
        torch.testing.assert_close(integrals[index], charge, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(moments[index], moment, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(transforms[index], transform, atol=1e-8, rtol=1e-8)
    assert float(integrals[1].abs().sum()) == 0.0  # a structure without sites


def test_the_transform_at_zero_is_the_integral_and_its_slope_the_moment(batch: Orbitals) -> None:
    """∫ f exp(-ik·r) dr = ∫ f dr - ik·∫ f r dr + ..."""
    tiny = 1e-4
    transforms = orbital_field_transforms(batch, tiny * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(-transforms.imag / tiny, orbital_field_moments(batch), atol=1e-5, rtol=1e-6)
    at_zero = orbital_field_transforms(batch, torch.zeros(1, 3, dtype=torch.float64))[:, 0]
    torch.testing.assert_close(at_zero.real, orbital_field_integrals(batch))


def test_of_shells() -> None:
    """Only s shells have an integral, only p shells a first moment."""
    shells = small_shells()
    assert (shell_integrals(shells) != 0).tolist() == (shells.shell_l == 0).tolist()
    assert (shell_moments(shells) != 0).tolist() == (shells.shell_l == 1).tolist()


def test_gradients() -> None:
    case = ragged()
    names = ("site_positions", "coefficients", "scalings")
    leaves = [case[name].clone().requires_grad_() for name in names]
    radial = [value.clone().requires_grad_() for value in (case["shells"].exponents, case["shells"].weights)]

    def everything(*values: torch.Tensor) -> torch.Tensor:
        orbitals = orbitals_of(
            case, **dict(zip(names, values, strict=False)), shells=case["shells"].with_radial(*values[3:])
        )
        transforms = torch.view_as_real(orbital_field_transforms(orbitals, WAVES[1:2]))
        return torch.cat(
            [
                orbital_field_integrals(orbitals).flatten(),
                orbital_field_moments(orbitals).flatten(),
                transforms.flatten(),
            ]
        )

    assert torch.autograd.gradcheck(everything, [*leaves, *radial])


def test_nothing_at_all() -> None:
    none = Orbitals.of_structure(
        torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), small_shells().to(dtype=torch.float32), torch.zeros(0, 1)
    )
    assert orbital_field_integrals(none).tolist() == [[0.0]]
    assert orbital_field_moments(none).tolist() == [[[0.0]] * 3]
    assert orbital_field_transforms(none, torch.zeros(1, 3)).tolist() == [[[0j]]]
    assert orbital_fields(none, torch.zeros(1, 3)).tolist() == [[0.0]]
