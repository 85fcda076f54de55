"""S c over all pairs of sites, each pair in its own frame: what the metrics have in common.

Coefficients are turned into the frame of each pair of sites, where two-centre integrals are diagonal in m (see
``two_centre``), multiplied by them, and turned back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from orbdens.kernels.pairs.two_centre import Metric, pair_integrals
from orbdens.kernels.pairs.wigner import edge_rotations


class PairMetric(ABC):
    """S c for coefficients kept per site type as [n_sites_of_type, n], laid out by l, radial function, m = -l..l.

    Attributes:
        counts: for each type the number of radial functions of l = 0, 1, ...
    """

    counts: list[list[int]]

    @abstractmethod
    def one_site(self, site_type: int, l: int) -> Tensor:
        """Integrals of the radial functions of one site [n, n], equal for all m."""

    @abstractmethod
    def two_sites(self, first: int, second: int, length: Tensor) -> list[Tensor]:
        """Integrals of the radial functions of two types of site at distances ``length`` (Å) [n_pairs].

        Returns:
            For m = 0, 1, ... those with l, l' >= m, in order of l, [n_pairs, n, n'].
        """

    def product(
        self, coefficients: list[Tensor], site_type: Tensor, pair_index: Tensor, pair_vector: Tensor
    ) -> list[Tensor]:
        """S c.

        Args:
            coefficients: for each type [n_sites_of_type, n], sites in their order in ``site_type``.
            site_type: [n_sites].
            pair_index: each pair of sites that meet, once [2, n_pairs].
            pair_vector: from the first site of a pair to the second, Å [n_pairs, 3].

        Returns:
            As ``coefficients``.
        """
        result = []
        l_max = max(map(len, self.counts)) - 1
        row = torch.empty_like(site_type)
        for own_type, c in enumerate(coefficients):
            row[site_type == own_type] = torch.arange(len(c), device=row.device)
            parts = split_by_degree(c, self.counts[own_type])
            products = [self.one_site(own_type, l) @ part for l, part in enumerate(parts)]
            result.append(torch.cat([product.flatten(1) for product in products], dim=1))
        types = site_type[pair_index]
        swap = types[0] > types[1]
        first, second = (torch.where(swap, pair_index[1 - k], pair_index[k]) for k in (0, 1))
        vectors = torch.where(swap[:, None], -pair_vector, pair_vector)
        length = vectors.norm(dim=1)
        # Rows in the order m = 0, +1, -1, +2, ...: those of an m lie together then, and those up to it come first.
        rotations = [turn[:, _by_m(l)] for l, turn in enumerate(edge_rotations(vectors, l_max))]
        for a in range(len(coefficients)):
            for b in range(a, len(coefficients)):
                pairs = ((site_type[first] == a) & (site_type[second] == b)).nonzero()[:, 0]
                if len(pairs) == 0 or 0 in (len(self.counts[a]), len(self.counts[b])):
                    continue
                turn = [rotation[pairs] for rotation in rotations]
                row_a, row_b = row[first[pairs]], row[second[pairs]]
                x = _into_frame(coefficients[a][row_a], turn, self.counts[a])
                y = _into_frame(coefficients[b][row_b], turn, self.counts[b])
                tables = self.two_sites(a, b, length[pairs])
                to_a = [table @ part for table, part in zip(tables, y, strict=False)]
                to_b = [table.transpose(1, 2) @ part for table, part in zip(tables, x, strict=False)]
                result[a] = result[a].index_add(0, row_a, _out_of_frame(to_a, turn, self.counts[a]))
                result[b] = result[b].index_add(0, row_b, _out_of_frame(to_b, turn, self.counts[b]))
        return result


def split_by_degree(coefficients: Tensor, counts: list[int]) -> list[Tensor]:
    """Coefficients of sites of one type for each l = 0, 1, ... [n_sites, n_radial, 2l + 1].

    Args:
        coefficients: laid out by l, radial function, m = -l..l, [n_sites, n].
        counts: number of radial functions of l = 0, 1, ...
    """
    parts = torch.split(coefficients, [n * (2 * l + 1) for l, n in enumerate(counts)], dim=1)
    return [part.reshape(len(part), n, 2 * l + 1) for l, (part, n) in enumerate(zip(parts, counts, strict=True))]


def radial_integrals(
    first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]], distance: Tensor, metric: Metric
) -> list[Tensor]:
    """Two-centre integrals of all radial functions of two types, each given as in ``TabulatedMetric``.

    Returns:
        For m = 0, 1, ... those with l, l' >= m, in order of l, [n_distances, n, n'].
    """
    rows: list[list[Tensor]] = [[] for _ in range(min(len(first), len(second)))]
    for l, (a, to_a) in enumerate(first):
        of_degrees = [
            torch.einsum("rmab,ai,bj->mrij", pair_integrals(l, a, l2, b, distance, metric), to_a, to_b)
            for l2, (b, to_b) in enumerate(second)
        ]
        for m in range(min(l + 1, len(rows))):
            rows[m].append(torch.cat([integrals[m] for integrals in of_degrees[m:]], dim=2))
    return [torch.cat(row, dim=1) for row in rows]


def _by_m(l: int) -> list[int]:
    """Components of l in the order m = 0, +1, -1, +2, ..."""
    return [l, *(l + sign * m for m in range(1, l + 1) for sign in (1, -1))]


def _into_frame(coefficients: Tensor, rotations: list[Tensor], counts: list[int]) -> list[Tensor]:
    """For m = 0, 1, ...: components +m and -m of all radial functions with l >= m, [n_pairs, n, 1 or 2]."""
    parts: list[list[Tensor]] = [[] for _ in counts]
    for l, part in enumerate(split_by_degree(coefficients, counts)):
        turned = part @ rotations[l].transpose(1, 2)
        for m in range(l + 1):
            parts[m].append(turned[:, :, max(0, 2 * m - 1) : 2 * m + 1])
    return [torch.cat(part, dim=1) for part in parts]


def _out_of_frame(parts: list[Tensor], rotations: list[Tensor], counts: list[int]) -> Tensor:
    """The transpose of ``_into_frame``; parts may end at a lower m. [n_pairs, n]."""
    of_degrees = []
    for l, n in enumerate(counts):
        starts = [sum(counts[m:l]) for m in range(min(l + 1, len(parts)))]
        turned = torch.cat([part[:, start : start + n] for part, start in zip(parts, starts, strict=False)], dim=2)
        of_degrees.append((turned @ rotations[l][:, : turned.shape[2]]).flatten(1))
    return torch.cat(of_degrees, dim=1)
