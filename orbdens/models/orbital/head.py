"""From features to coefficients: conditioned on fits of the training data, with the exact number of electrons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbdens.models.basis import Basis
from orbdens.models.electron_count import equilibrium
from orbdens.models.graph import Graph


class Head(nn.Module):
    """Linear maps per site type and l (with a small network on top for l = 0), and the constraint on the charge.

    The network outputs no coefficients but their principal components over the training data: for every
    type and l, coefficients of orthonormal radial functions are ``mean + factor @ h``, where the columns of
    ``factor`` are the eigenvectors of the fits' covariance, scaled by their standard deviations. So every output is of
    order one, unrelated to the others, and at step 0 the density is that of averaged atoms.
    """

    neutral: Tensor

    def __init__(self, basis: Basis, channels: int, neutral: Sequence[float], cutoff: float | None) -> None:
        """
        Args:
            basis: orbitals of every site type.
            channels: features per component.
            neutral: electrons of the neutral atom of each type, zero for virtual sites.
            cutoff: cut-off of the edges along which charge may move, Å; None: anywhere within a structure.
        """
        super().__init__()
        self.basis, self.cutoff = basis, cutoff
        self.register_buffer("neutral", torch.tensor(neutral, dtype=torch.float64), persistent=False)
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

    def forward(self, features: Tensor, graph: Graph, charges: list[Tensor]) -> list[Tensor]:
        """
        Args:
            features: [n_sites, (l_max + 1)², channels].
            graph: the graph of the sites.
            charges: integrals of the l = 0 functions of each site, for each type [n_sites_of_type, n_radial].

        Returns:
            For each type the coefficients of the orthonormal functions [n_sites_of_type, n], sites in their order;
            float64, since single precision would round electrons away.
        """
        coefficients = []
        sites_of_type = [(graph.site_type == kind).nonzero()[:, 0] for kind in range(len(self.basis.radials))]
        for kind, (radials, sites) in enumerate(zip(self.basis.radials, sites_of_type, strict=True)):
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
            coefficients.append(torch.cat(parts, dim=1) * graph.site_weight[sites, None])
        return self._with_electrons(coefficients, sites_of_type, graph, charges)

    def _with_electrons(
        self, coefficients: list[Tensor], sites_of_type: list[Tensor], graph: Graph, charges: list[Tensor]
    ) -> list[Tensor]:
        """Shift l = 0 so that every structure holds its electrons, the likeliest way: along covariance · charge."""
        counts = torch.zeros(len(graph.site_type), dtype=torch.float64, device=graph.site_type.device)
        yields = torch.zeros_like(counts)
        shifts = []
        for kind, (c, sites, charge) in enumerate(zip(coefficients, sites_of_type, charges, strict=True)):
            factor = self.get_buffer(f"factor_{kind}_0").double()
            # The weight enters twice: it scales the charge of a unit change, and the change itself.
            shift = graph.site_weight[sites, None].double() ** 2 * (charge @ factor) @ factor.T
            counts = counts.index_add(0, sites, (c[:, : charge.shape[1]].double() * charge).sum(dim=1))
            yields = yields.index_add(0, sites, (shift * charge).sum(dim=1))
            shifts.append(shift)
        if self.cutoff is None:
            potential = self._common_potential(counts, yields, graph)
        else:
            potential = equilibrium(counts, yields, self.neutral[graph.site_type], graph, self.cutoff)
        return [
            torch.cat([c[:, : shift.shape[1]].double() + potential[sites, None] * shift, c[:, shift.shape[1] :]], dim=1)
            for c, sites, shift in zip(coefficients, sites_of_type, shifts, strict=True)
        ]

    def _common_potential(self, counts: Tensor, yields: Tensor, graph: Graph) -> Tensor:
        """One potential for all sites of a structure, however far apart [n_sites]."""
        total = torch.zeros_like(graph.n_electrons)
        missing = graph.n_electrons - total.index_add(0, graph.structure_of_site, counts)
        return (missing / total.index_add(0, graph.structure_of_site, yields))[graph.structure_of_site]
