"""Cells of periodic structures: made complete, and points wrapped into them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def complete_cells(cells: Array, pbc: npt.NDArray[np.bool_]) -> Array:
    """Cells [n, 3, 3] (rows are vectors) with the vectors of non-periodic axes replaced by orthogonal unit vectors.

    Raises:
        ValueError: if the periodic vectors of a structure are not linearly independent.
    """
    completed: Array = cells.copy()
    for cell, periodic in zip(completed, pbc, strict=True):
        if not periodic.any():
            cell[:] = np.eye(3)
            continue
        basis = np.linalg.svd(cell[periodic])
        if basis.S[-1] < 1e-8:
            raise ValueError(f"the periodic cell vectors {cell[periodic].tolist()} are not linearly independent")
        cell[~periodic] = basis.Vh[periodic.sum() :]
    return completed


def wrap(points: Array, structure_of_point: Index, cells: Array, pbc: npt.NDArray[np.bool_]) -> Array:
    """Points [n, 3] (Å) moved by lattice vectors into their (completed) cell."""
    inverse = np.linalg.inv(cells)
    fractional = np.einsum("ni,nij->nj", points, inverse[structure_of_point])
    shift: Array = np.where(pbc[structure_of_point], np.floor(fractional), 0.0)
    moved: Array = points - np.einsum("ni,nij->nj", shift, cells[structure_of_point])
    return moved


def wrap_on_device(points: Tensor, structure_of_point: Tensor, cells: Array, pbc: npt.NDArray[np.bool_]) -> Tensor:
    """As ``wrap``, for points on another device and where they are; in float64, then in their own precision."""
    vectors = torch.from_numpy(cells).to(points.device)[structure_of_point]
    inverse = torch.from_numpy(np.linalg.inv(cells)).to(points.device)[structure_of_point]
    periodic = torch.from_numpy(pbc).to(points.device)[structure_of_point]
    places = points.double()
    fractional = torch.einsum("ni,nij->nj", places, inverse)
    shift = torch.where(periodic, fractional.floor(), 0.0)
    return (places - torch.einsum("ni,nij->nj", shift, vectors)).to(points.dtype)
