"""The one argument of the kernels: made for one structure or many, and checked once, when it is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from orbdens.kernels import (
    BACKENDS,
    Orbitals,
    Shells,
    backend_device,
    density_from_orbitals,
    orbital_field_derivatives,
    orbital_fields,
    orbital_fields_on_grid,
    validate,
)
from orbdens.kernels.cpu import backend

from .cases import fields_of, orbitals_of, ragged, small_shells

NAN = float("nan")


def of_shells(**changes: Any) -> Shells:
    """The table of the ragged case with other attributes."""
    return replace(small_shells(), **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shells": of_shells(weights=small_shells().weights * NAN)}, "weights: contains NaN"),
        ({"shells": of_shells(exponents=small_shells().exponents * NAN)}, "exponents: contains NaN"),
        ({"shells": of_shells(exponents=-small_shells().exponents)}, "exponents: expected numbers above 0"),
        ({"shells": of_shells(weights=small_shells().weights[1:])}, "weights: expected shape [10], got [9]"),
        ({"shells": of_shells(shell_l=small_shells().shell_l + 7)}, "shell_l: expected angular momenta from 0 to 12"),
        ({"shells": of_shells(shell_l=small_shells().shell_l - 1)}, "shell_l: expected angular momenta from 0 to 12"),
        ({"shells": of_shells(shell_ptr=torch.tensor([0, 4, 6]))}, "shell_ptr: expected int64 numbers rising from 0"),
        ({"coefficients": torch.full((100, 1), NAN).double()}, "coefficients: contains NaN"),
        ({"coefficients": torch.zeros(3, 1).double()}, "coefficients: the sites have 100 orbitals, got 3 rows"),
        ({"site_positions": torch.zeros(5, 3).double()}, "site_positions: expected shape [6, 3], got [5, 3]"),
        ({"site_type": torch.tensor([0, 1, 0, 1, 0, 2])}, "site_type: expected numbers in 0..1"),
        ({"site_type": torch.tensor([0, 1, 0, 1, 0, 0], dtype=torch.int32)}, "site_type: expected numbers in 0..1"),
        ({"site_ptr": torch.tensor([0, 3, 2, 5, 6])}, "site_ptr: expected int64 numbers rising from 0 to 6"),
        ({"scalings": torch.zeros(6).double()}, "scalings: expected numbers above 0"),
        ({"scalings": torch.ones(5).double()}, "scalings: expected shape [6]"),
        ({"site_ptr": torch.tensor([0, 3, 3, 5, 6], device="meta")}, "site_ptr: expected on cpu like the coefficients"),
        ({"site_positions": torch.zeros(6, 3, dtype=torch.int64)}, "site_positions: expected torch.float64"),
        ({"cutoff": 0.0}, "cutoff: expected a distance above 0"),
        ({"tolerance": 0.0}, "tolerance: expected a number above 0"),
        ({"cells": torch.eye(3).expand(4, 3, 3)}, "cells and pbc: give both or neither"),
        ({"cells": torch.eye(3).expand(1, 3, 3), "pbc": torch.ones(4, 3) > 0}, "cells: expected shape [4, 3, 3]"),
        ({"cells": torch.ones(4, 3, 3), "pbc": torch.ones(4, 3) > 0}, "not linearly independent"),
        ({"cells": torch.ones(4, 3, 3) * NAN, "pbc": torch.ones(4, 3) > 0}, "cells: contains NaN"),
        ({"cells": torch.eye(3).expand(4, 3, 3), "pbc": torch.ones(4, 3)}, "pbc: expected bool"),
    ],
)
def test_mistakes_are_found_when_it_is_made(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the sentence is compared below
        orbitals_of(ragged(), **changes)
    assert sentence in str(error.value)


def test_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[Orbitals] = []
    check = Orbitals.check
    monkeypatch.setattr(Orbitals, "check", lambda self: (checks.append(self), check(self)))
    case = ragged()
    orbitals = orbitals_of(case, coefficients=case["coefficients"].requires_grad_())
    orbital_fields(orbitals, case["points"], case["point_ptr"]).sum().backward()
    orbital_field_derivatives(orbitals, case["points"], case["point_ptr"])
    orbitals.to("cpu")
    assert checks == [orbitals]
    replace(orbitals, cutoff=2.0)
    assert len(checks) == 2


def test_in_a_compiled_graph_values_are_checked_when_it_runs() -> None:
    case = ragged(torch.float32)

    def fields(coefficients: torch.Tensor) -> torch.Tensor:
        orbitals = Orbitals(case["site_positions"], case["site_type"], case["site_ptr"], case["shells"], coefficients)
        return orbital_fields(orbitals, case["points"], case["point_ptr"], backend="cpu")

    compiled = torch.compile(fields, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(case["coefficients"]), fields(case["coefficients"]))
    with pytest.raises(ValueError, match="coefficients: contains NaN"):
        compiled(case["coefficients"] * NAN)


def test_numbers_may_overflow_in_another_precision() -> None:
    case = ragged()
    orbitals = orbitals_of(case, coefficients=case["coefficients"] * 1e200)
    with pytest.raises(ValueError, match="coefficients: contains NaN or infinite values"):
        orbitals.to(dtype=torch.float32)
    assert orbitals_of(case).to(dtype=torch.float32).dtype == torch.float32


def test_large_numbers_are_no_mistake() -> None:
    case = ragged()
    orbitals = orbitals_of(case, coefficients=torch.full_like(case["coefficients"], 1e308))
    assert not torch.isfinite(orbitals.coefficients.sum())


def test_one_structure_needs_no_pointers() -> None:
    case = ragged()
    whole, ptr = fields_of(case), case["point_ptr"]
    many = orbitals_of(case)
    for index in range(4):
        one = many.structure(index)
        alone = Orbitals.of_structure(
            one.site_positions, one.site_type, one.shells, one.coefficients, scalings=one.scalings
        )
        points = slice(ptr[index], ptr[index + 1])
        assert torch.allclose(orbital_fields(alone, case["points"][points]), whole[points], atol=1e-12)
        assert torch.allclose(orbital_fields(one, case["points"][points]), whole[points], atol=1e-12)
    assert many.structure_of_site().tolist() == [0, 0, 0, 2, 2, 3]


def test_many_structures_need_pointers() -> None:
    case = ragged()
    orbitals = orbitals_of(case)
    with pytest.raises(ValueError, match="point_ptr: needed to tell the points of 4 structures apart"):
        orbital_fields(orbitals, case["points"])
    with pytest.raises(ValueError, match="one structure, got 4"):
        orbital_fields_on_grid(orbitals, torch.zeros(3), torch.eye(3), (2, 2, 2))
    with pytest.raises(ValueError, match="one structure, got 4"):
        density_from_orbitals(orbitals, torch.ones(1), case["points"])
    with pytest.raises(ValueError, match=r"point_ptr: expected shape \[5\], got \[2\]"):
        orbital_fields(orbitals, case["points"], torch.tensor([0, 136]))


def test_derivatives_check_their_points() -> None:
    orbitals = orbitals_of(ragged()).structure(0)
    with pytest.raises(ValueError, match="points: contains NaN"):
        orbital_field_derivatives(orbitals, torch.full((1, 3), NAN, dtype=torch.float64))


def test_a_backend_that_cannot_run_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "validate", lambda: "it is away")
    assert validate("cpu") == "it is away"
    one = orbitals_of(ragged()).structure(0)
    points = torch.zeros(1, 3, dtype=torch.float64)
    for evaluate in (orbital_fields, orbital_field_derivatives):
        with pytest.raises(RuntimeError, match="backend 'cpu' cannot run here: it is away"):
            evaluate(one, points)
    with pytest.raises(RuntimeError, match="backend 'cpu' cannot run here: it is away"):
        orbital_fields_on_grid(one, torch.zeros(3), torch.eye(3), (2, 2, 2))


def test_every_backend_says_where_its_tensors_go() -> None:
    assert list(BACKENDS) == ["reference", "cpu", "gpu"]
    for name in BACKENDS:
        assert backend_device(name).type in ("cpu", "cuda")
    assert backend_device("cpu") == torch.device("cpu")
