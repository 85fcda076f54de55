"""How well a model knows an atom's surroundings, and what error that lets expect.

Coefficients are nearly linear in the last features x of a site. Of a linear map fitted to training sites with second
moments G = ⟨x xᵀ⟩, the variance of a prediction is proportional to xᵀ G⁻¹ x (last-layer prediction rigidity: Bigi,
Chong, Ceriotti & Grasselli, Mach. Learn.: Sci. Technol. 5, 045018, 2024). G is kept per site type and l, and the
proportion is what the fits of the training data leave over for that type and l. Nothing is trained for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from orbdens.models.orbital.basis import Basis

RIDGE = 1e-4
"""Of the mean second moment: directions without any variance must not blow up."""

STRANGE = 2.0
"""A site is unfamiliar if it is this many times farther out than any training site was."""


class Familiarity(nn.Module):
    """Second moments of the training features, and what they say of new sites. Knows nothing before ``fit``.

    Args:
        basis: gives the site types and the shape of their coefficients.
        l_max: highest l of the features.
        channels: features per component.
    """

    precision: Tensor
    leftover: Tensor
    farthest: Tensor
    scale: Tensor

    def __init__(self, basis: Basis, l_max: int, channels: int) -> None:
        super().__init__()
        self.basis = basis
        shape = (len(basis.types), l_max + 1)
        self.register_buffer("precision", torch.zeros(*shape, channels, channels))
        self.register_buffer("leftover", torch.zeros(shape))
        self.register_buffer("farthest", torch.zeros(()))
        self.register_buffer("scale", torch.zeros(()))

    def fit(
        self,
        features: Sequence[tuple[Tensor, Tensor]],
        residuals: Iterable[tuple[Tensor, list[Tensor]]],
    ) -> None:
        """Learn what is familiar.

        Args:
            features: of training batches, [n_sites, (l_max + 1)², channels] and site types [n_sites].
            residuals: site types [n_sites] and, for each type, predicted minus fitted coefficients of the orthonormal
                functions [n_sites_of_type, n], of training batches; without any, what was left over before stays.
        """
        n_types, degrees, channels = self.precision.shape[:3]
        moments = torch.zeros_like(self.precision, dtype=torch.float64)
        count = torch.zeros(n_types, dtype=torch.float64)
        for x, site_type in features:
            count += torch.bincount(site_type.cpu(), minlength=n_types)
            for l in range(degrees):
                rows = x[:, l * l : (l + 1) ** 2].double()
                moments[:, l].index_add_(0, site_type, torch.einsum("nmc,nmd->ncd", rows, rows) / (2 * l + 1))
        # A type that was seen less often than there are channels borrows the moments of all types.
        pooled = moments.sum(dim=0) / count.sum()
        moments = (moments + channels * pooled) / (count[:, None, None, None] + channels)
        ridge = RIDGE * moments.diagonal(dim1=2, dim2=3).mean(dim=2)
        self.precision.copy_(torch.linalg.inv(moments + ridge[..., None, None] * torch.eye(channels)))
        squares, seen = torch.zeros(n_types, degrees), torch.zeros(n_types)
        for site_type, errors in residuals:
            seen += torch.bincount(site_type.cpu(), minlength=n_types)
            for kind, c in enumerate(errors):
                for l, block in enumerate(self.basis.blocks(kind, c)):
                    squares[kind, l] += block.square().sum().cpu()
        if seen.any():
            self.leftover.copy_(squares / seen.clamp(min=1)[:, None])
        self.farthest.fill_(max(float(self.distances(x, site_type).mean(dim=1).max()) for x, site_type in features))

    def calibrate(self, guesses: Tensor, errors: Tensor) -> None:
        """Set the scale so that ``guesses`` [n] become, on average, the true NMAE in % of as many structures."""
        self.scale.fill_(float(errors.sum() / guesses.sum()))

    def distances(self, features: Tensor, site_type: Tensor) -> Tensor:
        """xᵀ G⁻¹ x / channels, averaged over m: about 1 for training sites [n_sites, l_max + 1]."""
        precision = self.precision[site_type]
        return torch.stack(
            [
                torch.einsum("nmc,ncd,nmd->n", rows, precision[:, l], rows) / (rows.shape[1] * rows.shape[2])
                for l, rows in ((l, features[:, l * l : (l + 1) ** 2]) for l in range(precision.shape[1]))
            ],
            dim=1,
        )

    def guess(
        self, features: Tensor, site_type: Tensor, structure_of_site: Tensor, n_electrons: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What to expect, up to a scale: errors of the structures, and which sites are unfamiliar.

        Returns:
            √(Σ over sites and l of distance · leftover) / n_electrons [n_structures], and bool [n_sites].
        """
        distances = self.distances(features, site_type)
        squares = (distances * self.leftover[site_type]).sum(dim=1)
        total = torch.zeros_like(n_electrons).index_add(0, structure_of_site, squares.to(n_electrons))
        return total.sqrt() / n_electrons, distances.mean(dim=1) > STRANGE * self.farthest
