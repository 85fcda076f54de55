"""Odd inputs: nothing, one point, points on nuclei, huge exponents, NaN; screening, cut-off and memory as promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from orbdens.kernels import Orbitals, Shells, orbital_fields, validate

from .cases import BACKENDS, ROWS, fields_of, gradients, ragged, scaled_down
from .systems import even_tempered, random_coefficients, random_points


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
def test_nothing_in_nothing_out(backend: str, dtype: torch.dtype) -> None:
    case = ragged(dtype)
    case["points"], case["point_ptr"] = case["points"][:0], torch.zeros(5, dtype=torch.int64)
    assert fields_of(case, backend=backend).shape == (0, 1)
    assert all(float(grad.abs().sum()) == 0 for grad in gradients(case, torch.zeros(0, 1), backend=backend).values())
    none = {
        "points": torch.zeros(2, 3, dtype=dtype),
        "point_ptr": torch.tensor([0, 2]),
        "site_positions": torch.zeros(0, 3, dtype=dtype),
        "site_type": torch.zeros(0, dtype=torch.int64),
        "site_ptr": torch.tensor([0, 0]),
        "shells": case["shells"],
        "coefficients": torch.zeros(0, 2, dtype=dtype),
    }
    assert torch.equal(fields_of(none, backend=backend), torch.zeros(2, 2, dtype=dtype))
    bare = {**none, "point_ptr": torch.tensor([0]), "site_ptr": torch.tensor([0]), "points": none["points"][:0]}
    assert fields_of(bare, backend=backend).shape == (0, 2)


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
def test_points_on_nuclei_and_coincident_sites(backend: str, dtype: torch.dtype) -> None:
    case = ragged(dtype, n=scaled_down(backend, 130))
    case["site_positions"][1] = case["site_positions"][0]
    case["points"][:3] = case["site_positions"][0]
    fields = fields_of(case, backend=backend)
    assert bool(torch.isfinite(fields).all())
    truth = fields_of(case, backend="reference")
    assert torch.allclose(fields, truth, atol=1e-5)
    for name, grad in gradients(case, torch.ones(len(case["points"]), 1), backend=backend).items():
        assert bool(torch.isfinite(grad).all()), name


@pytest.mark.parametrize(("backend", "dtype"), ROWS)
def test_huge_and_tiny_exponents(backend: str, dtype: torch.dtype) -> None:
    shells = Shells.from_lists([[(0, [1e12], [1.0]), (0, [1e-6], [1.0]), (4, [1e9], [1.0])]], dtype)
    case: dict[str, Any] = {
        "points": torch.tensor([[0.0, 0, 0], [1e-3, 0, 0], [30.0, 0, 0]], dtype=dtype),
        "point_ptr": torch.tensor([0, 3]),
        "site_positions": torch.zeros(1, 3, dtype=dtype),
        "site_type": torch.tensor([0]),
        "site_ptr": torch.tensor([0, 1]),
        "shells": shells,
        "coefficients": torch.ones(11, 1, dtype=dtype),
        "scalings": torch.ones(1, dtype=dtype),
    }
    fields = fields_of(case, backend=backend)[:, 0]
    soft = float(shells.weights[1]) * 0.28209479
    assert torch.allclose(
        fields[1:].double(), torch.tensor([soft, soft * np.exp(-9e-4)], dtype=torch.float64), rtol=1e-5
    )
    assert float(fields[0]) == pytest.approx(float(shells.weights[0]) * 0.28209479, rel=1e-5)
    assert all(bool(torch.isfinite(g).all()) for g in gradients(case, torch.ones(3, 1), backend=backend).values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("points", torch.tensor([[float("nan"), 0, 0]]), "points: contains NaN or infinite values"),
        ("points", torch.zeros(3), "points: expected shape"),
        ("points", torch.zeros(1, 3, dtype=torch.float64), "points: expected torch.float32 on cpu like the orbitals"),
        ("points", torch.zeros(1, 3, dtype=torch.int64), "points: expected torch.float32"),
        ("coefficients", torch.zeros(7, 1, dtype=torch.int64), "coefficients: expected float32 or float64"),
        ("coefficients", torch.zeros(7), "coefficients: expected shape [n_coefficients, K], got [7]"),
        ("site_positions", torch.zeros(1, 3, dtype=torch.float64), "site_positions: expected torch.float32"),
        ("point_ptr", torch.tensor([0, 2]), "point_ptr: expected int64 numbers rising from 0 to 1"),
        ("site_positions", torch.full((1, 3), float("inf")), "site_positions: contains NaN"),
        ("site_type", torch.tensor([2]), "site_type: expected numbers in 0..1"),
        ("coefficients", torch.zeros(3, 1), "coefficients: the sites have 7 orbitals, got 3 rows"),
        ("cutoff", -1.0, "cutoff: expected a distance above 0"),
        ("scalings", torch.tensor([-1.0]), "scalings: expected numbers above 0"),
        ("cells", torch.zeros(1, 3, 3), "cells and pbc: give both or neither"),
        ("backend", "cuda", "backend: expected one of auto"),
    ],
)
def test_one_clear_error(backend: str, name: str, value: Any, sentence: str) -> None:
    case: dict[str, Any] = {
        "points": torch.zeros(1, 3),
        "point_ptr": torch.tensor([0, 1]),
        "site_positions": torch.zeros(1, 3),
        "site_type": torch.tensor([1]),
        "site_ptr": torch.tensor([0, 1]),
        "shells": Shells.from_lists([[(0, [1.0], [1.0])], [(0, [1.0], [1.0])] * 7], torch.float32),
        "coefficients": torch.zeros(7, 1),
    }
    with pytest.raises(ValueError, match=sentence.replace("[", r"\[")):
        fields_of(case | ({} if name == "backend" else {name: value}), backend=value if name == "backend" else backend)


@pytest.mark.parametrize("k", [1, 4])
def test_screening_error_stays_under_the_tolerance(k: int) -> None:
    benzene = even_tempered()
    points, coefficients = random_points(600, spread=7.0), random_coefficients(benzene.n_coefficients, k)
    exact = benzene.truth(points) @ coefficients.numpy()
    for tolerance in (1e-2, 1e-5):
        fields = orbital_fields(benzene.orbitals(coefficients, tolerance=tolerance), points, backend="cpu").numpy()
        worst = np.abs(fields - exact).max()
        assert 1e-12 < worst <= tolerance


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_beyond_the_cutoff(backend: str) -> None:
    shells = Shells.from_lists([[(0, [0.01], [1.0])]])
    points = torch.tensor([[1.9, 0, 0], [2.1, 0, 0]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    orbitals = Orbitals.of_structure(zero, torch.tensor([0]), shells, one, cutoff=2.0)
    fields = orbital_fields(orbitals, points, backend=backend)
    assert float(fields[0]) > 0.0
    assert float(fields[1]) == 0.0


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_small_memory_gives_the_same_numbers(backend: str) -> None:
    case, cotangent = ragged(n=80), random_coefficients(86, 1)
    assert torch.allclose(fields_of(case, backend=backend), fields_of(case, backend=backend, memory=3000), atol=1e-9)
    many, few = gradients(case, cotangent, backend=backend), gradients(case, cotangent, backend=backend, memory=3000)
    for name, grad in many.items():
        assert torch.allclose(grad, few[name], atol=1e-7), name


def test_more_pairs_than_32_bits_count() -> None:
    n_sites, n_points = 1200, 2_000_000
    shells = Shells.from_lists([[(0, [2.0], [1.0])]], torch.float32)
    sites = torch.arange(n_sites)[:, None] * torch.tensor([8.0, 0.0, 0.0])
    points = torch.rand(n_points, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([9600.0, 2.0, 2.0])
    coefficients = torch.linspace(1, 2, n_sites)[:, None]
    site_type = torch.zeros(n_sites, dtype=torch.int64)
    fields = orbital_fields(Orbitals.of_structure(sites, site_type, shells, coefficients, cutoff=3.0), points)
    nearest = (points[:, 0] / 8.0).round().long().clamp(max=n_sites - 1)
    r2 = ((points - sites[nearest]) ** 2).sum(1)
    truth = coefficients[nearest, 0] * shells.weights * 0.28209479 * torch.exp(-2 * r2) * (r2 <= 9.0)
    assert float((fields[:, 0] - truth).abs().max()) < 1e-5


def test_buffers_start_poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    case, cotangent = ragged(), random_coefficients(136, 1)
    clean, clean_gradients = fields_of(case, backend="cpu"), gradients(case, cotangent, backend="cpu")
    empty = np.empty

    def poisoned(*arguments: Any, **options: Any) -> Any:
        array = empty(*arguments, **options)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    assert torch.equal(fields_of(case, backend="cpu"), clean)
    for name, grad in gradients(case, cotangent, backend="cpu").items():
        assert torch.equal(grad, clean_gradients[name]), name
    both = {**case, "coefficients": torch.cat([case["coefficients"]] * 2, 1)}
    assert torch.allclose(fields_of(both, backend="cpu"), clean.expand(-1, 2), atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_here_can_run(backend: str) -> None:
    assert validate(backend) is None
