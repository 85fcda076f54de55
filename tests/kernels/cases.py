"""Cases shared by the kernel tests: the backends as rows, and small ragged batches in either precision."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from orbdens import kernels
from orbdens.kernels import Orbitals, Shells, orbital_fields

BACKENDS = list(kernels.BACKENDS)
# backend and precision; the interpreted gpu backend, being slow, takes float32 alone (its rounding is not the GPU's)
ROWS = [
    (backend, dtype)
    for backend in BACKENDS
    for dtype in (torch.float32, torch.float64)
    if backend != "gpu" or dtype == torch.float32 or torch.cuda.is_available()
]
ORBITALS = tuple(inspect.signature(Orbitals).parameters)
NAMES = ("points", "site_positions", "exponents", "weights", "coefficients", "scalings")


def scaled_down(backend: str, n: int) -> int:
    """n, or less for the interpreted gpu backend."""
    return min(n, 20) if backend == "gpu" and not torch.cuda.is_available() else n


def small_shells() -> Shells:
    """Two types: one with contracted and high-l shells out of order, one with an s and a p shell; float64."""
    return Shells.from_lists(
        [
            [(2, [0.9], [1.0]), (0, [4.0, 0.7], [0.4, 0.8]), (6, [1.1], [1.0]), (0, [0.3], [1.0]), (1, [0.5], [1.0])],
            [(0, [1.2], [1.0]), (1, [2.0, 0.6, 0.2], [0.2, 0.5, 0.4])],
        ]
    )


def orbitals_of(case: dict[str, Any], **options: Any) -> Orbitals:
    """The orbitals of a case, with other attributes where they are given."""
    values = case | options
    return Orbitals(**{name: value for name, value in values.items() if name in ORBITALS})


def fields_of(case: dict[str, Any], **options: Any) -> torch.Tensor:
    """``orbital_fields`` of a case; options are attributes of ``Orbitals`` or arguments of the function."""
    of_function = {name: value for name, value in options.items() if name not in ORBITALS}
    return orbital_fields(orbitals_of(case, **options), case["points"], case["point_ptr"], **of_function)


def ragged(dtype: torch.dtype = torch.float64, k: int = 1, n: int = 130) -> dict[str, Any]:
    """Attributes of ``Orbitals``, points and pointers: four structures of 3, 0, 2, 1 sites and n, 5, 0, 1 points."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    site_type = torch.tensor([0, 1, 0, 1, 0, 0])
    shells = small_shells()
    return {
        "points": (3.0 * random(n + 6, 3)).to(dtype),
        "point_ptr": torch.tensor([0, n, n + 5, n + 5, n + 6]),
        "site_positions": (1.5 * random(6, 3)).to(dtype),
        "site_type": site_type,
        "site_ptr": torch.tensor([0, 3, 3, 5, 6]),
        "shells": shells.to(dtype=dtype),
        "coefficients": random(shells.n_coefficients(site_type), k).to(dtype),
        "scalings": (1 + 0.3 * random(6)).to(dtype),
    }


def convert(case: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The same case in another precision."""
    return {
        name: value.to(dtype=dtype)
        if isinstance(value, Shells) or (isinstance(value, torch.Tensor) and value.is_floating_point())
        else value
        for name, value in case.items()
    }


def gradients(case: dict[str, Any], cotangent: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
    """Gradients of sum(cotangent * fields) with respect to everything differentiable."""
    leaves = {
        name: (getattr(case["shells"], name) if name in ("exponents", "weights") else case[name])
        .clone()
        .requires_grad_()
        for name in NAMES
    }
    shells = case["shells"].with_radial(leaves["exponents"], leaves["weights"])
    arguments = {**case, **leaves, "shells": shells}
    del arguments["exponents"], arguments["weights"]
    fields = fields_of(arguments, **options)
    (fields * cotangent.to(fields.dtype)).sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
