"""Periodic images: against PySCF's pbc code, explicit supercells, isolated molecules and lattice shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyscf.pbc import gto as pbc_gto

from orbdens.kernels import orbital_fields, orbital_fields_on_grid

from .cases import BACKENDS, ROWS, fields_of, gradients, orbitals_of, scaled_down, small_shells
from .systems import BOHR, contracted, random_coefficients, random_points, system

SKEW = torch.tensor([[2.6, 0.0, 0.0], [0.9, 2.4, 0.0], [-0.5, 0.7, 2.9]], dtype=torch.float64)


def reach(backend: str, cutoff: float) -> float:
    """A cut-off (Å), a smaller one for the interpreted gpu backend."""
    return 1.2 if scaled_down(backend, 99) < 99 else cutoff


def crystal(
    dtype: torch.dtype = torch.float64, pbc: tuple[bool, bool, bool] = (True, True, True), n: int = 70
) -> dict[str, Any]:
    """Two sites in a small skew cell, points in and around it."""
    shells = small_shells()
    site_type = torch.tensor([0, 1])
    return {
        "points": random_points(n, spread=5.0).to(dtype),
        "point_ptr": torch.tensor([0, n]),
        "site_positions": torch.tensor([[0.1, 0.2, -0.3], [3.4, 1.1, 1.4]], dtype=dtype),
        "site_type": site_type,
        "site_ptr": torch.tensor([0, 2]),
        "shells": shells.to(dtype=dtype),
        "coefficients": random_coefficients(shells.n_coefficients(site_type), 1).to(dtype),
        "cells": SKEW[None].to(dtype, copy=True),
        "pbc": torch.tensor([pbc]),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, True, False)])
def test_equals_an_explicit_sum_over_images(backend: str, pbc: tuple[bool, bool, bool]) -> None:
    case, cutoff = crystal(pbc=pbc, n=scaled_down(backend, 70)), reach(backend, 4.0)
    shifts = [
        a * SKEW[0] + b * SKEW[1] + c * SKEW[2]
        for a in (range(-9, 10) if pbc[0] else [0])
        for b in (range(-9, 10) if pbc[1] else [0])
        for c in (range(-9, 10) if pbc[2] else [0])
    ]
    many = {**case, "cells": None, "pbc": None}
    many["site_positions"] = torch.cat([case["site_positions"] + shift for shift in shifts])
    many["site_type"] = case["site_type"].repeat(len(shifts))
    many["site_ptr"] = case["site_ptr"] * len(shifts)
    many["coefficients"] = case["coefficients"].repeat(len(shifts), 1)
    truth = fields_of(many, backend="cpu", cutoff=cutoff)
    fields = fields_of(case, backend=backend, cutoff=cutoff)
    assert torch.allclose(fields, truth, atol=1e-8)


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
def test_lattice_periodic(backend: str, dtype: torch.dtype) -> None:
    case, cutoff = crystal(dtype, n=scaled_down(backend, 70)), reach(backend, 5.0)
    fields = fields_of(case, backend=backend, cutoff=cutoff)
    shift = (torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64) @ SKEW).to(dtype)
    moved = fields_of({**case, "points": case["points"] + shift}, backend=backend, cutoff=cutoff)
    limit = 1e-5 if dtype == torch.float32 else 1e-6
    assert float((moved - fields).abs().max()) <= limit * float(fields.abs().max())
    sites = case["site_positions"] + shift
    moved = fields_of(case, site_positions=sites, backend=backend, cutoff=cutoff)
    assert float((moved - fields).abs().max()) <= limit * float(fields.abs().max())


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_large_cell_equals_isolated_molecule(backend: str) -> None:
    benzene = contracted()
    n = scaled_down(backend, 80)
    points, coefficients = random_points(n), random_coefficients(benzene.n_coefficients, 1)
    alone = orbital_fields(benzene.orbitals(coefficients), points, backend=backend)
    periodic = benzene.orbitals(coefficients, cell=60 * torch.eye(3, dtype=torch.float64), pbc=(True, True, True))
    in_cell = orbital_fields(periodic, points, backend=backend)
    assert torch.allclose(alone, in_cell, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_pyscf_pbc(backend: str) -> None:
    cell = pbc_gto.M(
        a=SKEW.numpy(),
        unit="A",
        atom="He 0.1 0.2 -0.3; H 1.0 1.1 1.4",
        basis={"He": [[0, [0.4, 0.6], [1.1, 0.4]], [2, [0.6, 1.0]]], "H": [[1, [0.5, 1.0]]]},
        spin=1,
        precision=1e-12,
        verbose=0,
    )
    atoms = system(cell)
    n = scaled_down(backend, 60)
    points, coefficients = random_points(n), random_coefficients(atoms.n_coefficients, 1)
    orbitals = np.asarray(cell.pbc_eval_gto("PBCGTOval_sph", points.numpy() / BOHR)).real[:, atoms.columns]
    truth = orbitals @ coefficients.numpy() * BOHR**-1.5
    orbitals = atoms.orbitals(coefficients, cell=SKEW, pbc=(True, True, True))
    fields = orbital_fields(orbitals, points, backend=backend)
    assert np.abs(fields.numpy() - truth).max() <= 1e-7 * np.abs(truth).max()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "reference"])
def test_gradients_equal_the_reference(backend: str) -> None:
    case = {**crystal(n=scaled_down(backend, 70)), "scalings": torch.tensor([0.9, 1.1], dtype=torch.float64)}
    cotangent, cutoff = random_coefficients(scaled_down(backend, 70), 1), reach(backend, 4.0)
    truth = gradients(case, cotangent, backend="reference", cutoff=cutoff)
    for name, grad in gradients(case, cotangent, backend=backend, cutoff=cutoff, tolerance=1e-10).items():
        assert (grad - truth[name]).abs().max() <= 1e-8 * truth[name].abs().max(), name


def test_dependent_cell_vectors_are_refused() -> None:
    case = crystal()
    case["cells"][0, 1] = case["cells"][0, 0]
    with pytest.raises(ValueError, match="not linearly independent"):
        fields_of(case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_grid_of_a_crystal_may_leave_the_cell(backend: str) -> None:
    case = crystal()
    origin, steps = torch.tensor([-3.0, 1.0, 2.0], dtype=torch.float64), torch.diag(torch.tensor([0.5, 0.4, 0.6]))
    shape, cutoff = (5, 9, scaled_down(backend, 200) // 20), reach(backend, 4.0)
    index = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in shape))
    points = origin + index @ steps.double()
    orbitals = orbitals_of(case, cutoff=cutoff)
    truth = orbital_fields(orbitals, points, backend="reference")
    fields = orbital_fields_on_grid(orbitals, origin, steps, shape, backend=backend)
    assert torch.allclose(fields, truth, atol=1e-7)
