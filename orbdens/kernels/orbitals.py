"""A sum of orbitals as one object, checked once when it is made: what every function of the kernels takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from orbdens.kernels.cells import complete_cells
from orbdens.kernels.checks import check_finite, check_numbers, check_pointers, check_shape
from orbdens.kernels.shells import Shells

TOLERANCE = 1e-8

DIFFERENTIABLE = ("points", "site_positions", "exponents", "weights", "coefficients", "scalings")
"""What fields can be differentiated by, in the order of the backends' gradients."""


@dataclass(frozen=True, eq=False)
class Orbitals:
    """Gaussian orbitals on the sites of one or many structures, and the coefficients of K fields that they sum up to.

    ``f_k(r) = sum_i sum_j coefficients[j, k] chi_j(r - R_i)``, see ``Shells`` for chi. With K = 1 that is a density,
    with K = n_occupied these are the occupied orbitals. ``Orbitals.of_structure`` makes those of one structure.

    All tensors are on one device. All floating ones but the cells have the precision of the coefficients, and so have
    the fields.

    Attributes:
        site_positions: [n_sites, 3], Å.
        site_type: int64 [n_sites], row of ``shells`` of each site.
        site_ptr: int64 [n_structures + 1], the sites of structure s are ``site_ptr[s]:site_ptr[s + 1]``.
        shells: orbitals of each site type.
        coefficients: [n_coefficients, K], sites in order, each with its type's shells in order, m = -l..l in a shell.
        scalings: [n_sites] or None, factors on all exponents of a site. Weights are not changed by it: a caller who
            wants scaled orbitals normalised multiplies the coefficients by scaling^((l + 3/2) / 2).
        cutoff: Å; an orbital is zero at points farther than this from its site. None for no limit.
        cells: [n_structures, 3, 3], Å, in any precision, rows are the lattice vectors, or None.
        pbc: bool [n_structures, 3], axes along which the sites repeat; needed with ``cells``.
        tolerance: in the unit of the fields; primitives too small to count are skipped, and what is skipped at a point
            sums to at most this. (In gradients the same holds for coefficients of norm >= 1.)
        checked: whether the values were looked at. Only ``torch.compile`` puts that off until the graph runs.

    Raises:
        ValueError: an attribute has a wrong shape, dtype or device, or contains NaN or infinite values.
    """

    site_positions: Tensor
    site_type: Tensor
    site_ptr: Tensor
    shells: Shells
    coefficients: Tensor
    _: KW_ONLY
    scalings: Tensor | None = None
    cutoff: float | None = None
    cells: Tensor | None = None
    pbc: Tensor | None = None
    tolerance: float = TOLERANCE
    checked: bool = field(init=False)

    def __post_init__(self) -> None:
        now = not torch.compiler.is_compiling()
        if now:
            self.check()
        object.__setattr__(self, "checked", now)

    @classmethod
    def of_structure(
        cls,
        site_positions: Tensor,
        site_type: Tensor,
        shells: Shells,
        coefficients: Tensor,
        *,
        scalings: Tensor | None = None,
        cutoff: float | None = None,
        cell: Tensor | None = None,
        pbc: Sequence[bool] | Tensor | None = None,
        tolerance: float = TOLERANCE,
    ) -> Orbitals:
        """The orbitals of one structure: as the class, but with its cell [3, 3] and pbc [3], and no pointers."""
        return cls(
            site_positions,
            site_type,
            torch.tensor([0, site_type.shape[0]], device=site_type.device),
            shells,
            coefficients,
            scalings=scalings,
            cutoff=cutoff,
            cells=None if cell is None else cell[None],
            pbc=None if pbc is None else torch.as_tensor(pbc, device=site_type.device)[None],
            tolerance=tolerance,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Type of the coefficients, and so of the fields."""
        return self.coefficients.dtype

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.coefficients.device

    @property
    def n_sites(self) -> int:
        """Sites of all structures."""
        return self.site_type.shape[0]

    @property
    def n_structures(self) -> int:
        """Structures in the batch."""
        return self.site_ptr.shape[0] - 1

    @property
    def n_channels(self) -> int:
        """K, the number of columns of the coefficients."""
        return self.coefficients.shape[1]

    def structure_of_site(self) -> Tensor:
        """Structure of each site, int64 [n_sites]."""
        return torch.repeat_interleave(torch.arange(self.n_structures, device=self.device), self.site_ptr.diff())

    def structure(self, index: int) -> Orbitals:
        """One structure of the batch."""
        first, last = int(self.site_ptr[index]), int(self.site_ptr[index + 1])
        rows = self.shells.coefficient_ptr(self.site_type)
        return self.changed(
            site_positions=self.site_positions[first:last],
            site_type=self.site_type[first:last],
            site_ptr=self.site_ptr.new_tensor([0, last - first]),
            coefficients=self.coefficients[int(rows[first]) : int(rows[last])],
            scalings=None if self.scalings is None else self.scalings[first:last],
            cells=None if self.cells is None else self.cells[index : index + 1],
            pbc=None if self.pbc is None else self.pbc[index : index + 1],
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Orbitals:
        """The same orbitals elsewhere, or in another precision."""
        changes: dict[str, Any] = {"shells": self.shells.to(device, dtype)}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                keeps_dtype = name == "cells" or not value.is_floating_point()
                changes[name] = value.to(device, None if keeps_dtype else dtype)
        # In another precision a number may overflow.
        return self.changed(**changes) if dtype in (None, self.dtype) else replace(self, **changes)

    @classmethod
    def unchecked(cls, **attributes: Any) -> Orbitals:
        """Orbitals from all attributes, of which nothing needs to be checked again."""
        made = object.__new__(cls)
        made.__dict__.update(attributes)
        return made

    def changed(self, **attributes: Any) -> Orbitals:
        """A copy in which some attributes are parts of themselves, or the same numbers in other tensors: no check."""
        return self.unchecked(**vars(self) | attributes)

    def check(self) -> None:
        """Raise ValueError, naming the attribute, where a shape, dtype, device or value cannot be right."""
        n_sites = self.n_sites
        if self.coefficients.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"coefficients: expected float32 or float64, got {self.coefficients.dtype}")
        check_shape("coefficients", self.coefficients, "n_coefficients", "K")
        check_shape("site_type", self.site_type, "n_sites")
        check_shape("site_positions", self.site_positions, n_sites, 3)
        if self.scalings is not None:
            check_shape("scalings", self.scalings, n_sites)
        shells = self.shells
        for name, tensor in (vars(self) | vars(shells)).items():
            if isinstance(tensor, Tensor) and name in DIFFERENTIABLE:
                check_numbers(name, tensor, self.coefficients, "the coefficients")
            elif isinstance(tensor, Tensor) and tensor.device != self.device:
                raise ValueError(f"{name}: expected on {self.device} like the coefficients, got on {tensor.device}")
        check_pointers("site_ptr", self.site_ptr, n_sites)
        if self.cutoff is not None and not self.cutoff > 0:
            raise ValueError(f"cutoff: expected a distance above 0 Å or None, got {self.cutoff}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance: expected a number above 0, got {self.tolerance}")
        if self.scalings is not None and bool((self.scalings <= 0).any()):
            raise ValueError("scalings: expected numbers above 0")
        shells.check()
        if self.site_type.dtype != torch.int64 or (
            n_sites and (int(self.site_type.min()) < 0 or int(self.site_type.max()) >= shells.n_types)
        ):
            raise ValueError(f"site_type: expected numbers in 0..{shells.n_types - 1}, int64")
        expected = shells.n_coefficients(self.site_type)
        if self.coefficients.shape[0] != expected:
            raise ValueError(f"coefficients: the sites have {expected} orbitals, got {self.coefficients.shape[0]} rows")
        self._check_cells()

    def _check_cells(self) -> None:
        if (self.cells is None) != (self.pbc is None):
            raise ValueError("cells and pbc: give both or neither")
        if self.cells is None or self.pbc is None:
            return
        check_shape("cells", self.cells, self.n_structures, 3, 3)
        check_shape("pbc", self.pbc, self.n_structures, 3)
        if self.pbc.dtype != torch.bool:
            raise ValueError(f"pbc: expected bool, got {self.pbc.dtype}")
        check_finite("cells", self.cells)
        complete_cells(self.cells.detach().double().cpu().numpy(), self.pbc.cpu().numpy())
