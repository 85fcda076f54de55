"""Kernels between environments and a sparse set of them, and that set by farthest-point selection.

k_l(i, j) = (p_l(i) · p_l(j)) (p_0(i) · p_0(j))^(ζ − 1), a matrix [2l + 1, 2l + 1] that turns with both environments;
for l = 0 it is (p_0(i) · p_0(j))^ζ. As SALTED has it: Lewis et al., J. Chem. Theory Comput. 17, 7203 (2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbdens.models.soap_gpr.power_spectra import Spectra

KEEP = 1e-10
"""Smallest eigenvalue of the kernel of the sparse environments that is kept, relative to the largest."""


class SparseKernel(nn.Module):
    """The sparse environments of every element, and kernels with them.

    Args:
        n_components: components of the power spectrum that are kept, for each l.
        n_environments: of each element.
        degrees: highest l of each element.
        exponent: ζ.
    """

    def __init__(
        self, n_components: Sequence[int], n_environments: Sequence[int], degrees: Sequence[int], exponent: float
    ) -> None:
        super().__init__()
        self.n_environments, self.degrees, self.exponent = list(n_environments), list(degrees), exponent
        for l, n in enumerate(n_components):
            self.register_buffer(f"components_{l}", torch.zeros(n, dtype=torch.int64))
        for kind, (m, degree) in enumerate(zip(n_environments, degrees, strict=True)):
            for l in range(degree + 1):
                self.register_buffer(f"sparse_{kind}_{l}", torch.zeros(m, 2 * l + 1, n_components[l]))

    def set_sparse(self, components: Sequence[NDArray[np.int64]], spectra: Spectra) -> None:
        """Take these environments, of which only these components count."""
        for l, chosen in enumerate(components):
            self.get_buffer(f"components_{l}").copy_(torch.as_tensor(chosen))
        for kind, blocks in enumerate(spectra):
            for l, block in enumerate(blocks):
                self.get_buffer(f"sparse_{kind}_{l}").copy_(torch.as_tensor(block[:, :, components[l]]))

    def forward(self, spectra: Spectra, kind: int) -> list[Tensor]:
        """Kernels of an element's environments with its sparse ones.

        Returns:
            For l = 0, 1, ... float64 [n_atoms, 2l + 1, n_environments · (2l + 1)].
        """
        return self._products(
            [torch.as_tensor(block)[:, :, self.get_buffer(f"components_{l}")] for l, block in enumerate(spectra[kind])],
            kind,
        )

    def among_sparse(self, kind: int) -> list[Tensor]:
        """Kernels of the sparse environments of an element with each other, for each l a square matrix."""
        sparse = [self.get_buffer(f"sparse_{kind}_{l}").double() for l in range(self.degrees[kind] + 1)]
        return [kernel.flatten(0, 1) for kernel in self._products(sparse, kind)]

    def own(self, spectra: Spectra, kind: int) -> Tensor:
        """The invariant kernel of each environment with itself [n_atoms]."""
        invariant = torch.as_tensor(spectra[kind][0])[:, 0, self.get_buffer("components_0")]
        return invariant.square().sum(dim=1) ** self.exponent

    def _products(self, blocks: list[Tensor], kind: int) -> list[Tensor]:
        kernels = []
        invariant = blocks[0][:, 0] @ self.get_buffer(f"sparse_{kind}_0")[:, 0].double().T
        factor = invariant.clamp(min=0) ** (self.exponent - 1)
        for l, block in enumerate(blocks):
            sparse = self.get_buffer(f"sparse_{kind}_{l}").double()
            product = (block.flatten(0, 1) @ sparse.flatten(0, 1).T).reshape(*block.shape[:2], *sparse.shape[:2])
            kernels.append((product * factor[:, None, :, None]).flatten(2))
        return kernels


def farthest(rows: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Farthest-point selection: indices of at most ``n`` rows, the one with the largest norm first."""
    from skmatter.sample_selection import FPS

    if n >= len(rows):
        return np.arange(len(rows))
    first = int(np.argmax(np.einsum("ij,ij->i", rows, rows)))
    selector = FPS(initialize=first, n_to_select=n).fit(rows)
    chosen: NDArray[np.int64] = np.sort(selector.selected_idx_)
    return chosen


def whitened(kernel: Tensor) -> Tensor:
    """[n, n_kept], which makes of kernels with sparse environments features whose products are the kernel.

    K_M = V Λ Vᵀ; the features K_iM V Λ^(-1/2) have the products K_iM K_M⁻¹ K_Mj.
    """
    values, vectors = torch.linalg.eigh(kernel)
    kept = values > KEEP * values[-1]
    return vectors[:, kept] / values[kept].sqrt()
