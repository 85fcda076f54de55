"""Shell tables: which Gaussian orbitals sit on which type of site, and how their coefficients are laid out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orbdens.kernels.checks import check_pointers, check_shape
from orbdens.kernels.harmonics import L_LIMIT


@dataclass(frozen=True)
class Shells:
    """Gaussian shells of each site type (for example of each element).

    A shell of angular momentum l on a site at R is the 2l+1 orbitals
    ``chi_m(r) = S_lm(r - R) * sum_p weights[p] * exp(-exponents[p] * |r - R|^2)``, m = -l..l.
    The coefficients of a structure are laid out as: sites in order, in each site the shells of its type in
    order, in each shell m = -l..l.

    Attributes:
        shell_ptr: int64 [n_types + 1], the shells of type t are ``shell_ptr[t]:shell_ptr[t + 1]``.
        shell_l: int64 [n_shells], angular momentum of each shell.
        primitive_ptr: int64 [n_shells + 1], the primitives of each shell.
        exponents: float [n_primitives], in 1/Å².
        weights: float [n_primitives], contraction coefficient times normalisation.
    """

    shell_ptr: Tensor
    shell_l: Tensor
    primitive_ptr: Tensor
    exponents: Tensor
    weights: Tensor

    @property
    def n_types(self) -> int:
        """Number of site types."""
        return self.shell_ptr.numel() - 1

    def coefficients_of_type(self) -> Tensor:
        """Number of coefficients of one site of each type, int64 [n_types]."""
        ends = torch.zeros(self.shell_l.numel() + 1, dtype=torch.int64, device=self.shell_l.device)
        ends[1:] = torch.cumsum(2 * self.shell_l + 1, 0)
        return ends[self.shell_ptr[1:]] - ends[self.shell_ptr[:-1]]

    def coefficient_ptr(self, site_type: Tensor) -> Tensor:
        """First coefficient of each site and, last, their number: int64 [n_sites + 1], from site_type [n_sites]."""
        ptr = torch.zeros(site_type.numel() + 1, dtype=torch.int64, device=site_type.device)
        ptr[1:] = torch.cumsum(self.coefficients_of_type()[site_type], 0)
        return ptr

    def n_coefficients(self, site_type: Tensor) -> int:
        """Number of coefficients of the sites of the given types, int64 [n_sites]."""
        return int(self.coefficients_of_type()[site_type].sum())

    def check(self) -> None:
        """Raise ValueError, naming the attribute, where pointers, angular momenta or exponents cannot be right."""
        check_pointers("shell_ptr", self.shell_ptr, self.shell_l.shape[0])
        check_pointers("primitive_ptr", self.primitive_ptr, self.exponents.shape[0])
        if bool((self.primitive_ptr.diff() == 0).any()):
            raise ValueError("primitive_ptr: every shell needs at least one primitive")
        if self.shell_l.numel() and not 0 <= int(self.shell_l.min()) <= int(self.shell_l.max()) <= L_LIMIT:
            raise ValueError(f"shell_l: expected angular momenta from 0 to {L_LIMIT}, got {self.shell_l.tolist()}")
        check_shape("exponents", self.exponents, "n_primitives")
        check_shape("weights", self.weights, self.exponents.shape[0])
        if bool((self.exponents <= 0).any()):
            raise ValueError("exponents: expected numbers above 0, in 1/Å²")

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Shells:
        """The same table elsewhere; ``dtype`` applies to exponents and weights only."""
        return Shells(
            self.shell_ptr.to(device),
            self.shell_l.to(device),
            self.primitive_ptr.to(device),
            self.exponents.to(device, dtype),
            self.weights.to(device, dtype),
        )

    def with_radial(self, exponents: Tensor, weights: Tensor) -> Shells:
        """The same shells with other exponents [n_primitives] (1/Å²) and weights [n_primitives]."""
        return replace(self, exponents=exponents, weights=weights)

    def per_site(self, site_type: Tensor, scalings: Tensor | None = None) -> Shells:
        """A table in which every site is a type of its own, with its exponents scaled.

        Args:
            site_type: int64 [n_sites].
            scalings: factors on all exponents of each site [n_sites], or None; weights stay as they are.
        """

        def picked(ptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            """Members of the chosen rows of a ragged table, and the pointers of the table they make up."""
            lengths = (ptr[1:] - ptr[:-1])[rows]
            ends = torch.cat([lengths.new_zeros(1), torch.cumsum(lengths, 0)])
            members = torch.arange(int(ends[-1]), device=ptr.device) + torch.repeat_interleave(
                ptr[rows] - ends[:-1], lengths
            )
            return members, ends

        shells, shell_ptr = picked(self.shell_ptr, site_type)
        primitives, primitive_ptr = picked(self.primitive_ptr, shells)
        exponents = self.exponents[primitives]
        if scalings is not None:
            per_site = primitive_ptr[shell_ptr].diff()
            exponents = exponents * torch.repeat_interleave(scalings.to(exponents), per_site)
        return Shells(shell_ptr, self.shell_l[shells], primitive_ptr, exponents, self.weights[primitives])

    @classmethod
    def from_lists(
        cls,
        types: Sequence[Sequence[tuple[int, Sequence[float], Sequence[float]]]],
        dtype: torch.dtype = torch.float64,
    ) -> Shells:
        """Build a table from ``types[type] = [(l, exponents in 1/Å², contraction coefficients), ...]``.

        Weights become contraction coefficient times ``normalisation(l, exponent)``; the contracted shell as a whole
        is not normalised again.
        """
        shells = [shell for shells_of_type in types for shell in shells_of_type]
        counts = torch.tensor([0] + [len(shells_of_type) for shells_of_type in types])
        lengths = torch.tensor([0] + [len(exponents) for _, exponents, _ in shells])
        shell_l = torch.tensor([l for l, _, _ in shells], dtype=torch.int64)
        exponents = torch.tensor([a for _, exponents, _ in shells for a in exponents], dtype=dtype)
        factors = torch.tensor([c for _, _, contraction in shells for c in contraction], dtype=dtype)
        l_of_primitive = torch.repeat_interleave(shell_l, lengths[1:])
        weights = factors * normalisation(l_of_primitive, exponents)
        return cls(torch.cumsum(counts, 0), shell_l, torch.cumsum(lengths, 0), exponents, weights)


def normalisation(l: Tensor | int, exponents: Tensor) -> Tensor:
    """Factor N that makes N * S_lm(r) * exp(-a r²) square-integrate to one; differentiable in the exponents.

    N² = 2 (2a)^(l + 3/2) / Gamma(l + 3/2), from the radial integral of r^(2l+2) exp(-2 a r²).

    Args:
        l: angular momentum, one number or an integer tensor of the shape of ``exponents``.
        exponents: [...], in 1/Å².

    Returns:
        [...], in Å^-(l + 3/2).
    """
    power = torch.as_tensor(l, device=exponents.device).to(exponents.dtype) + 1.5
    return torch.exp(0.5 * (math.log(2.0) + power * torch.log(2.0 * exponents) - torch.lgamma(power)))
