"""Expected errors: how far the features of a site are from those of the training data.

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
from orbdens.models.orbital.graph import Graph

RIDGE = 1e-4
"""Added to second moments, as a share of their mean: directions without any variance must not blow up."""

OUTLIER = 2.0
"""A site is an outlier if it is this many times farther out than any training site was."""


class Uncertainty(nn.Module):
    """Second moments of the training features, and the errors they let expect. Knows nothing before ``measure``.

    Args:
        basis: gives the site types and the shape of their coefficients.
        l_max: highest l of the features.
        channels: features per component.
    """

    precision: Tensor
    residual_variance: Tensor
    farthest: Tensor
    scale: Tensor

    def __init__(self, basis: Basis, l_max: int, channels: int) -> None:
        super().__init__()
        self.basis = basis
        shape = (len(basis.types), l_max + 1)
        self.register_buffer("precision", torch.zeros(*shape, channels, channels))
        self.register_buffer("residual_variance", torch.zeros(shape))
        self.register_buffer("farthest", torch.zeros(()))
        self.register_buffer("scale", torch.zeros(()))

    def measure(
        self,
        features: Sequence[tuple[Tensor, Tensor]],
        residuals: Iterable[tuple[Tensor, list[Tensor]]],
    ) -> None:
        """Take the second moments of training features, and the residual variances.

        Args:
            features: features of training batches, [n_sites, (l_max + 1)², channels] and site types [n_sites].
            residuals: site types [n_sites] and, for each type, predicted minus fitted coefficients of the orthonormal
                functions [n_sites_of_type, n], of training batches; without any, the residual variances stay.
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
        # Without any neighbours all features of l > 0 vanish, and nothing is left to invert.
        ridge = (RIDGE * moments.diagonal(dim1=2, dim2=3).mean(dim=2)).clamp(min=1e-12)
        self.precision.copy_(torch.linalg.inv(moments + ridge[..., None, None] * torch.eye(channels)))
        squares, seen = torch.zeros(n_types, degrees), torch.zeros(n_types)
        for site_type, errors in residuals:
            seen += torch.bincount(site_type.cpu(), minlength=n_types)
            for kind, c in enumerate(errors):
                for l, block in enumerate(self.basis.blocks(kind, c)):
                    squares[kind, l] += block.square().sum().cpu()
        if seen.any():
            self.residual_variance.copy_(squares / seen.clamp(min=1)[:, None])
        self.farthest.fill_(max(float(self.distances(x, site_type).mean(dim=1).max()) for x, site_type in features))

    def calibrate(self, raw_errors: Tensor, errors: Tensor) -> None:
        """Set the scale so that ``raw_errors`` [n] become, on average, the true NMAE in % of as many structures."""
        self.scale.fill_(float(errors.sum() / raw_errors.sum()))

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

    def raw_errors(self, features: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """Errors of the structures up to a scale, and which sites are outliers.

        Returns:
            √(Σ over sites and l of distance · residual variance) / n_electrons [n_structures], and bool [n_sites].
        """
        site_type, n_electrons = graph.site_type, graph.n_electrons
        distances = self.distances(features, site_type)
        squares = (distances * self.residual_variance[site_type]).sum(dim=1)
        total = torch.zeros_like(n_electrons).index_add(0, graph.structure_of_site, squares.to(n_electrons))
        return total.sqrt() / n_electrons, distances.mean(dim=1) > OUTLIER * self.farthest

    def expect(self, features: Tensor, graph: Graph) -> tuple[list[float] | None, list[bool]]:
        """NMAE in % to expect of each structure, None before ``calibrate``; and which sites are outliers."""
        if not self.scale > 0:
            return None, [False] * len(graph.site_type)
        raw, outliers = self.raw_errors(features, graph)
        expected: list[float] = (raw * self.scale).tolist()
        return expected, outliers.tolist()
