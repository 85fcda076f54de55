"""Overlap metric of Gaussian orbitals, without a grid and without an overlap matrix.

Turned into the frame of a pair of sites, two-centre overlaps are diagonal in m and depend on the distance R alone.
With Fourier transforms of the orbitals and the plane-wave expansion, for L2-normalised orbitals (l, α) at the origin
and (l', β) at R ẑ,

    S_m(R) = Σ_L (-1)^((l - l' - L)/2) √(4π (2L+1)) G_m(l, l', L) N ∫ k^(l+l'+2) exp(-γk²) j_L(kR) dk,
    γ = 1/4α + 1/4β,   G_m = ∫ Y_lm Y_l'm Y_L0 dΩ,

where, with 2n = l + l' - L,

    ∫ k^(2n+L+2) exp(-γk²) j_L(kR) dk = √π n! / 2^(L+2) · R^L γ^-(L+n+3/2) exp(-R²/4γ) L_n^(L+1/2)(R²/4γ).

(Gradshteyn & Ryzhik 6.631; the same route as Talman, J. Chem. Phys. 80, 2000 (1984).)
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels.wigner import edge_rotations


@lru_cache
def _gaunt(l: int, l2: int, order: int, m: int) -> float:
    """∫ Y_lm Y_l'm Y_L0 dΩ of real harmonics."""
    from scipy.special import sph_legendre_p

    x, w = np.polynomial.legendre.leggauss(l + l2 + order + 2)
    theta = np.arccos(x)
    product = sph_legendre_p(l, m, theta) * sph_legendre_p(l2, m, theta) * sph_legendre_p(order, 0, theta)
    return float(2 * np.pi * (w * product).sum())


def _laguerre(n: int, a: float, x: Tensor) -> Tensor:
    before, now = torch.zeros_like(x), torch.ones_like(x)
    for k in range(n):
        before, now = now, ((2 * k + 1 + a - x) * now - (k + a) * before) / (k + 1)
    return now


def _double_factorial(n: int) -> float:
    return float(math.prod(range(n, 0, -2)))


def pair_overlap(l: int, exponents: Tensor, l2: int, exponents2: Tensor, distance: Tensor) -> Tensor:
    """Overlaps of L2-normalised primitive orbitals of two sites in the frame of the pair.

    Args:
        l, l2: angular momenta at the first site (origin) and the second (on the positive z axis).
        exponents, exponents2: Å⁻² [n], [n2].
        distance: Å [n_distances].

    Returns:
        [n_distances, min(l, l2) + 1, n, n2] for m = 0, 1, ...; the overlap of -m is that of m.
    """
    a, b = exponents[:, None], exponents2[None, :]
    gamma = 1 / (4 * a) + 1 / (4 * b)
    r = distance[:, None, None]
    x = r * r / (4 * gamma)
    # N: 4π times the k-space radial factors √π / (2^(l+2) α^(l+3/2)) of both, over (2π)³, times the norms in r-space.
    scale = 16 * math.pi**2 / (8 * math.pi**3)
    for power, alpha in ((l, a), (l2, b)):
        norm = torch.sqrt(
            2 ** (2 * power + 3.5) * alpha ** (power + 1.5) / _double_factorial(2 * power + 1) / math.pi**0.5
        )
        scale = scale * norm * math.pi**0.5 / 2 ** (power + 2) / alpha ** (power + 1.5)
    gauss = scale * torch.exp(-x)
    result = torch.zeros(len(distance), min(l, l2) + 1, len(exponents), len(exponents2)).to(distance)
    for order in range(abs(l - l2), l + l2 + 1, 2):
        n = (l + l2 - order) // 2
        radial = (
            math.sqrt(math.pi) * math.factorial(n) / 2 ** (order + 2) * r**order * gamma ** -(order + n + 1.5)
        ) * (gauss * _laguerre(n, order + 0.5, x))
        phase = (-1) ** ((l - l2 - order) // 2) * math.sqrt(4 * math.pi * (2 * order + 1))
        for m in range(min(l, l2) + 1):
            result[:, m] += phase * _gaunt(l, l2, order, m) * radial
    return result


class OverlapMetric:
    """Squared L2 norms of densities given by coefficients of radially orthonormal orbitals.

    Overlaps of two sites are interpolated (cubic, spacing ``STEP``) in tables of the closed form, one table per pair of
    types and m; for orthonormal radial functions the one-site part is the identity.

    Args:
        radials: for each site type, for l = 0, 1, ...: exponents in Å⁻² [n_primitives] and the coefficients of the
            orthonormal functions over L2-normalised primitives [n_primitives, n_radial], both float64.
        reach: Å; sites farther apart are taken not to overlap.
    """

    STEP = 0.025

    def __init__(self, radials: list[list[tuple[Tensor, Tensor]]], reach: float) -> None:
        self.reach = reach
        self.counts = [[transform.shape[1] for _, transform in one] for one in radials]
        self._tables: dict[tuple[int, int], list[Tensor]] = {}
        distance = torch.arange(-1, math.ceil(reach / self.STEP) + 3, dtype=torch.float64) * self.STEP
        for first in range(len(radials)):
            for second in range(first, len(radials)):
                tables = _pair_tables(radials[first], radials[second], distance)
                self._tables[first, second] = [table.float() for table in tables]

    def to(self, device: torch.device) -> OverlapMetric:
        """Move the tables, in place."""
        for pair, tables in self._tables.items():
            self._tables[pair] = [table.to(device) for table in tables]
        return self

    def __call__(
        self,
        coefficients: list[Tensor],
        site_type: Tensor,
        pair_index: Tensor,
        pair_vector: Tensor,
        structure_of_site: Tensor,
        n_structures: int,
    ) -> Tensor:
        """Σ c S c of each structure.

        Args:
            coefficients: for each type [n_sites_of_type, n_coefficients], sites in their order in the batch;
                layout l, radial function, m = -l..l.
            site_type: [n_sites].
            pair_index: each pair of sites once [2, n_pairs].
            pair_vector: from the first site of a pair to the second, Å [n_pairs, 3].
            structure_of_site: [n_sites].
            n_structures: structures in the batch.

        Returns:
            [n_structures], in (e/Å³)² Å³ if the coefficients give e/Å³.
        """
        total = coefficients[0].new_zeros(n_structures)
        row = torch.empty_like(site_type)
        for kind, one in enumerate(coefficients):
            sites = (site_type == kind).nonzero()[:, 0]
            row[sites] = torch.arange(len(sites), device=row.device)
            total = total.index_add(0, structure_of_site[sites], one.square().sum(dim=1))
        length = pair_vector.norm(dim=1)
        near = (length < self.reach).nonzero()[:, 0]
        pair_index, pair_vector, length = pair_index[:, near], pair_vector[near], length[near]
        types = site_type[pair_index]
        swap = types[0] > types[1]
        first, second = (torch.where(swap, pair_index[1 - k], pair_index[k]) for k in (0, 1))
        rotations = edge_rotations(
            torch.where(swap[:, None], -pair_vector, pair_vector), max(map(len, self.counts)) - 1
        )
        for a in range(len(coefficients)):
            for b in range(a, len(coefficients)):
                pairs = ((site_type[first] == a) & (site_type[second] == b)).nonzero()[:, 0]
                if len(pairs) == 0:
                    continue
                turn = [rotation[pairs] for rotation in rotations]
                left = self._in_frame(coefficients[a][row[first[pairs]]], turn, self.counts[a])
                right = self._in_frame(coefficients[b][row[second[pairs]]], turn, self.counts[b])
                at = length[pairs] / self.STEP
                shared = torch.zeros_like(at)
                for m, (x, y) in enumerate(zip(left, right, strict=False)):
                    table = self._table(a, b, m, at, x.shape[1], y.shape[1])
                    shared = shared + (x * (table @ y)).sum(dim=(1, 2))
                total = total.index_add(0, structure_of_site[first[pairs]], 2 * shared)
        return total

    def _in_frame(self, coefficients: Tensor, rotations: list[Tensor], counts: list[int]) -> list[Tensor]:
        """For m = 0, 1, ...: components +m and -m of all radial functions with l >= m, [n_pairs, n, 1 or 2]."""
        parts: list[list[Tensor]] = [[] for _ in counts]
        start = 0
        for l, n in enumerate(counts):
            block = coefficients[:, start : start + n * (2 * l + 1)].reshape(-1, n, 2 * l + 1)
            start += n * (2 * l + 1)
            turned = block @ rotations[l].transpose(1, 2)
            for m in range(l + 1):
                parts[m].append(turned[:, :, [l + m, l - m] if m else [l]])
        return [torch.cat(part, dim=1) for part in parts]

    def _table(self, a: int, b: int, m: int, at: Tensor, rows: int, columns: int) -> Tensor:
        """Four-point Lagrange interpolation of a table at distances in units of STEP, [n_pairs, rows, columns]."""
        table = self._tables[a, b][m]
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
        values = torch.nn.functional.embedding_bag(nodes, table, per_sample_weights=weights.to(table.dtype), mode="sum")
        return values.reshape(-1, rows, columns)


def _pair_tables(
    first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]], distance: Tensor
) -> list[Tensor]:
    """For m = 0, 1, ...: overlaps of all radial functions with l, l' >= m, [n_distances, n · n']."""
    rows: list[list[Tensor]] = [[] for _ in range(min(len(first), len(second)))]
    for l, (a, to_a) in enumerate(first):
        blocks = [
            torch.einsum("rmab,ai,bj->mrij", pair_overlap(l, a, l2, b, distance), to_a, to_b)
            for l2, (b, to_b) in enumerate(second)
        ]
        for m in range(min(l + 1, len(rows))):
            rows[m].append(torch.cat([block[m] for block in blocks[m:]], dim=2))
    return [torch.cat(row, dim=1).flatten(1) for row in rows]
