"""From features to coefficients: conditioned on fits of the training data, with the exact number of electrons."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbdens.models.orbital.basis import Basis


class Head(nn.Module):
    """Linear maps per site type and l (with a small network on top for l = 0), and the constraint on the charge.

    The network does not speak in coefficients but in their principal components over the training data: for every
    type and l, coefficients of orthonormal radial functions are ``mean + factor @ h``, where the columns of
    ``factor`` are the eigenvectors of the fits' covariance, scaled by their standard deviations. So every output is of
    order one, unrelated to the others, and at step 0 the density is that of averaged atoms.
    """

    def __init__(self, basis: Basis, channels: int) -> None:
        super().__init__()
        self.basis = basis
        self.linear = nn.ParameterList()
        self.scalar = nn.ModuleList()
        for kind, radials in enumerate(basis.radials):
            width = max(radial.n_radial for radial in radials)
            linear = nn.Parameter(torch.randn(len(radials), channels, width) * (0.1 / math.sqrt(channels)))
            self.linear.append(linear)
            first = nn.Linear(channels, 2 * channels)
            last = nn.Linear(2 * channels, radials[0].n_radial)
            nn.init.normal_(last.weight, std=0.1 / math.sqrt(2 * channels))
            nn.init.zeros_(last.bias)
            self.scalar.append(nn.Sequential(first, nn.SiLU(), last))
            for radial in radials:
                n = radial.n_radial
                self.register_buffer(f"factor_{kind}_{radial.l}", torch.eye(n))
            self.register_buffer(f"mean_{kind}", torch.zeros(radials[0].n_radial))

    def fit_statistics(self, fits: Iterable[tuple[NDArray[np.int64], Tensor]]) -> None:
        """Set means and factors from (type of each site [n_sites], fitted coefficients [n]) of training records."""
        samples: list[list[list[Tensor]]] = [[[] for _ in radials] for radials in self.basis.radials]
        for site_type, flat in fits:
            for kind, sites in enumerate(self.basis.per_type(flat.double(), torch.as_tensor(site_type))):
                for l, block in enumerate(self.basis.blocks(kind, sites)):
                    samples[kind][l].append(block.transpose(0, 1).flatten(1))
        for kind, radials in enumerate(self.basis.radials):
            for radial in radials:
                values = torch.cat(samples[kind][radial.l], dim=1)
                if radial.l == 0:
                    mean = values.mean(dim=1)
                    self.get_buffer(f"mean_{kind}").copy_(mean)
                    values = values - mean[:, None]
                covariance = values @ values.T / values.shape[1]
                # Few samples know no correlations: shrink towards the diagonal.
                known = values.shape[1] / (values.shape[1] + radial.n_radial)
                covariance = known * covariance + (1 - known) * torch.diag(covariance.diagonal())
                # A floor, so that no direction is closed where few records leave no spread.
                floor = 1e-8 + 1e-6 * covariance.diagonal().max()
                spread, directions = torch.linalg.eigh(covariance)
                self.get_buffer(f"factor_{kind}_{radial.l}").copy_(
                    (directions * (spread.clamp(min=0) + floor).sqrt()).flip(1)
                )

    def forward(
        self,
        features: Tensor,
        site_type: Tensor,
        site_weight: Tensor,
        structure_of_site: Tensor,
        n_electrons: Tensor,
        charges: list[Tensor],
    ) -> list[Tensor]:
        """
        Args:
            features: [n_sites, (l_max + 1)², channels].
            site_type: [n_sites].
            site_weight: factor on the coefficients of each site [n_sites].
            structure_of_site: [n_sites].
            n_electrons: [n_structures].
            charges: integrals of the l = 0 functions of each site, for each type [n_sites_of_type, n_radial].

        Returns:
            For each type the coefficients of the orthonormal functions [n_sites_of_type, n], sites in their order.
        """
        coefficients, where, weights = [], [], []
        for kind, radials in enumerate(self.basis.radials):
            sites = (site_type == kind).nonzero()[:, 0]
            x = features[sites]
            parts = []
            for radial in radials:
                l, n = radial.l, radial.n_radial
                rows = x[:, l * l : (l + 1) ** 2]
                out = rows @ self.linear[kind][l, :, :n]
                if l == 0:
                    out = out + self.scalar[kind](x[:, 0])[:, None]
                part = out @ self.get_buffer(f"factor_{kind}_{l}").T
                if l == 0:
                    part = part + self.get_buffer(f"mean_{kind}")
                parts.append(part.transpose(1, 2).flatten(1))
            weights.append(site_weight[sites, None])
            coefficients.append(torch.cat(parts, dim=1) * weights[-1])
            where.append(structure_of_site[sites])
        return self._with_electrons(coefficients, weights, where, n_electrons, charges)

    def _with_electrons(
        self,
        coefficients: list[Tensor],
        weights: list[Tensor],
        where: list[Tensor],
        n_electrons: Tensor,
        charges: list[Tensor],
    ) -> list[Tensor]:
        """Shift l = 0 so that every structure holds its electrons, the likeliest way: along covariance · charge."""
        count = torch.zeros_like(n_electrons, dtype=torch.float64)
        yielded = torch.zeros_like(count)
        shifts = []
        for kind, (c, weight, at, charge) in enumerate(zip(coefficients, weights, where, charges, strict=True)):
            factor = self.get_buffer(f"factor_{kind}_0").double()
            # The weight enters twice: it scales the charge of a unit change, and the change itself.
            shifts.append(weight.double() ** 2 * (charge @ factor) @ factor.T)
            count = count.index_add(0, at, (c[:, : charge.shape[1]].double() * charge).sum(dim=1))
            yielded = yielded.index_add(0, at, (shifts[-1] * charge).sum(dim=1))
        missing = (n_electrons.double() - count) / yielded
        return [
            torch.cat(
                [
                    (c[:, : shift.shape[1]].double() + missing[at, None] * shift).to(c.dtype),
                    c[:, shift.shape[1] :],
                ],
                dim=1,
            )
            for c, at, shift in zip(coefficients, where, shifts, strict=True)
        ]
