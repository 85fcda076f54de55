"""Overlaps of the orbitals of many molecules at once: the metric in which regressions measure errors of densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orbdens.kernels import TabulatedMetric
from orbdens.models.basis import Basis
from orbdens.structure import Structure

AT_ONCE = 900
"""Atoms whose overlaps are held at once, which bounds the memory."""

OVERLAP = 1e-9
"""Overlaps of normalised orbitals that are smaller than this are left out."""

PerType = list[Tensor]
"""Coefficients of each element [n_atoms, n], as ``Basis`` lays them out."""


class Chunk(NamedTuple):
    """Some structures: rows of their atoms among all atoms of each element, their elements, and pairs of them."""

    rows: list[slice]
    site_type: Tensor
    pair_index: Tensor
    pair_vector: Tensor


class OverlapMetric:
    """S c over many molecules.

    Args:
        basis: orbitals of the elements.
        structures: molecules.
    """

    def __init__(self, basis: Basis, structures: Sequence[Structure]) -> None:
        reach = math.sqrt(2) * basis.reach(OVERLAP)  # two Gaussians of one exponent α overlap by exp(-α R² / 2)
        self._metric = TabulatedMetric(basis.radial_functions, reach)
        self._chunks: list[Chunk] = []
        before = np.zeros(len(basis.types), dtype=int)
        begin, n_atoms = 0, 0
        for end, structure in enumerate(structures, start=1):
            n_atoms += structure.n_atoms
            if n_atoms >= AT_ONCE or end == len(structures):
                types = basis.index(np.concatenate([one.numbers for one in structures[begin:end]]))
                after = before + np.bincount(types, minlength=len(before))
                rows = [slice(int(a), int(b)) for a, b in zip(before, after, strict=True)]
                pairs, vectors = _pairs(structures[begin:end], reach)
                self._chunks.append(Chunk(rows, torch.as_tensor(types), pairs, vectors))
                begin, n_atoms, before = end, 0, after

    def __call__(self, coefficients: PerType) -> PerType:
        products = [torch.empty_like(c) for c in coefficients]
        for chunk in self._chunks:
            its_own = [c[rows] for c, rows in zip(coefficients, chunk.rows, strict=True)]
            parts = self._metric.product(its_own, chunk.site_type, chunk.pair_index, chunk.pair_vector)
            for product, rows, part in zip(products, chunk.rows, parts, strict=True):
                product[rows] = part
        return products


def _pairs(structures: Sequence[Structure], reach: float) -> tuple[Tensor, Tensor]:
    indices, vectors, first = [], [], 0
    for structure in structures:
        pairs = np.stack(np.triu_indices(structure.n_atoms, 1))
        vector = structure.positions[pairs[1]] - structure.positions[pairs[0]]
        near = np.linalg.norm(vector, axis=1) < reach
        indices.append(first + pairs[:, near])
        vectors.append(vector[near])
        first += structure.n_atoms
    return torch.as_tensor(np.concatenate(indices, axis=1)), torch.as_tensor(np.concatenate(vectors)).float()
