"""The basis of a file that iodata read, as ours: spherical shells as they are, Cartesian ones as sums of such.

A Cartesian d shell is five d functions and r² times an s function, an f shell seven f functions and r² times three p
functions, and so on: x^a y^b z^c = Σ r^(l − l') S_l'm t, l' = l, l − 2, ... And r^2k exp(−αr²) = (−d/dα)^k exp(−αr²),
a difference quotient over exponents near α: a contracted shell as any other, exact to 1e-7 of its largest value for
k = 1 (d and f), to 1e-7 for k = 2 too, but that wants more digits than single precision has: 1e-4 there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from data_tools.sources.orbital_content import same_shells
from orbdens.errors import UserError
from orbdens.kernels import solid_harmonics, sphere_quadrature
from orbdens.store.records import LabelBasis, LabelShell
from orbdens.units import BOHR

Array = NDArray[np.float64]

M_OF_P = {"x": 1, "y": -1, "z": 0}

NODES, SPACING = 5, 0.08
"""Exponents on each side of α, and their distance relative to it, of the difference quotient."""


class OurBasis(NamedTuple):
    """A basis, and how orbitals are written in it.

    Attributes:
        basis: shells of the elements.
        rows: matrix that brings coefficients in iodata's functions into ours [n_ao, n_theirs].
    """

    basis: LabelBasis
    rows: Array


def our_basis(obasis: Any, symbols: Sequence[str], place: str) -> OurBasis:
    """iodata's basis as ours.

    Args:
        obasis: an iodata ``MolecularBasis`` of L2-normalised primitives.
        symbols: of the atoms.
        place: names the file in messages.

    Raises:
        UserError: atoms of one element have different bases.
    """
    shells_of: list[list[LabelShell]] = [[] for _ in symbols]
    parts_of: list[list[tuple[slice, Array]]] = [[] for _ in symbols]
    first = 0
    for shell in obasis.shells:
        for l, kind, column in zip(shell.angmoms.tolist(), shell.kinds.tolist(), shell.coeffs.T, strict=True):
            labels = obasis.conventions[l, kind]
            theirs = slice(first, first + len(labels))
            first += len(labels)
            make = _cartesian if kind == "c" and l > 1 else _spherical
            for ours, matrix in make(l, labels, shell.exponents / BOHR**2, column):
                shells_of[shell.icenter].append(ours)
                parts_of[shell.icenter].append((theirs, matrix))
    elements: dict[str, tuple[LabelShell, ...]] = {}
    for symbol, shells in zip(symbols, shells_of, strict=True):
        if not same_shells(elements.setdefault(symbol, tuple(shells)), tuple(shells)):
            raise UserError(f"the {symbol} atoms of {place} have different bases; a store needs one per element")
    parts = [part for of_atom in parts_of for part in of_atom]
    rows, row = np.zeros((sum(len(matrix) for _, matrix in parts), first)), 0
    for theirs, matrix in parts:
        rows[row : row + len(matrix), theirs] = matrix
        row += len(matrix)
    return OurBasis(LabelBasis(elements), rows)


def _spherical(l: int, labels: Sequence[str], exponents: Array, column: Array) -> list[tuple[LabelShell, Array]]:
    """The same shell: only order and signs differ. Of l < 2 Cartesian ones are spherical."""
    matrix = np.zeros((2 * l + 1, 2 * l + 1))
    for theirs, label in enumerate(labels):
        name = label.lstrip("-")
        m = 0 if l == 0 else M_OF_P[name] if l == 1 else int(name[1:]) * (1 if name[0] == "c" else -1)
        matrix[m + l, theirs] = -1.0 if label.startswith("-") else 1.0
    # of a normalised primitive: ∫ (N r^l exp(−a r²))² r² dr = 1
    norms = np.sqrt(2 * (2 * exponents) ** (l + 1.5) / gamma(l + 1.5))
    return [(_shell(l, exponents, column * norms), matrix)]


def _cartesian(l: int, labels: Sequence[str], exponents: Array, column: Array) -> list[tuple[LabelShell, Array]]:
    """Shells of l, l − 2, ..., the lower ones times r², r⁴, ...: contractions over neighbouring exponents."""
    powers = [tuple(label.lstrip("-").count(axis) for axis in "xyz") for label in labels]
    signs = np.array([-1.0 if label.startswith("-") else 1.0 for label in labels])
    # every function normalised by itself: N² = (2a / π)^(3/2) (4a)^l / Π (2n − 1)!!
    own = [math.prod(math.prod(range(2 * n - 1, 0, -2)) for n in power) ** -0.5 for power in powers]
    norms = (2 * exponents / np.pi) ** 0.75 * (4 * exponents) ** (l / 2)
    result = []
    for k in range(l // 2 + 1):
        nodes, weights = _quotient(k)
        spread = (exponents[:, None] * nodes).reshape(-1)
        factors = ((column * norms / exponents**k)[:, None] * weights).reshape(-1)
        lower = l - 2 * k
        matrix = np.stack([_harmonics_of(power)[lower] for power in powers], axis=1) * (signs * own)
        result.append((_shell(lower, spread, factors), matrix))
    return result


def _shell(l: int, exponents: Array, weights: Array) -> LabelShell:
    return LabelShell(l, tuple(exponents.tolist()), tuple(weights.tolist()))


@cache
def _quotient(k: int) -> tuple[Array, Array]:
    """Nodes s and weights w with Σ w exp(−s x) = x^k exp(−x), the k-th derivative by s at 1, but for its sign."""
    if k == 0:
        return np.ones(1), np.ones(1)
    steps: NDArray[np.int64] = np.arange(-NODES, NODES + 1)
    if k % 2:
        steps = steps[steps != 0]  # its weight is zero
    orders = np.arange(len(steps))
    target = np.where(orders == k, (-1.0) ** k * math.factorial(k) / SPACING**k, 0.0)
    weights: Array = np.asarray(np.linalg.solve(steps[None, :].astype(np.float64) ** orders[:, None], target))
    return np.asarray(1 + SPACING * steps, dtype=np.float64), weights


@cache
def _harmonics_of(power: tuple[int, int, int]) -> dict[int, Array]:
    """On the unit sphere x^a y^b z^c = Σ t_lm Y_lm: the t of each l [2l + 1]."""
    l_max = sum(power)
    unit, volumes = sphere_quadrature(2 * l_max)
    values = (unit.numpy() ** np.array(power)).prod(axis=1)
    t = (values * volumes.numpy()) @ solid_harmonics(l_max, unit).numpy()
    return {l: t[l * l : (l + 1) ** 2] for l in range(l_max + 1)}
