"""One frame and one order of atoms for all structures of a composition.

A structure is laid over a reference: of all rotations, reflections and exchanges of like atoms those count that bring
its atoms nearest to the reference's, heavy ones counting more. So a structure that is turned, mirrored or renumbered is
laid down the same, and what is learned in that frame turns, mirrors and permutes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from orbdens.kernels import solid_harmonics

STARTS = 8
"""Of the 48 rotations and reflections that exchange principal axes, so many of the best are followed."""

ROUNDS = 20
"""How often atoms are assigned and turned anew."""

MOVED = 0.1
"""Å; standard deviation by which the atoms of a reference are moved: a symmetric one could be met in several ways."""


class Laid(NamedTuple):
    """A structure as it is laid over the reference.

    Attributes:
        order: the atom of the structure for each of the reference [n_atoms].
        turn: orthogonal; ``positions = (those of the structure in that order − centre) @ turn.T`` [3, 3].
        positions: Å [n_atoms, 3].
    """

    order: NDArray[np.int64]
    turn: NDArray[np.float64]
    positions: NDArray[np.float64]


def lay(numbers: NDArray[np.int64], positions: NDArray[np.float64], reference: Laid | None) -> Laid:
    """Lay a structure over a reference of the same composition, whose atoms stand in order of their elements.

    Args:
        numbers: atomic numbers [n_atoms].
        positions: Å [n_atoms, 3].
        reference: None makes a reference of the structure: turned to its principal axes, atoms moved by ``MOVED``.
    """
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    x = positions[order] - numbers @ positions[order] / numbers.sum()
    axes = _axes(numbers, x)
    if reference is None:
        return Laid(order, axes, x @ axes.T + MOVED * np.random.default_rng(0).normal(size=x.shape))
    elements = [np.flatnonzero(numbers == z) for z in np.unique(numbers)]
    starts = []
    for turn in _signed_permutations():
        starts.append(_round(numbers, elements, x, turn @ axes, reference.positions))
    starts = sorted(starts, key=_cost)[:STARTS]
    settled = [_settled(numbers, elements, x, turn, reference.positions) for _, _, turn in starts]
    _, assigned, turn = min(settled, key=_cost)
    return Laid(order[assigned], turn, x[assigned] @ turn.T)


Trial = tuple[float, NDArray[np.int64], NDArray[np.float64]]


def _cost(trial: Trial) -> float:
    return trial[0]


def _axes(numbers: NDArray[np.int64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Principal axes as rows [3, 3], the longest first."""
    axes: NDArray[np.float64] = np.linalg.eigh((x * numbers[:, None]).T @ x)[1].T[::-1]
    return axes


def _signed_permutations() -> list[NDArray[np.float64]]:
    return [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]


def _round(
    numbers: NDArray[np.int64],
    elements: Sequence[NDArray[np.int64]],
    x: NDArray[np.float64],
    turn: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Trial:
    """Assign atoms, then turn anew: weighted squared distance, assignment, turn."""
    from scipy.optimize import linear_sum_assignment

    turned, assigned = x @ turn.T, np.arange(len(x))
    for rows in elements:
        squares = ((reference[rows][:, None] - turned[rows][None]) ** 2).sum(axis=2)
        assigned[rows] = rows[linear_sum_assignment(squares)[1]]
    u, _, vt = np.linalg.svd((reference * numbers[:, None]).T @ x[assigned])
    handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt) * np.linalg.det(turn))])
    turn = u @ handed @ vt  # as proper or improper as it was
    difference = reference - x[assigned] @ turn.T
    return float(numbers @ (difference**2).sum(axis=1)), assigned, turn


def _settled(
    numbers: NDArray[np.int64],
    elements: Sequence[NDArray[np.int64]],
    x: NDArray[np.float64],
    turn: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Trial:
    before = np.inf
    for _ in range(ROUNDS):
        trial = _round(numbers, elements, x, turn, reference)
        turn = trial[2]
        if trial[0] >= before * (1 - 1e-12):
            break
        before = trial[0]
    return trial


def harmonics_turned(turn: NDArray[np.float64], l_max: int) -> list[NDArray[np.float64]]:
    """For each l the matrix D with S_lm(turn · r) = Σ_m' D_mm' S_lm'(r) [2l + 1, 2l + 1]."""
    points = np.random.default_rng(0).normal(size=(4 * (2 * l_max + 1), 3))
    here = solid_harmonics(l_max, torch.as_tensor(points)).numpy()
    there = solid_harmonics(l_max, torch.as_tensor(points @ turn.T)).numpy()
    degrees = [slice(l * l, (l + 1) ** 2) for l in range(l_max + 1)]
    return [np.linalg.lstsq(here[:, rows], there[:, rows], rcond=None)[0].T for rows in degrees]
