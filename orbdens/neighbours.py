"""Neighbour lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vesin import NeighborList

from orbdens.structure import Structure


def neighbours(
    positions: NDArray[np.float64], structure: Structure, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """All directed pairs of sites within a cut-off, periodic images included.

    Args:
        positions: Å [n_sites, 3].
        structure: gives the cell and its periodic directions.
        cutoff: Å.

    Returns:
        edge_source [n_edges], edge_target [n_edges] and the vector from source to target (its image) in Å [n_edges, 3].
    """
    cell = structure.cell if structure.cell is not None else np.zeros((3, 3))
    source, target, vector = NeighborList(cutoff=cutoff, full_list=True, sorted=True).compute(
        points=positions, box=cell, periodic=list(structure.pbc), quantities="ijD"
    )
    return source.astype(np.int64), target.astype(np.int64), vector
