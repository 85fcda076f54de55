"""The overlap and the Coulomb metric of densities: S c and c S c over all pairs of sites, without a grid or a matrix S.

Coefficients are turned into the frame of each pair of sites, where two-centre integrals are diagonal in m (see
``two_centre``), multiplied by them, and turned back. ``metric_product`` evaluates the closed forms and is
differentiable in everything; ``TabulatedMetric`` interpolates them in tables made once for fixed exponents.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from orbdens.kernels.pairs.two_centre import Kind, pair_integrals
from orbdens.kernels.pairs.wigner import edge_rotations
from orbdens.kernels.shells import Shells, normalisation


class _PairMetric(ABC):
    """S c for coefficients kept per site type as [n_sites_of_type, n], laid out by l, radial function, m = -l..l.

    Attributes:
        counts: for each type the number of radial functions of l = 0, 1, ...
    """

    counts: list[list[int]]

    @abstractmethod
    def _one_site(self, kind: int, l: int) -> Tensor:
        """Integrals of the radial functions of one site [n, n], equal for all m."""

    @abstractmethod
    def _two_sites(self, first: int, second: int, length: Tensor) -> list[Tensor]:
        """For m = 0, 1, ...: integrals [n_pairs, n, n'] of radial functions with l, l' >= m, in order of l."""

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
        row = torch.empty_like(site_type)
        for kind, c in enumerate(coefficients):
            row[site_type == kind] = torch.arange(len(c), device=row.device)
            parts = [self._one_site(kind, l) @ block for l, block in enumerate(blocks(c, self.counts[kind]))]
            result.append(torch.cat([part.flatten(1) for part in parts], dim=1))
        types = site_type[pair_index]
        swap = types[0] > types[1]
        first, second = (torch.where(swap, pair_index[1 - k], pair_index[k]) for k in (0, 1))
        vectors = torch.where(swap[:, None], -pair_vector, pair_vector)
        length = vectors.norm(dim=1)
        rotations = edge_rotations(vectors, max(map(len, self.counts)) - 1)
        for a in range(len(coefficients)):
            for b in range(a, len(coefficients)):
                pairs = ((site_type[first] == a) & (site_type[second] == b)).nonzero()[:, 0]
                if len(pairs) == 0 or 0 in (len(self.counts[a]), len(self.counts[b])):
                    continue
                turn = [rotation[pairs] for rotation in rotations]
                row_a, row_b = row[first[pairs]], row[second[pairs]]
                x = _into_frame(coefficients[a][row_a], turn, self.counts[a])
                y = _into_frame(coefficients[b][row_b], turn, self.counts[b])
                tables = self._two_sites(a, b, length[pairs])
                to_a = [table @ part for table, part in zip(tables, y, strict=False)]
                to_b = [table.transpose(1, 2) @ part for table, part in zip(tables, x, strict=False)]
                result[a] = result[a].index_add(0, row_a, _out_of_frame(to_a, turn, self.counts[a]))
                result[b] = result[b].index_add(0, row_b, _out_of_frame(to_b, turn, self.counts[b]))
        return result


class TabulatedMetric(_PairMetric):
    """A metric for fixed exponents: four-point Lagrange interpolation, spacing ``STEP``, of tables of the closed form.

    Args:
        radials: for each site type, for l = 0, 1, ...: exponents in Å⁻² [n_primitives] and the coefficients of the
            radial functions over L2-normalised primitives [n_primitives, n_radial], both float64.
        reach: Å; length of the tables.
        kind: ``overlap`` or ``coulomb``.
    """

    STEP = 0.025

    def __init__(self, radials: list[list[tuple[Tensor, Tensor]]], reach: float, kind: Kind = "overlap") -> None:
        self.reach = reach
        self.counts = [[transform.shape[1] for _, transform in one] for one in radials]
        self._own: list[list[Tensor]] = [
            [
                (to.T @ pair_integrals(l, e, l, e, torch.zeros(1, dtype=e.dtype), kind)[0, 0] @ to).float()
                for l, (e, to) in enumerate(one)
            ]
            for one in radials
        ]
        distance = torch.arange(-1, math.ceil(reach / self.STEP) + 3, dtype=torch.float64) * self.STEP
        self._tables: dict[tuple[int, int], list[Tensor]] = {}
        for first in range(len(radials)):
            for second in range(first, len(radials)):
                tables = _all_m(radials[first], radials[second], distance, kind)
                self._tables[first, second] = [table.float() for table in tables]

    def to(self, device: torch.device) -> TabulatedMetric:
        """Move the tables, in place."""
        self._own = [[own.to(device) for own in one] for one in self._own]
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
        for kind, (c, product) in enumerate(zip(coefficients, products, strict=True)):
            # c S c has the value of c·p and the gradient of 2 c·p for the constant p = S c.
            terms = 2 * (c * product) - (c.detach() * product)
            total = total.index_add(0, structure_of_site[site_type == kind], terms.sum(dim=1))
        return total

    def _one_site(self, kind: int, l: int) -> Tensor:
        return self._own[kind][l]

    def _two_sites(self, first: int, second: int, length: Tensor) -> list[Tensor]:
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


class _ClosedForm(_PairMetric):
    """The metric over the primitives of a table of shells."""

    def __init__(self, exponents: list[list[Tensor]], kind: Kind) -> None:
        self.exponents = exponents
        self.counts = [[len(e) for e in one] for one in exponents]
        self.kind = kind

    def _one_site(self, kind: int, l: int) -> Tensor:
        e = self.exponents[kind][l]
        return pair_integrals(l, e, l, e, e.new_zeros(1), self.kind)[0, 0]

    def _two_sites(self, first: int, second: int, length: Tensor) -> list[Tensor]:
        own = [[(e, torch.eye(len(e)).to(e)) for e in self.exponents[kind]] for kind in (first, second)]
        return _all_m(own[0], own[1], length, self.kind)


def metric_product(
    site_positions: Tensor,
    site_type: Tensor,
    site_ptr: Tensor,
    shells: Shells,
    coefficients: Tensor,
    *,
    kind: Kind = "overlap",
) -> Tensor:
    """S c with S_kl = ⟨χ_k|χ_l⟩ or ∫∫ χ_k(r) χ_l(r') / |r - r'| over the orbitals of each structure.

    Differentiable in positions, exponents, weights and coefficients. Memory grows with pairs of sites times pairs of
    primitives.

    Args:
        site_positions: Å [n_sites, 3], no two of a structure on one spot.
        site_type: int64 [n_sites].
        site_ptr: int64 [n_structures + 1].
        shells: orbitals of each type.
        coefficients: [n_coefficients], laid out as in ``orbital_fields``.
        kind: ``overlap`` or ``coulomb``.

    Returns:
        [n_coefficients]; ``c @ metric_product(...)`` is ∫ρ² in e²/Å³ or the Coulomb self-interaction ∫∫ρρ'/|r-r'|
        in e²/Å (half of it times 14.3996 eV·Å is the Hartree energy in eV).
    """
    columns, transforms, exponents = _by_degree(shells)
    starts = shells.coefficient_ptr(site_type)[:-1]
    per_type = []
    for kind_, (column, transform) in enumerate(zip(columns, transforms, strict=True)):
        mine = starts[site_type == kind_]
        parts = [
            to @ coefficients[mine[:, None, None] + at]  # [n_sites, n_primitives, 2l + 1]
            for at, to in zip(column, transform, strict=True)
        ]
        per_type.append(torch.cat([part.flatten(1) for part in parts], dim=1))
    pairs = torch.cat(
        [
            torch.triu_indices(int(n), int(n), 1, device=site_ptr.device) + begin
            for begin, n in zip(site_ptr[:-1], site_ptr.diff(), strict=True)
        ],
        dim=1,
    )
    vectors = site_positions[pairs[1]] - site_positions[pairs[0]]
    products = _ClosedForm(exponents, kind).product(per_type, site_type, pairs, vectors)
    result = torch.zeros_like(coefficients)
    for kind_, (column, transform) in enumerate(zip(columns, transforms, strict=True)):
        mine = starts[site_type == kind_]
        counts = [to.shape[0] for to in transform]
        for at, to, block in zip(column, transform, blocks(products[kind_], counts), strict=True):
            result = result.index_add(0, (mine[:, None, None] + at).flatten(), (to.T @ block).flatten())
    return result


def _by_degree(shells: Shells) -> tuple[list[list[Tensor]], list[list[Tensor]], list[list[Tensor]]]:
    """For each type and l: where its coefficients are [n_shells, 2l + 1], the matrix to L2-normalised primitives
    [n_primitives, n_shells], and their exponents [n_primitives]."""
    columns: list[list[Tensor]] = []
    transforms: list[list[Tensor]] = []
    exponents: list[list[Tensor]] = []
    for kind in range(shells.n_types):
        mine = range(int(shells.shell_ptr[kind]), int(shells.shell_ptr[kind + 1]))
        degrees = [int(shells.shell_l[s]) for s in mine]
        columns.append([])
        transforms.append([])
        exponents.append([])
        for l in range(max(degrees, default=-1) + 1):
            starts = [sum(2 * d + 1 for d in degrees[:i]) for i, d in enumerate(degrees) if d == l]
            ranges = [
                range(int(shells.primitive_ptr[s]), int(shells.primitive_ptr[s + 1]))
                for s, d in zip(mine, degrees, strict=True)
                if d == l
            ]
            primitives = torch.tensor([p for r in ranges for p in r], dtype=torch.int64, device=shells.exponents.device)
            own = shells.exponents[primitives]
            values = shells.weights[primitives] / normalisation(l, own)
            shell_of = torch.tensor([i for i, r in enumerate(ranges) for _ in r], dtype=torch.int64).to(primitives)
            pick = (shell_of[:, None] == torch.arange(len(ranges), device=shell_of.device)).to(values)
            columns[-1].append((torch.tensor(starts)[:, None] + torch.arange(2 * l + 1)).to(primitives))
            transforms[-1].append(pick * values[:, None])
            exponents[-1].append(own)
    return columns, transforms, exponents


def blocks(coefficients: Tensor, counts: list[int]) -> list[Tensor]:
    """Coefficients [n_sites, n] of l = 0, 1, ... as [n_sites, n_radial, 2l + 1]."""
    parts = torch.split(coefficients, [n * (2 * l + 1) for l, n in enumerate(counts)], dim=1)
    return [part.reshape(len(part), n, 2 * l + 1) for l, (part, n) in enumerate(zip(parts, counts, strict=True))]


def _into_frame(coefficients: Tensor, rotations: list[Tensor], counts: list[int]) -> list[Tensor]:
    """For m = 0, 1, ...: components +m and -m of all radial functions with l >= m, [n_pairs, n, 1 or 2]."""
    parts: list[list[Tensor]] = [[] for _ in counts]
    for l, block in enumerate(blocks(coefficients, counts)):
        turned = block @ rotations[l].transpose(1, 2)
        for m in range(l + 1):
            parts[m].append(turned[:, :, [l + m, l - m] if m else [l]])
    return [torch.cat(part, dim=1) for part in parts]


def _out_of_frame(parts: list[Tensor], rotations: list[Tensor], counts: list[int]) -> Tensor:
    """The transpose of ``_into_frame``; parts may end at a lower m. [n_pairs, n]."""
    blocks = []
    for l, n in enumerate(counts):
        turned = parts[0].new_zeros(len(parts[0]), n, 2 * l + 1)
        columns: list[int] = []
        pieces: list[Tensor] = []
        for m in range(min(l + 1, len(parts))):
            start = sum(counts[m:l])
            pieces.append(parts[m][:, start : start + n])
            columns += [l + m, l - m] if m else [l]
        turned = turned.index_copy(2, torch.tensor(columns, device=turned.device), torch.cat(pieces, dim=2))
        blocks.append((turned @ rotations[l]).flatten(1))
    return torch.cat(blocks, dim=1)


def _all_m(
    first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]], distance: Tensor, kind: Kind
) -> list[Tensor]:
    """For m = 0, 1, ...: integrals of all radial functions with l, l' >= m, [n_distances, n, n']."""
    rows: list[list[Tensor]] = [[] for _ in range(min(len(first), len(second)))]
    for l, (a, to_a) in enumerate(first):
        blocks = [
            torch.einsum("rmab,ai,bj->mrij", pair_integrals(l, a, l2, b, distance, kind), to_a, to_b)
            for l2, (b, to_b) in enumerate(second)
        ]
        for m in range(min(l + 1, len(rows))):
            rows[m].append(torch.cat([block[m] for block in blocks[m:]], dim=2))
    return [torch.cat(row, dim=1) for row in rows]
