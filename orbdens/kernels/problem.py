"""What one evaluation needs, in one object, and the checks that give one clear error instead of nonsense."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orbdens.kernels.harmonics import L_LIMIT
from orbdens.kernels.shells import Shells

DIFFERENTIABLE = ("points", "site_positions", "exponents", "weights", "coefficients", "scalings")


@dataclass(frozen=True)
class Problem:
    """The arguments of ``orbital_fields``; see there for shapes and units."""

    points: Tensor
    point_ptr: Tensor
    site_positions: Tensor
    site_type: Tensor
    site_ptr: Tensor
    shells: Shells
    coefficients: Tensor
    scalings: Tensor | None
    cells: Tensor | None
    pbc: Tensor | None
    cutoff: float | None
    tolerance: float
    memory: int

    @property
    def n_structures(self) -> int:
        return self.point_ptr.numel() - 1

    def differentiable(self) -> tuple[Tensor | None, ...]:
        """The tensors a gradient may be asked for, in the order of ``DIFFERENTIABLE``."""
        shells = self.shells
        return (
            self.points,
            self.site_positions,
            shells.exponents,
            shells.weights,
            self.coefficients,
            self.scalings,
        )

    def slices(self, size: int) -> Iterator[tuple[int, int, Problem]]:
        """The same problem for points begin:end, at most ``size`` at a time: (begin, end, problem)."""
        n_points = self.points.shape[0]
        if n_points <= size:
            yield 0, n_points, self
            return
        for begin in range(0, n_points, size):
            end = min(begin + size, n_points)
            ptr = self.point_ptr.clamp(begin, end) - begin
            yield begin, end, replace(self, points=self.points[begin:end], point_ptr=ptr)

    def check(self) -> None:
        """Raise ValueError, naming the argument, where shapes, dtypes, devices or values cannot be right."""
        _require(self.points.ndim == 2 and self.points.shape[1] == 3, "points", "[n_points, 3]", self.points)
        n_sites = self.site_type.numel()
        n_structures = self.n_structures
        dtype, device = self.points.dtype, self.points.device
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"points: expected float32 or float64, got {dtype}")
        _require(self.site_positions.shape == (n_sites, 3), "site_positions", f"[{n_sites}, 3]", self.site_positions)
        _require(self.coefficients.ndim == 2, "coefficients", "[n_coefficients, K]", self.coefficients)
        _require(self.site_ptr.shape == self.point_ptr.shape, "site_ptr", f"[{n_structures + 1}]", self.site_ptr)
        if self.scalings is not None:
            _require(self.scalings.shape == (n_sites,), "scalings", f"[{n_sites}]", self.scalings)
        if (self.cells is None) != (self.pbc is None):
            raise ValueError("cells and pbc: give both or neither")
        if self.cells is not None and self.pbc is not None:
            _require(self.cells.shape == (n_structures, 3, 3), "cells", f"[{n_structures}, 3, 3]", self.cells)
            _require(self.pbc.shape == (n_structures, 3), "pbc", f"[{n_structures}, 3]", self.pbc)
        for name, tensor in zip(DIFFERENTIABLE, self.differentiable(), strict=True):
            if tensor is not None and (tensor.dtype != dtype or tensor.device != device):
                raise ValueError(
                    f"{name}: expected {dtype} on {device} like points, got {tensor.dtype} on {tensor.device}"
                )
            if tensor is not None and name != "weights" and not math.isfinite(float(tensor.detach().sum())):
                raise ValueError(f"{name}: contains NaN or infinite values")
        _check_pointers("point_ptr", self.point_ptr, self.points.shape[0])
        _check_pointers("site_ptr", self.site_ptr, n_sites)
        if self.cutoff is not None and not self.cutoff > 0:
            raise ValueError(f"cutoff: expected a distance above 0 Å or None, got {self.cutoff}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance: expected a number above 0, got {self.tolerance}")
        self._check_shells(n_sites)

    def _check_shells(self, n_sites: int) -> None:
        shells = self.shells
        _check_pointers("shell_ptr", shells.shell_ptr, shells.shell_l.numel())
        _check_pointers("primitive_ptr", shells.primitive_ptr, shells.exponents.numel())
        if bool((torch.diff(shells.primitive_ptr) == 0).any()):
            raise ValueError("primitive_ptr: every shell needs at least one primitive")
        if shells.shell_l.numel() and int(shells.shell_l.max()) > L_LIMIT:
            raise ValueError(
                f"shell_l: angular momenta above {L_LIMIT} are not supported, got {int(shells.shell_l.max())}"
            )
        if bool((shells.exponents <= 0).any()):
            raise ValueError("exponents: expected numbers above 0, in 1/Å²")
        if self.scalings is not None and bool((self.scalings <= 0).any()):
            raise ValueError("scalings: expected numbers above 0")
        if n_sites and (int(self.site_type.min()) < 0 or int(self.site_type.max()) >= shells.n_types):
            raise ValueError(f"site_type: expected numbers in 0..{shells.n_types - 1}")
        expected = shells.n_coefficients(self.site_type) if n_sites else 0
        if self.coefficients.shape[0] != expected:
            raise ValueError(f"coefficients: the sites have {expected} orbitals, got {self.coefficients.shape[0]} rows")


def _require(condition: bool, name: str, expected: str, tensor: Tensor) -> None:
    if not condition:
        raise ValueError(f"{name}: expected shape {expected}, got {list(tensor.shape)}")


def _check_pointers(name: str, ptr: Tensor, count: int) -> None:
    good = ptr.ndim == 1 and ptr.numel() >= 1 and ptr.dtype == torch.int64
    values = ptr.cpu().numpy()
    if not good or values[0] != 0 or values[-1] != count or (values[1:] < values[:-1]).any():
        raise ValueError(f"{name}: expected int64 numbers rising from 0 to {count}")
