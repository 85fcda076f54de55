"""Overlaps of Gaussian functions of sites, and projections of densities on them, in closed form by compiled loops.

As in ``two_centre``, in the frame of each pair of sites; a density Σ D_ab φ_a φ_b is written first as Gaussians on
centres between the atoms, Σ h (∇²)^v S_lm(∇) exp(-p r²), whose Fourier transforms have another factor (-k²)^v.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.kernels.harmonics import monomials, solid_harmonics
from orbdens.kernels.pairs.two_centre import gaunt
from orbdens.kernels.shells import normalisation

Array = NDArray[np.float64]

Group = tuple[int, Array, Array]
"""Functions of one l that share exponents: l, exponents in Å⁻² [n], and weights of S_lm exp(-α r²) [n_functions, n]."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Contracted Gaussians on sites, in the order of the sites, of the groups of each, of their functions, of m.

    Attributes:
        positions: Å [n_sites, 3].
        kind: of each site [n_sites].
        kinds: the groups of each kind of site.
    """

    positions: Array
    kind: NDArray[np.int64]
    kinds: Sequence[Sequence[Group]]

    @property
    def start(self) -> NDArray[np.int64]:
        """First function of each site and, last, their number [n_sites + 1]."""
        sizes = np.array([sum((2 * l + 1) * len(weights) for l, _, weights in groups) for groups in self.kinds])
        return np.concatenate([[0], np.cumsum(sizes[self.kind])]).astype(np.int64)

    @property
    def l_max(self) -> int:
        return max(l for groups in self.kinds for l, _, _ in groups)

    def flat(self) -> tuple[NDArray[Any], ...]:
        """The kinds as compiled loops take them; what depends on one exponent alone is in the weights."""
        ls, exponents, weights, columns = [], [], [], []
        for groups in self.kinds:
            sizes = [(2 * l + 1) * len(w) for l, _, w in groups]
            columns += [0, *np.cumsum(sizes[:-1]).tolist()][: len(groups)]
            for l, e, w in groups:
                rising = np.argsort(e)
                e, w = e[rising], w[:, rising]
                ls.append(l)
                exponents.append(e)
                weights.append((w * (math.sqrt(2) / 2 ** (l + 2)) * e ** -(l + 1.5)).T)
        ends = [np.cumsum([0, *map(len, of)]).astype(np.int64) for of in (self.kinds, exponents)]
        return (
            ends[0],
            np.array(ls, dtype=np.int64),
            ends[1][:-1],
            np.array([len(e) for e in exponents], dtype=np.int64),
            np.array([w.shape[1] for w in weights], dtype=np.int64),
            np.array(columns, dtype=np.int64),
            np.cumsum([0, *(w.size for w in weights[:-1])]).astype(np.int64),
            np.concatenate(exponents),
            np.concatenate([w.reshape(-1) for w in weights]),
        )


def overlaps(functions: Gaussians, scales: Array | None = None) -> Array:
    """⟨χ_k|χ_l⟩ for k <= l [n, n]; what is below the diagonal means nothing.

    Args:
        functions: the χ.
        scales: of each site, by which its functions are multiplied [n_sites]; None leaves them.
    """
    from orbdens.kernels.cpu import pairs  # Numba takes a second to import

    start, l = functions.start, functions.l_max
    scales = np.ones(len(functions.kind)) if scales is None else scales
    out = np.zeros((start[-1], start[-1]))
    own = [_one_site(groups) for groups in functions.kinds]
    for site, (begin, end) in enumerate(pairwise(start)):
        out[begin:end, begin:end] = scales[site] ** 2 * own[functions.kind[site]]
    pairs.overlap_matrix(
        functions.positions,
        functions.kind,
        scales,
        start,
        functions.flat(),
        _coupling(l, l),
        _factorials(),
        _swaps(l),
        out,
    )
    return out


def _one_site(groups: Sequence[Group]) -> Array:
    """Overlaps of all functions of one site [n, n]."""
    blocks = [[_same_centre(one, other) for other in groups] for one in groups]
    return np.block(blocks)


def _same_centre(one: Group, other: Group) -> Array:
    """Overlaps of the functions of two groups of one site, which vanish unless l and m are the same."""
    (l, e, weights), (l2, e2, weights2) = one, other
    if l != l2:
        return np.zeros(((2 * l + 1) * len(weights), (2 * l2 + 1) * len(weights2)))
    ratios = (2 * np.sqrt(np.outer(e, e2)) / np.add.outer(e, e2)) ** (l + 1.5)
    first, second = (w / normalisation(l, torch.as_tensor(a)).numpy() for w, a in ((weights, e), (weights2, e2)))
    return np.kron(first @ ratios @ second.T, np.eye(2 * l + 1))


def density_projections(orbitals: Gaussians, matrix: Array, functions: Gaussians) -> Array:
    """⟨χ_k|ρ⟩ of ρ = Σ D_ab φ_a φ_b [n].

    Args:
        orbitals: the φ.
        matrix: D, symmetric [n_orbitals, n_orbitals].
        functions: the χ.
    """
    from orbdens.kernels.cpu import pairs, products  # as above

    l = orbitals.l_max
    exponent_ptr, exponents, degrees, polynomial_ptr, polynomials = _polynomials(orbitals)
    start = orbitals.start
    counts = np.diff(exponent_ptr)[orbitals.kind]
    room = int((np.outer(counts, counts)[np.triu_indices(len(counts))]).sum())
    place, harmonic = _derivatives(2 * l)
    centres, of_products = np.empty((room, 3)), np.empty(room)
    of_degrees, moments = np.empty(room, dtype=np.int64), np.empty((room, len(harmonic)))
    n = products.expand(
        orbitals.positions,
        orbitals.kind,
        start,
        matrix,
        exponent_ptr,
        exponents,
        degrees,
        polynomial_ptr,
        polynomials,
        np.array([sum((2 * l + 1) * len(w) for l, _, w in groups) for groups in orbitals.kinds], dtype=np.int64),
        _powers(l),
        place,
        harmonic,
        centres,
        of_products,
        of_degrees,
        moments,
    )
    at = functions.start
    out = np.zeros(at[-1])
    if n:
        pairs.project(
            centres[:n],
            of_products[:n],
            of_degrees[:n],
            moments[:n],
            functions.positions,
            functions.kind,
            at,
            functions.flat(),
            _coupling(2 * l, functions.l_max),
            _factorials(),
            _swaps(max(2 * l, functions.l_max)),
            out,
        )
    return out


@cache
def _factorials() -> Array:
    return np.array([float(math.factorial(n)) for n in range(40)])


@cache
def _coupling(l_max: int, l2_max: int) -> Array:
    """The factors of ``two_centre`` that depend on l, l', L and m alone [l_max + 1, l2_max + 1, L, m]."""
    table = np.zeros((l_max + 1, l2_max + 1, l_max + l2_max + 1, min(l_max, l2_max) + 1))
    for l in range(l_max + 1):
        for l2 in range(l2_max + 1):
            for order in range(abs(l - l2), l + l2 + 1, 2):
                phase = (-1) ** ((l - l2 - order) // 2) * math.sqrt(4 * math.pi * (2 * order + 1))
                for m in range(min(l, l2) + 1):
                    table[l, l2, order, m] = phase * gaunt(l, l2, order, m) * math.sqrt(math.pi) / 2 ** (order + 2)
    return table


@cache
def _swaps(l_max: int) -> Array:
    """For each l the matrix that exchanges y and z in harmonics [l_max + 1, 2l+1, 2l+1]."""
    vectors = _directions(8 * l_max + 8)
    before, after = (solid_harmonics(l_max, torch.as_tensor(v)).numpy() for v in (vectors, vectors[:, [0, 2, 1]]))
    swaps = np.zeros((l_max + 1, 2 * l_max + 1, 2 * l_max + 1))
    for l in range(l_max + 1):
        part = slice(l * l, (l + 1) ** 2)
        found = np.linalg.lstsq(before[:, part], after[:, part], rcond=None)[0].T
        swaps[l, : 2 * l + 1, : 2 * l + 1] = np.where(np.abs(found) < 1e-12, 0.0, found)
    return swaps


def _directions(n: int) -> Array:
    vectors = np.random.default_rng(0).standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@cache
def _powers(l_max: int) -> NDArray[np.int64]:
    """Exponents of x, y and z of all monomials, in order of degree and in each in that of ``monomials`` [n, 3]."""
    return np.array(
        [(a, b, l - a - b) for l in range(l_max + 1) for a in range(l + 1) for b in range(l - a + 1)], dtype=np.int64
    )


@cache
def _derivatives(l_max: int) -> tuple[NDArray[np.int64], Array]:
    """Index of a derivative of a Gaussian by its three orders, and all as Laplacians of harmonic Gaussians [n, n].

    A derivative's polynomial is a sum of r^(2v) S_lm; in ∇ these are Laplacians of S_lm(∇) exp(-p r²), which is
    (-2p)^l S_lm(r) exp(-p r²) (Hobson). The factors left out here and in the loops are those of weights 1 in ``flat``.
    """
    powers = _powers(l_max)
    place = np.zeros((l_max + 1,) * 3, dtype=np.int64)
    place[tuple(powers.T)] = np.arange(len(powers))
    vectors = _directions(8 * len(powers))
    values = (vectors[:, None, :] ** powers[None]).prod(axis=2)
    harmonics = solid_harmonics(l_max, torch.as_tensor(vectors)).numpy()
    matrix = np.zeros((len(powers), len(powers)))
    begin = 0
    for d in range(l_max + 1):
        end = begin + (d + 1) * (d + 2) // 2
        ls = [d - 2 * v for v in range(d // 2 + 1)]
        basis = np.concatenate([harmonics[:, l * l : (l + 1) ** 2] for l in ls], axis=1)
        scale = np.concatenate([np.full(2 * l + 1, math.sqrt(2) / 4) for l in ls])
        found = np.linalg.lstsq(basis, values[:, begin:end], rcond=None)[0]
        matrix[begin:end, begin:end] = scale[:, None] * np.where(np.abs(found) < 1e-12, 0.0, found)
        begin = end
    return place, matrix


def _polynomials(orbitals: Gaussians) -> tuple[NDArray[Any], ...]:
    """For each distinct exponent of each kind: what the kind's orbitals are at it, over monomials."""
    counts, exponents, degrees, tables = [], [], [], []
    for groups in orbitals.kinds:
        n = sum((2 * l + 1) * len(w) for l, _, w in groups)
        distinct = sorted(
            {float(a) for _, e, w in groups for a, used in zip(e, (w != 0).any(axis=0), strict=True) if used}
        )
        counts.append(len(distinct))
        for alpha in distinct:
            degree = max(l for l, e, w in groups if (w[:, e == alpha] != 0).any())
            table = np.zeros((len(_powers(degree)), n))
            at = 0
            for l, e, w in groups:
                rows = slice(len(_powers(l)) - (l + 1) * (l + 2) // 2, len(_powers(l)))
                for weight in w[:, e == alpha].sum(axis=1):
                    if weight != 0:
                        table[rows, at : at + 2 * l + 1] = weight * monomials(l).T
                    at += 2 * l + 1
            exponents.append(alpha)
            degrees.append(degree)
            tables.append(table)
    starts = np.cumsum([0, *(table.size for table in tables[:-1])])
    return (
        np.cumsum([0, *counts]).astype(np.int64),
        np.array(exponents),
        np.array(degrees, dtype=np.int64),
        starts.astype(np.int64),
        np.concatenate([table.reshape(-1) for table in tables]),
    )
