"""Neighbour lists."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orbdens.structure import Structure


class Pairs(NamedTuple):
    """Directed pairs of sites, each in both directions, an image of a site among its own neighbours.

    Attributes:
        source, target: index of the sites [n_pairs].
        vector: from source to target (its image), Å [n_pairs, 3].
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    vector: NDArray[np.float64]

    def within(self, cutoff: float) -> Pairs:
        """Those no longer than a cut-off in Å."""
        near = np.einsum("ij,ij->i", self.vector, self.vector) <= cutoff**2
        return Pairs(self.source[near], self.target[near], self.vector[near])


def neighbours(structure: Structure, cutoff: float) -> Pairs:
    """All directed pairs of atoms within a cut-off in Å, periodic images included.

    They are sorted by source, target and cell of the target, so that a longer cut-off only puts pairs in between.
    """
    from vesin import NeighborList

    cell = structure.cell if structure.cell is not None else np.zeros((3, 3))
    source, target, vector, shift = NeighborList(cutoff=cutoff, full_list=True).compute(
        points=structure.positions, box=cell, periodic=list(structure.pbc), quantities="ijDS"
    )
    order = np.lexsort((*shift.T, target, source))
    return Pairs(source[order].astype(np.int64), target[order].astype(np.int64), vector[order])
