"""A metric of fixed radial functions, interpolated in tables: what training uses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orbdens.kernels.pairs.pair_metric import PairMetric, radial_integrals
from orbdens.kernels.pairs.two_centre import Metric, pair_integrals


class TabulatedMetric(PairMetric):
    """A metric for fixed exponents: four-point Lagrange interpolation, spacing ``STEP``, of tables of the closed form.

    Args:
        radials: for each site type, for l = 0, 1, ...: exponents in Å⁻² [n_primitives] and the coefficients of the
            radial functions over L2-normalised primitives [n_primitives, n_radial], both float64.
        reach: Å; length of the tables.
        metric: ``overlap`` or ``coulomb``.
    """

    STEP = 0.025

    def __init__(self, radials: list[list[tuple[Tensor, Tensor]]], reach: float, metric: Metric = "overlap") -> None:
        self.reach = reach
        self.counts = [[transform.shape[1] for _, transform in one] for one in radials]
        self._one_site: list[list[Tensor]] = [
            [
                (to.T @ pair_integrals(l, e, l, e, torch.zeros(1, dtype=e.dtype), metric)[0, 0] @ to).float()
                for l, (e, to) in enumerate(one)
            ]
            for one in radials
        ]
        distance = torch.arange(-1, math.ceil(reach / self.STEP) + 3, dtype=torch.float64) * self.STEP
        self._tables: dict[tuple[int, int], list[Tensor]] = {}
        for first in range(len(radials)):
            for second in range(first, len(radials)):
                tables = radial_integrals(radials[first], radials[second], distance, metric)
                self._tables[first, second] = [table.float() for table in tables]

    def to(self, device: torch.device) -> TabulatedMetric:
        """Move the tables, in place."""
        self._one_site = [[block.to(device) for block in one] for one in self._one_site]
        for pair, tables in self._tables.items():
            self._tables[pair] = [table.to(device) for table in tables]
        return self

    def square(
        self,
        coefficients: list[Tensor],
        site_type: Tensor,
        pair_index: Tensor,
        pair_vector: Tensor,
        structure_of_site: Tensor,
        n_structures: int,
    ) -> Tensor:
        """c S c of each structure [n_structures]; arguments as ``product``, structure_of_site [n_sites].

        Pairs farther apart than the reach are left out.
        """
        near = (pair_vector.norm(dim=1) < self.reach).nonzero()[:, 0]
        with torch.no_grad():
            products = self.product(
                [c.detach() for c in coefficients], site_type, pair_index[:, near], pair_vector[near]
            )
        total = coefficients[0].new_zeros(n_structures)
        for own_type, (c, product) in enumerate(zip(coefficients, products, strict=True)):
            # c S c has the value of c·p and the gradient of 2 c·p for the constant p = S c.
            terms = 2 * (c * product) - (c.detach() * product)
            total = total.index_add(0, structure_of_site[site_type == own_type], terms.sum(dim=1))
        return total

    def one_site(self, site_type: int, l: int) -> Tensor:
        return self._one_site[site_type][l]

    def two_sites(self, first: int, second: int, length: Tensor) -> list[Tensor]:
        at = length / self.STEP
        node = at.floor().long()
        u = at - node
        weights = torch.stack(
            [
                -u * (u - 1) * (u - 2) / 6,
                (u + 1) * (u - 1) * (u - 2) / 2,
                -(u + 1) * u * (u - 2) / 2,
                (u + 1) * u * (u - 1) / 6,
            ],
            dim=1,
        )
        nodes = node[:, None] + torch.arange(4, device=at.device)
        return [
            torch.nn.functional.embedding_bag(
                nodes, table.flatten(1), per_sample_weights=weights.to(table.dtype), mode="sum"
            ).reshape(-1, *table.shape[1:])
            for table in self._tables[first, second]
        ]
