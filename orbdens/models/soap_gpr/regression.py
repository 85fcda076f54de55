"""Least squares in the overlap metric: the weights whose densities are nearest to those of the training structures.

With features φ_l of the atoms [2l + 1, D], whose products are kernels, coefficients are c = c̄ + φ w, where c̄ are the
means of the l = 0 functions of each element. Of all weights those are sought with the smallest
Σ ‖ρ_c − ρ_f‖² + λ ‖w‖², where ρ_f are the fits of the training densities and ‖ρ_c − ρ_f‖² = (c − f)ᵀ S (c − f) with the
overlaps S of all orbitals of a structure: (Φᵀ S Φ + λ) w = Φᵀ S (f − c̄). Orbitals of one atom are orthonormal, so that
(ΦᵀΦ + λ)⁻¹, diagonal in the features of ``principal``, preconditions conjugate gradients well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orbdens.models.basis import Basis
from orbdens.models.overlap_metric import OverlapMetric, PerType
from orbdens.progress import Progress

Blocks = list[list[Tensor]]
"""For each element and l a tensor of its own."""


def principal(features: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors [D, D] and eigenvalues [D], float64, of ΦᵀΦ of features [n_atoms, 2l + 1, D]."""
    flat = features.flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(flat.T @ flat)
    return vectors, values.clamp(min=0)


class Regression:
    """The normal equations.

    Args:
        basis: orbitals of the elements.
        metric: of the training structures.
        features: for each element and l [n_atoms, 2l + 1, D], float32, with ΦᵀΦ diagonal.
        strengths: those diagonals [D].
        ridge: λ.
    """

    def __init__(self, basis: Basis, metric: OverlapMetric, features: Blocks, strengths: Blocks, ridge: float) -> None:
        self.basis, self.metric, self.features, self.ridge = basis, metric, features, ridge
        self._inverse = [[1 / (s.float()[:, None] + ridge) for s in of_element] for of_element in strengths]

    def coefficients(self, weights: Blocks) -> PerType:
        """φ w of every element [n_atoms, n]."""
        return [
            torch.cat([(f @ w).transpose(1, 2).flatten(1) for f, w in zip(*pair, strict=True)], dim=1)
            for pair in zip(self.features, weights, strict=True)
        ]

    def transposed(self, coefficients: PerType) -> Blocks:
        """Φᵀ c."""
        return [
            [
                torch.einsum("amd,anm->dn", f, block)
                for f, block in zip(self.features[kind], self.basis.blocks(kind, c), strict=True)
            ]
            for kind, c in enumerate(coefficients)
        ]

    def solve(self, targets: PerType, iterations: int, tolerance: float, progress: Progress) -> Blocks:
        """The weights for targets f − c̄, for each element and l [D, n_radial], by conjugate gradients from zero."""
        residual = self.transposed(self.metric(targets))
        weights = [[torch.zeros_like(r) for r in of_element] for of_element in residual]
        preconditioned = self._precondition(residual)
        direction = preconditioned
        first = size = _dot(residual, preconditioned)
        for step in range(iterations):
            if size <= tolerance**2 * first:
                break
            image = self.transposed(self.metric(self.coefficients(direction)))
            image = _sum(image, direction, self.ridge)
            length = size / _dot(direction, image)
            weights, residual = _sum(weights, direction, length), _sum(residual, image, -length)
            preconditioned = self._precondition(residual)
            size, before = _dot(residual, preconditioned), size
            direction = _sum(preconditioned, direction, size / before)
            progress("regression in the overlap metric", step + 1, iterations)
        return weights

    def _precondition(self, blocks: Blocks) -> Blocks:
        return [[p * b for p, b in zip(*pair, strict=True)] for pair in zip(self._inverse, blocks, strict=True)]


def _dot(a: Blocks, b: Blocks) -> float:
    return sum(float((x.double() * y).sum()) for pair in zip(a, b, strict=True) for x, y in zip(*pair, strict=True))


def _sum(a: Blocks, b: Blocks, factor: float) -> Blocks:
    """a + factor · b."""
    return [[x + factor * y for x, y in zip(*pair, strict=True)] for pair in zip(a, b, strict=True)]
