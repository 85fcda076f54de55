"""Orbital bases of site types, and the orthonormal radial functions in which the network speaks.

Even-tempered shells of one l overlap strongly, so their coefficients are badly conditioned. Per site type and l the
radial overlap of the primitives is diagonalised, directions below ``DROP`` of the largest eigenvalue are left out, and
``Radial.to_primitive`` [n_primitives, n_radial] turns coefficients of the orthonormal functions into those of the
L2-normalised primitives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from orbdens.config import BasisConfig
from orbdens.errors import UserError
from orbdens.kernels import Shells, normalisation
from orbdens.kernels.metric import blocks
from orbdens.units import BOHR

DROP = 1e-7
"""Smallest eigenvalue of a radial overlap that is kept, relative to the largest."""


@dataclass(frozen=True, eq=False)
class Radial:
    """Radial functions of one site type and l: exponents in Å⁻² [n_primitives], float64."""

    l: int
    exponents: NDArray[np.float64]

    @cached_property
    def to_primitive(self) -> NDArray[np.float64]:
        """[n_primitives, n_radial]; columns are orthonormal functions over L2-normalised primitives.

        Two primitives overlap by (2 √(αβ) / (α + β))^(l + 3/2).
        """
        a = self.exponents
        overlap = (2 * np.sqrt(np.outer(a, a)) / np.add.outer(a, a)) ** (self.l + 1.5)
        values, vectors = np.linalg.eigh(overlap)
        keep = values > DROP * values[-1]
        result: NDArray[np.float64] = vectors[:, keep][:, ::-1] / np.sqrt(values[keep][::-1])
        return result

    @property
    def n_radial(self) -> int:
        return int(self.to_primitive.shape[1])

    @cached_property
    def charges(self) -> NDArray[np.float64]:
        """∫ of each orthonormal function [n_radial]; zero unless l = 0, where a primitive holds N π / (2 α^{3/2})."""
        if self.l > 0:
            return np.zeros(self.n_radial)
        norm = normalisation(0, torch.as_tensor(self.exponents)).numpy()
        # √(4π) from the harmonic times √π / (4 α^{3/2}) from r² e^{-αr²}.
        result: NDArray[np.float64] = (norm * np.pi / (2 * self.exponents**1.5)) @ self.to_primitive
        return result


@dataclass(frozen=True, eq=False)
class Basis:
    """Orbitals of every site type.

    The coefficients of a site are laid out by l, then radial function, then m = -l..l.

    Attributes:
        types: the number of each site type (atomic numbers), ascending.
        radials: for each type one ``Radial`` per l = 0, 1, ...
    """

    types: tuple[int, ...]
    radials: tuple[tuple[Radial, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of orthonormal coefficients of each type."""
        return tuple(sum(r.n_radial * (2 * r.l + 1) for r in radials) for radials in self.radials)

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

    def blocks(self, kind: int, coefficients: Tensor) -> list[Tensor]:
        """Coefficients of sites of one type [n_sites, n] for l = 0, 1, ... as [n_sites, n_radial, 2l + 1]."""
        return blocks(coefficients, [r.n_radial for r in self.radials[kind]])

    def primitives(self, coefficients: list[Tensor], site_type: Tensor) -> Tensor:
        """Coefficients of ``shells`` [n_coefficients], sites in order, as the kernels take them.

        Args:
            coefficients: of the orthonormal functions, for each type [n_sites_of_type, n].
            site_type: [n_sites].
        """
        per_type = []
        for kind, c in enumerate(coefficients):
            pairs = zip(self.radial_functions[kind], self.blocks(kind, c), strict=True)
            per_type.append(torch.cat([(to.to(c) @ block).flatten(1) for (_, to), block in pairs], dim=1))
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
        """{symbol: [exponents of l = 0, exponents of l = 1, ...]} in Å⁻²."""
        return {
            chemical_symbols[z]: [r.exponents.tolist() for r in radials]
            for z, radials in zip(self.types, self.radials, strict=True)
        }

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Basis:
        entries = sorted((atomic_numbers[symbol], shells) for symbol, shells in table.items())
        return cls(
            tuple(z for z, _ in entries),
            tuple(tuple(Radial(l, np.array(e)) for l, e in enumerate(shells)) for _, shells in entries),
        )


def even_tempered(elements: Iterable[int], config: BasisConfig) -> Basis:
    """Expand a PySCF basis into even-tempered density-fitting shells (PySCF's ``aug_etb`` rule).

    For the products of two orbitals of the source basis that add up to l, the exponents run from the smallest sum to
    the largest in the ratio beta.

    Raises:
        UserError: PySCF has no such basis for an element.
    """
    from pyscf.df.addons import _aug_etb_element
    from pyscf.gto import basis as pyscf_basis

    table: dict[str, list[list[float]]] = {}
    for number in elements:
        symbol = chemical_symbols[number]
        try:
            source = pyscf_basis.load(config.source, symbol)
        except Exception:  # PySCF raises several kinds, none of them documented
            raise UserError(f"PySCF has no basis '{config.source}' for {symbol} (option model.basis.source)") from None
        shells: list[list[float]] = []
        for l, count, smallest, ratio in _aug_etb_element(number, source, config.beta):
            exponents = smallest * ratio ** np.arange(count) / BOHR**2
            if l <= config.l_max:
                shells.append(exponents[exponents <= config.max_exponent].tolist())
        if not shells or not all(shells):
            raise UserError(f"model.basis.max_exponent = {config.max_exponent} Å⁻² leaves a shell of {symbol} empty")
        table[symbol] = shells
    return Basis.from_json(table)
