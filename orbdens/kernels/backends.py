"""Which backends there are, what each has to offer, and the choice of one."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from orbdens.kernels.orbitals import Orbitals

BACKENDS = {
    "reference": "orbdens.kernels.reference",
    "cpu": "orbdens.kernels.cpu.backend",
    "gpu": "orbdens.kernels.gpu.backend",
}
"""Name and module of every backend; compilers are imported with the module, when it is first used."""

AUTOMATIC = {"cpu": "cpu", "cuda": "gpu"}
"""The backend of ``auto`` for tensors on a type of device; ``reference`` runs on all others."""


class Backend(Protocol):
    """A module with these functions, which take orbitals that were checked.

    It may offer two more. ``grid_forward(orbitals, origin, steps, shape)``: fields [nx * ny * nz, K] of one structure
    on a grid, in the memory of the processor (see ``orbital_fields_on_grid``), or None for grids and orbitals that it
    takes no faster than points.
    ``second_derivatives``, with the arguments of ``derivatives``: fields, gradients, Hessians [n_points, 3, 3, K].
    """

    def validate(self) -> str | None:
        """Why it cannot run here, or None."""

    def device(self) -> torch.device:
        """Where it expects its tensors on this machine."""

    def forward(self, orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int) -> Tensor:
        """Fields [n_points, K]."""

    def derivatives(
        self, orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fields [n_points, K], their gradients [n_points, 3, K] and Laplacians [n_points, K]."""

    def vjp(
        self, orbitals: Orbitals, points: Tensor, point_ptr: Tensor, memory: int, grad: Tensor, wants: list[bool]
    ) -> tuple[Tensor | None, ...]:
        """Gradients of sum(grad * fields), in the order of ``DIFFERENTIABLE``; None where not wanted."""


def choose_backend(name: str, device: torch.device) -> str:
    """The name of the backend for tensors on a device; one asked for by name is never replaced by another.

    Raises:
        ValueError: unknown name.
    """
    if name == "auto":
        return AUTOMATIC.get(device.type, "reference")
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of auto, {', '.join(BACKENDS)}, got {name!r}")
    return name


def _module(name: str) -> Backend:
    return cast(Backend, import_module(BACKENDS[name]))


def has_second_derivatives(name: str) -> bool:
    """Whether a backend, of a name that ``choose_backend`` gave, has Hessians of fields."""
    return hasattr(_module(name), "second_derivatives")


def load_backend(name: str) -> Backend:
    """The backend of a name that ``choose_backend`` gave.

    Raises:
        RuntimeError: it cannot run here, with the reason.
    """
    backend = _module(name)
    reason = backend.validate()
    if reason is not None:
        raise RuntimeError(f"backend {name!r} cannot run here: {reason}")
    return backend


def validate(backend: str) -> str | None:
    """Why a backend ("reference", "cpu" or "gpu") cannot run on this machine, or None if it can.

    Raises:
        ValueError: unknown name.
    """
    return _module(choose_backend(backend, torch.device("cpu"))).validate()


def backend_device(backend: str) -> torch.device:
    """Where a backend expects its tensors on this machine.

    Raises:
        ValueError: unknown name.
    """
    return _module(choose_backend(backend, torch.device("cpu"))).device()
