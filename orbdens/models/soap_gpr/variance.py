"""Errors to expect, from the variance of the Gaussian process.

The variance of an invariant coefficient of an atom is that of the prior which the sparse environments do not explain,
k(i, i) − φ·φ, and what the training structures leave of the rest, λ Σ_d φ_d² / (γ_d + λ), with the eigenvalues γ of
ΦᵀΦ. Its root is compared with the errors of structures that were held out: their ratio is a scale for each element.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbdens.expectation import Expectation
from orbdens.structure import Structure

FAMILIAR = 95.0
"""Percentile of the deviations of held-out atoms of an element that counts as a novelty of one."""


class Variance(nn.Module):
    """Standard deviations of atoms, and what they mean. Expects nothing before ``calibrate``.

    Args:
        n_environments: sparse environments of each element.
        neutral: electrons of the neutral atom of each element.
    """

    scale: Tensor
    familiar: Tensor
    usual: Tensor

    def __init__(self, n_environments: Sequence[int], neutral: Sequence[float]) -> None:
        super().__init__()
        self.neutral = np.array(neutral)
        for kind, m in enumerate(n_environments):
            self.register_buffer(f"features_{kind}", torch.zeros(m, m, dtype=torch.float64))
            self.register_buffer(f"left_{kind}", torch.zeros(m, dtype=torch.float64))
        self.register_buffer("scale", torch.zeros(len(neutral), dtype=torch.float64))
        self.register_buffer("familiar", torch.ones(len(neutral), dtype=torch.float64))
        self.register_buffer("usual", torch.zeros((), dtype=torch.float64))

    def set_posterior(self, kind: int, to_features: Tensor, strengths: Tensor, ridge: float) -> None:
        """From kernels to invariant features [n_environments, D], and the eigenvalues γ [D] that go with them."""
        n = len(strengths)  # where kernels are nearly dependent there are fewer features than environments
        self.get_buffer(f"features_{kind}")[:, :n] = to_features
        self.get_buffer(f"left_{kind}")[:n] = ridge / (strengths + ridge)

    def deviations(self, kind: int, kernel: Tensor, own: Tensor) -> Tensor:
        """Standard deviations of an element's atoms [n_atoms].

        Args:
            kind: the element's place.
            kernel: invariant kernels with the sparse environments [n_atoms, n_environments].
            own: invariant kernel of each with itself [n_atoms].
        """
        squares = (kernel @ self.get_buffer(f"features_{kind}")).square()
        unexplained = (own - squares.sum(dim=1)).clamp(min=0)
        return (unexplained + squares @ self.get_buffer(f"left_{kind}")).sqrt()

    def calibrate(
        self,
        kinds: NDArray[np.int64],
        structure: NDArray[np.int64],
        deviations: NDArray[np.float64],
        errors: NDArray[np.float64],
    ) -> None:
        """Learn from structures that were held out.

        Args:
            kinds: place of each atom's element [n_atoms].
            structure: index of the structure each atom is of [n_atoms].
            deviations: of the atoms [n_atoms].
            errors: ∫|ρ̂ − ρ| dr over the space nearest to each atom, e [n_atoms].
        """
        for kind in np.unique(kinds):
            its_own = kinds == kind
            self.scale[kind] = 100 * float(errors[its_own].sum() / deviations[its_own].sum()) / self.neutral[kind]
            self.familiar[kind] = float(np.percentile(deviations[its_own], FAMILIAR))
        electrons = self.neutral[kinds]
        expected = self.scale.numpy()[kinds] * deviations * electrons
        self.usual.fill_(float(np.median(np.bincount(structure, expected) / np.bincount(structure, electrons))))

    def expect(
        self, structure: Structure, kinds: NDArray[np.int64], deviations: NDArray[np.float64], n_electrons: float
    ) -> Expectation | None:
        """What to expect of a structure; None before ``calibrate``.

        Args:
            structure: the structure.
            kinds: place of each atom's element [n_atoms].
            deviations: of its atoms [n_atoms].
            n_electrons: the density's.
        """
        if not bool(self.scale.any()):
            return None
        errors = self.scale.numpy()[kinds] * deviations
        return Expectation(
            error=float((errors * self.neutral[kinds]).sum() / n_electrons),
            usual=float(self.usual),
            atom_errors=errors,
            atom_novelty=deviations / self.familiar.numpy()[kinds],
            bonds=np.empty((0, 2), dtype=np.int64),
            bond_novelty=np.empty(0),
        )
