"""The overlap and the Coulomb metric in closed form, differentiable: the definition that ``TabulatedMetric`` meets."""

from __future__ import annotations

import torch
from torch import Tensor

from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.pairs.pair_metric import PairMetric, radial_integrals, split_by_degree
from orbdens.kernels.pairs.two_centre import Metric, pair_integrals
from orbdens.kernels.shells import Shells, normalisation


class _ClosedForm(PairMetric):
    """The metric over L2-normalised primitives, whose exponents are given for each type and l [n_primitives]."""

    def __init__(self, exponents: list[list[Tensor]], metric: Metric) -> None:
        self.exponents = exponents
        self.counts = [[len(e) for e in one] for one in exponents]
        self.metric = metric

    def one_site(self, site_type: int, l: int) -> Tensor:
        e = self.exponents[site_type][l]
        return pair_integrals(l, e, l, e, e.new_zeros(1), self.metric)[0, 0]

    def two_sites(self, first: int, second: int, length: Tensor) -> list[Tensor]:
        radials = [[(e, torch.eye(len(e)).to(e)) for e in self.exponents[site_type]] for site_type in (first, second)]
        return radial_integrals(radials[0], radials[1], length, self.metric)


def metric_product(orbitals: Orbitals, metric: Metric = "overlap") -> Tensor:
    """S c with S_kl = ⟨χ_k|χ_l⟩ or ∫∫ χ_k(r) χ_l(r') / |r - r'| over the orbitals of each structure.

    Differentiable in positions, exponents, weights and coefficients. Memory grows with pairs of sites times pairs of
    primitives. The orbitals reach everywhere: a cut-off has no part in it.

    Args:
        orbitals: without cells and scalings, no two sites of a structure on one spot.
        metric: ``overlap`` or ``coulomb``.

    Returns:
        [n_coefficients, K]; ``(c * metric_product(...)).sum(0)`` is ∫ρ² in e²/Å³ or the Coulomb self-interaction
        ∫∫ρρ'/|r-r'| in e²/Å (half of it times 14.3996 eV·Å is the Hartree energy in eV).

    Raises:
        ValueError: the orbitals have cells or scalings.
    """
    if orbitals.cells is not None or orbitals.scalings is not None:
        raise ValueError("orbitals: the metric takes none with cells or scalings")
    site_type, site_ptr, positions = orbitals.site_type, orbitals.site_ptr, orbitals.site_positions
    pairs = torch.cat(
        [
            torch.triu_indices(int(n), int(n), 1, device=orbitals.device) + begin
            for begin, n in zip(site_ptr[:-1], site_ptr.diff(), strict=True)
        ],
        dim=1,
    )
    vectors = positions[pairs[1]] - positions[pairs[0]]
    starts = orbitals.shells.coefficient_ptr(site_type)[:-1]
    rows, transforms, exponents = _by_degree(orbitals.shells)
    closed_form = _ClosedForm(exponents, metric)

    def of_column(coefficients: Tensor) -> Tensor:
        per_type = []
        for own_type, (row, transform) in enumerate(zip(rows, transforms, strict=True)):
            first = starts[site_type == own_type][:, None, None]
            parts = [to @ coefficients[first + at] for at, to in zip(row, transform, strict=True)]
            per_type.append(torch.cat([part.flatten(1) for part in parts], dim=1))
        products = closed_form.product(per_type, site_type, pairs, vectors)
        result = torch.zeros_like(coefficients)
        for own_type, (row, transform) in enumerate(zip(rows, transforms, strict=True)):
            first = starts[site_type == own_type][:, None, None]
            parts = split_by_degree(products[own_type], closed_form.counts[own_type])
            for at, to, part in zip(row, transform, parts, strict=True):
                result = result.index_add(0, (first + at).flatten(), (to.T @ part).flatten())
        return result

    return torch.stack([of_column(column) for column in orbitals.coefficients.unbind(1)], dim=1)


def _by_degree(shells: Shells) -> tuple[list[list[Tensor]], list[list[Tensor]], list[list[Tensor]]]:
    """For each type and l: rows of its coefficients, counted from a site's first, [n_shells, 2l + 1], the matrix to
    L2-normalised primitives [n_primitives, n_shells], and their exponents [n_primitives]."""
    rows: list[list[Tensor]] = []
    transforms: list[list[Tensor]] = []
    exponents: list[list[Tensor]] = []
    for site_type in range(shells.n_types):
        its_shells = range(int(shells.shell_ptr[site_type]), int(shells.shell_ptr[site_type + 1]))
        degrees = [int(shells.shell_l[s]) for s in its_shells]
        rows.append([])
        transforms.append([])
        exponents.append([])
        for l in range(max(degrees, default=-1) + 1):
            starts = [sum(2 * d + 1 for d in degrees[:i]) for i, d in enumerate(degrees) if d == l]
            ranges = [
                range(int(shells.primitive_ptr[s]), int(shells.primitive_ptr[s + 1]))
                for s, d in zip(its_shells, degrees, strict=True)
                if d == l
            ]
            primitives = torch.tensor([p for r in ranges for p in r], dtype=torch.int64, device=shells.exponents.device)
            alpha = shells.exponents[primitives]
            values = shells.weights[primitives] / normalisation(l, alpha)
            shell_of = torch.tensor([i for i, r in enumerate(ranges) for _ in r], dtype=torch.int64).to(primitives)
            pick = (shell_of[:, None] == torch.arange(len(ranges), device=shell_of.device)).to(values)
            rows[-1].append((torch.tensor(starts)[:, None] + torch.arange(2 * l + 1)).to(primitives))
            transforms[-1].append(pick * values[:, None])
            exponents[-1].append(alpha)
    return rows, transforms, exponents
