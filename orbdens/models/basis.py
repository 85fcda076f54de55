"""Orbital bases of site types, and the orthonormal radial functions whose coefficients the network outputs.

Even-tempered shells of one l overlap strongly, so their coefficients are badly conditioned. Per site type and l the
radial overlap of the primitives is diagonalised, directions below ``DROP`` of the largest eigenvalue are left out, and
``Radial.to_primitive`` [n_primitives, n_radial] turns coefficients of the orthonormal functions into those of the
L2-normalised primitives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.errors import UserError
from orbdens.kernels import Shells, normalisation, shell_integrals, split_by_degree
from orbdens.models.basis_options import BasisConfig, VirtualBasisConfig
from orbdens.sites import BOND, type_from_name, type_name

DROP = 1e-7
"""Smallest eigenvalue of a radial overlap that is kept, relative to the largest."""


@dataclass(frozen=True, eq=False)
class Radial:
    """Radial functions of one site type and l: exponents in Å⁻² [n_primitives], float64.

    If they are ``plain``, they are the primitives themselves, whatever these overlap.
    """

    l: int
    exponents: NDArray[np.float64]
    plain: bool = False

    @cached_property
    def to_primitive(self) -> NDArray[np.float64]:
        """[n_primitives, n_radial]; columns are orthonormal functions over L2-normalised primitives.

        Two primitives overlap by (2 √(αβ) / (α + β))^(l + 3/2).
        """
        if self.plain:
            return np.eye(len(self.exponents))
        a = self.exponents
        overlap = (2 * np.sqrt(np.outer(a, a)) / np.add.outer(a, a)) ** (self.l + 1.5)
        values, vectors = np.linalg.eigh(overlap)
        keep = values > DROP * values[-1]
        result: NDArray[np.float64] = vectors[:, keep][:, ::-1] / np.sqrt(values[keep][::-1])
        return result

    @property
    def n_radial(self) -> int:
        return int(self.to_primitive.shape[1])


@dataclass(frozen=True, eq=False)
class Basis:
    """Orbitals of every site type.

    The coefficients of a site are laid out by l, then radial function, then m = -l..l.

    Attributes:
        types: the number of each site type (see ``sites``), ascending: elements come before virtual sites.
        radials: for each type one ``Radial`` per l = 0, 1, ...
    """

    types: tuple[int, ...]
    radials: tuple[tuple[Radial, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of orthonormal coefficients of each type."""
        return tuple(sum(r.n_radial * (2 * r.l + 1) for r in radials) for radials in self.radials)

    def reach(self, part: float) -> float:
        """Distance in Å at which the most diffuse Gaussian falls to this part of its height, √(-ln(part) / α)."""
        smallest = min(float(radial.exponents.min()) for radials in self.radials for radial in radials)
        return math.sqrt(-math.log(part) / smallest)

    @cached_property
    def shells(self) -> Shells:
        """All primitives as the kernels take them, float64: one shell each, L2-normalised."""
        flat = [radial for radials in self.radials for radial in radials]
        exponents = [torch.as_tensor(r.exponents) for r in flat]
        shell_l = np.concatenate([np.full(len(r.exponents), r.l) for r in flat])
        per_type = [sum(len(r.exponents) for r in radials) for radials in self.radials]
        return Shells(
            shell_ptr=torch.tensor(np.concatenate([[0], np.cumsum(per_type)])),
            shell_l=torch.tensor(shell_l),
            primitive_ptr=torch.arange(len(shell_l) + 1),
            exponents=torch.cat(exponents),
            weights=torch.cat([normalisation(r.l, e) for r, e in zip(flat, exponents, strict=True)]),
        )

    @cached_property
    def radial_functions(self) -> list[list[tuple[Tensor, Tensor]]]:
        """For each type and l exponents [n_primitives] and ``to_primitive`` [n_primitives, n_radial], float64."""
        return [
            [(torch.as_tensor(r.exponents), torch.tensor(r.to_primitive)) for r in radials] for radials in self.radials
        ]

    @cached_property
    def charges(self) -> list[Tensor]:
        """For each type the integrals over space of its l = 0 functions [n_radial], float64."""
        integrals = shell_integrals(self.shells)
        return [
            integrals[start : start + len(functions[0][0])] @ functions[0][1]
            for start, functions in zip(self.shells.shell_ptr.tolist(), self.radial_functions, strict=False)
        ]

    def blocks(self, kind: int, coefficients: Tensor) -> list[Tensor]:
        """Coefficients of sites of one type [n_sites, n] for l = 0, 1, ... as [n_sites, n_radial, 2l + 1]."""
        return split_by_degree(coefficients, [r.n_radial for r in self.radials[kind]])

    def primitives(self, coefficients: list[Tensor], site_type: Tensor, scalings: Tensor | None = None) -> Tensor:
        """Coefficients of ``shells`` [n_coefficients], sites in order, as the kernels take them.

        Args:
            coefficients: coefficients of the orthonormal functions, for each type [n_sites_of_type, n].
            site_type: [n_sites].
            scalings: factors on the exponents of each site [n_sites]; scaled orbitals stay normalised.
        """
        per_type = []
        for kind, c in enumerate(coefficients):
            parts = []
            for l, ((_, to), block) in enumerate(zip(self.radial_functions[kind], self.blocks(kind, c), strict=True)):
                part = (to.to(c) @ block).flatten(1)
                if scalings is not None:
                    part = part * scalings[site_type == kind, None] ** ((l + 1.5) / 2)
                parts.append(part)
            per_type.append(torch.cat(parts, dim=1))
        starts = self.shells.to(site_type.device).coefficient_ptr(site_type)
        flat = per_type[0].new_zeros(int(starts[-1]))
        for kind, c in enumerate(per_type):
            columns = torch.arange(c.shape[1], device=c.device)
            flat = flat.index_add(0, (starts[:-1][site_type == kind][:, None] + columns).flatten(), c.flatten())
        return flat

    def per_type(self, flat: Tensor, site_type: Tensor) -> list[Tensor]:
        """For each type [n_sites_of_type, n], from coefficients of orthonormal functions, sites in order [n]."""
        sizes = torch.tensor(self.sizes, device=flat.device)
        widths = sizes[site_type]
        starts = widths.cumsum(0) - widths
        columns = [torch.arange(size, device=flat.device) for size in self.sizes]
        return [flat[starts[site_type == kind][:, None] + column] for kind, column in enumerate(columns)]

    def index(self, types: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index into ``types`` of each site's type."""
        return np.searchsorted(np.array(self.types), types)

    def to_json(self) -> dict[str, list[list[float]]]:
        """{name of the type: [exponents of l = 0, exponents of l = 1, ...]} in Å⁻²."""
        return {
            type_name(z): [r.exponents.tolist() for r in radials]
            for z, radials in zip(self.types, self.radials, strict=True)
        }

    @classmethod
    def from_json(cls, table: dict[str, Any], *, plain: bool = False) -> Basis:
        entries = sorted((type_from_name(name), shells) for name, shells in table.items())
        return cls(
            tuple(z for z, _ in entries),
            tuple(tuple(Radial(l, np.array(e), plain) for l, e in enumerate(shells)) for _, shells in entries),
        )


def make_basis(types: Iterable[int], config: BasisConfig) -> Basis:
    """The orbitals of all site types: from ``config.table`` where it has them, else even-tempered expansions.

    Raises:
        UserError: PySCF has no such basis for an element, a window of exponents is empty, or the table is malformed.
    """
    given = {_known_type(name): shells for name, shells in config.table.items()}
    table: dict[str, list[list[float]]] = {}
    for kind in types:
        name = type_name(kind)
        if kind in given:
            table[name] = _given(name, given[kind])
        elif kind < BOND:
            table[name] = _even_tempered(name, config.source, config)
        else:
            table[name] = _even_tempered(config.virtual.like, config.source, config.virtual)
    return Basis.from_json(table)


def _known_type(name: str) -> int:
    try:
        return type_from_name(name)
    except KeyError:
        raise UserError(f"option model.basis.table.{name} names no element, 'bond' or pair such as H-C") from None


def _given(name: str, shells: list[list[float]]) -> list[list[float]]:
    if not shells or not all(shells) or not all(0 < e < math.inf for exponents in shells for e in exponents):
        raise UserError(f"option model.basis.table.{name} should hold lists of positive exponents for l = 0, 1, ...")
    return [sorted(exponents) for exponents in shells]


def _even_tempered(symbol: str, source: str, window: BasisConfig | VirtualBasisConfig) -> list[list[float]]:
    """Exponents for l = 0, 1, ... of the even-tempered expansion of a PySCF basis, inside a window."""
    from orbdens.pyscf.bases import even_tempered  # PySCF takes a second to import

    try:
        exponents = even_tempered(symbol, source, window.beta)
    except UserError as error:
        raise UserError(f"{error} (option model.basis.source)") from None
    shells = [
        e[(e >= window.min_exponent) & (e <= window.largest_exponent(l))].tolist()
        for l, e in enumerate(exponents[: window.l_max + 1])
    ]
    if not shells or not all(shells):
        raise UserError(
            f"the window of exponents from {window.min_exponent} to {window.max_exponent} Å⁻² leaves a shell of "
            f"{symbol} empty (options of model.basis)"
        )
    return shells
