"""Coulomb potentials: against PySCF, the compiled loops against the definition, gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyscf import gto

from orbdens.kernels import Orbitals, orbital_potentials, potential_definition
from orbdens.kernels.boys import boys

from .cases import small_shells
from .systems import BOHR, random_points, system


def one_molecule(scaled: bool = True) -> Orbitals:
    """Two types on three sites: contracted, l = 6, shells of one exponent and l more than once."""
    rng = torch.Generator().manual_seed(3)
    shells = small_shells()
    types = torch.tensor([0, 1, 0])
    return Orbitals.of_structure(
        torch.tensor([[0.0, 0, 0], [1.1, 0.2, -0.3], [-0.4, 1.3, 0.5]], dtype=torch.float64),
        types,
        shells,
        torch.rand(shells.n_coefficients(types), 1, generator=rng, dtype=torch.float64) - 0.3,
        scalings=torch.tensor([1.0, 1.2, 0.9], dtype=torch.float64) if scaled else None,
    )


def places(orbitals: Orbitals) -> torch.Tensor:
    """Points on the sites, in between, and so far away that all is multipoles."""
    rng = torch.Generator().manual_seed(4)
    random = torch.randn(200, 3, generator=rng, dtype=torch.float64)
    return torch.cat([orbitals.site_positions, random, 10 * random, 1e-7 + orbitals.site_positions, 300 * random[:9]])


@pytest.mark.parametrize("scaled", [False, True])
def test_compiled_loops_meet_the_definition(scaled: bool) -> None:
    orbitals = one_molecule(scaled)
    points = places(orbitals)
    values, gradients = orbital_potentials(orbitals, points, backend="cpu")
    expected, expected_gradients = orbital_potentials(orbitals, points, backend="reference")
    assert expected.abs().max() > 1
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_the_values() -> None:
    orbitals, h = one_molecule(), 1e-4
    points = places(orbitals)[3:60]
    _, gradients = orbital_potentials(orbitals, points)
    for axis in range(3):
        step = h * torch.eye(3, dtype=torch.float64)[axis]
        values = [orbital_potentials(orbitals, points + sign * step)[0] for sign in (1, -1)]
        torch.testing.assert_close((values[0] - values[1]) / (2 * h), gradients[:, axis], rtol=1e-6, atol=1e-6)


def test_potentials_of_orbitals_are_those_of_pyscf() -> None:
    """Every orbital to l = 4, contracted ones among them, by its Coulomb integrals with point charges."""
    ours = system(gto.M(atom="O 0 0 0; H 0.76 0.1 -0.5", basis={"O": "cc-pvqz", "H": "cc-pvdz"}, spin=1, verbose=0))
    points = random_points(20, spread=2.0)
    charges = gto.fakemol_for_charges(points.numpy() / BOHR)
    expected = gto.mole.intor_cross("int2c2e_sph", ours.molecule, charges)[ours.columns].T * BOHR**0.5
    for k, column in enumerate(torch.eye(ours.n_coefficients, dtype=torch.float64)):
        values, _ = orbital_potentials(ours.orbitals(column[:, None]), points)
        np.testing.assert_allclose(values.numpy(), expected[:, k], atol=1e-8)


def test_boys_functions() -> None:
    x = torch.tensor([0.0, 1e-9, 0.5, 1.0, 3.0, 40.0], dtype=torch.float64)
    t, w = np.polynomial.legendre.leggauss(60)
    t, w = (t + 1) / 2, w / 2
    for n in (0, 1, 5):
        truth = [(w * t ** (2 * n) * np.exp(-value * t * t)).sum() for value in x.tolist()]
        np.testing.assert_allclose(boys(n, x).numpy(), truth, rtol=1e-12)


def test_the_definition_is_differentiable() -> None:
    orbitals = one_molecule(scaled=False)
    points = places(orbitals)[3:7]

    def of(coefficients: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return potential_definition(orbitals.changed(coefficients=coefficients), at)

    inputs = (orbitals.coefficients.clone().requires_grad_(), points.clone().requires_grad_())
    assert torch.autograd.gradcheck(of, inputs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"dtype": torch.float32}, "float64"), ({"k": 2}, "one field"), ({"backend": "gpu"}, "backend")],
)
def test_what_it_refuses(change: dict[str, object], sentence: str) -> None:
    orbitals, points, backend = (
        one_molecule(),
        torch.zeros(1, 3, dtype=torch.float64),
        str(change.get("backend", "auto")),
    )
    if "dtype" in change:
        orbitals = orbitals.to(dtype=torch.float32)
    if "k" in change:
        orbitals = orbitals.changed(coefficients=orbitals.coefficients.expand(-1, 2))
    with pytest.raises(ValueError, match=sentence):
        orbital_potentials(orbitals, points, backend=backend)
