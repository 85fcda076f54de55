"""Values of every backend against PySCF and e3nn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from e3nn import o3
from pyscf import gto

from orbdens.kernels import Shells, density_from_orbitals, normalisation, orbital_fields, solid_harmonics

from .cases import BACKENDS, ROWS, scaled_down
from .systems import System, contracted, even_tempered, random_coefficients, random_points, system

ACCURACY = {torch.float32: 1e-5, torch.float64: 1e-9}


@pytest.fixture(scope="module")
def benzene() -> System:
    return even_tempered()


@pytest.fixture(scope="module")
def benzene_gth() -> System:
    return contracted()


def evaluate(
    which: System, points: torch.Tensor, coefficients: torch.Tensor, dtype: torch.dtype, backend: str, **options: object
) -> torch.Tensor:
    """Fields of one structure in the wanted precision."""
    return orbital_fields(which.orbitals(coefficients, dtype, **options), points.to(dtype), backend=backend)


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n_points", [1, 63, 300])
def test_even_tempered_equals_pyscf(benzene: System, backend: str, dtype: torch.dtype, k: int, n_points: int) -> None:
    if scaled_down(backend, 99) < 99 and n_points * k > 1:
        pytest.skip("long in the interpreter, and covered by the small systems")
    points, coefficients = random_points(n_points).to(dtype), random_coefficients(benzene.n_coefficients, k)
    truth = benzene.truth(points) @ coefficients.to(dtype).double().numpy()
    fields = evaluate(benzene, points, coefficients, dtype, backend=backend)
    scale = np.abs(benzene.truth(random_points(300)) @ coefficients.numpy()).max()
    assert fields.shape == (n_points, k) and fields.dtype == dtype
    assert np.abs(fields.double().numpy() - truth).max() <= ACCURACY[dtype] * scale


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
def test_contracted_orbitals_and_their_density(benzene_gth: System, backend: str, dtype: torch.dtype) -> None:
    k = scaled_down(backend, 150) // 10
    points = random_points(scaled_down(backend, 200)).to(dtype)
    orbitals = random_coefficients(benzene_gth.n_coefficients, k)
    psi = benzene_gth.truth(points) @ orbitals.to(dtype).double().numpy()
    fields = evaluate(benzene_gth, points, orbitals, dtype, backend=backend)
    assert np.abs(fields.double().numpy() - psi).max() <= ACCURACY[dtype] * np.abs(psi).max()
    occupations = torch.full((k,), 2.0, dtype=dtype)
    density = density_from_orbitals(
        benzene_gth.orbitals(orbitals, dtype), occupations, points, memory=64_000, backend=backend
    )
    truth = 2 * (psi**2).sum(1)
    assert np.abs(density.double().numpy() - truth).max() <= 2 * ACCURACY[dtype] * truth.max()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("l", range(7))
def test_order_and_sign_equal_pyscf_to_l_6(backend: str, l: int) -> None:
    atom = system(gto.M(atom="He 0.1 -0.2 0.3", basis={"He": [[l, [0.7, 1.0]]]}, verbose=0))
    points = random_points(scaled_down(backend, 70), spread=2.0)
    fields = evaluate(atom, points, torch.eye(2 * l + 1), torch.float64, backend=backend, tolerance=1e-13)
    assert np.abs(fields.numpy() - atom.truth(points)).max() < 1e-11


def test_harmonics_equal_e3nn() -> None:
    vectors = random_points(50)
    ours = solid_harmonics(6, vectors)
    for l in range(7):
        theirs = o3.spherical_harmonics(l, vectors[:, [1, 2, 0]], normalize=False, normalization="integral")
        assert torch.allclose(ours[:, l * l : (l + 1) ** 2], theirs, atol=1e-10, rtol=1e-10)


def test_normalisation_is_that_of_pyscf_and_differentiable() -> None:
    exponents = torch.tensor([0.3, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    for l in range(7):
        assert np.allclose(normalisation(l, exponents).detach().numpy(), gto.gto_norm(l, exponents.detach().numpy()))
    assert torch.autograd.gradcheck(lambda a: normalisation(2, a), exponents)


def test_layout_helpers() -> None:
    shells = Shells.from_lists([[(0, [1.0], [1.0]), (2, [1.0, 2.0], [0.5, 0.5])], [(1, [3.0], [1.0])]])
    site_type = torch.tensor([1, 0, 1])
    assert shells.coefficient_ptr(site_type).tolist() == [0, 3, 9, 12]
    assert shells.n_coefficients(site_type) == 12
    first = normalisation(0, torch.tensor(1.0, dtype=torch.float64))
    assert math.isclose(float(shells.weights[0]), float(first))
