"""From features to coefficients as SCDP has it: what the conditioned head is measured against."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from orbdens.comparison import comparison
from orbdens.labels import stored_density
from orbdens.models.basis import Basis
from orbdens.models.graph import Graph
from orbdens.models.task import TrainingData
from orbdens.sampling import evenly_spaced

SCALE_RECORDS = 16
"""Training records whose densities set the scale of the coefficients."""


class PlainHead(nn.Module):
    """Linear maps per site type and l, to coefficients of the L2-normalised Gaussians themselves.

    They know no fits, start at no atoms, and nothing makes their electrons the right number. After Fu et al. (NeurIPS
    2024) they are divided by the root of the number of a structure's orbitals and multiplied by the standard deviation
    of the training densities.

    Args:
        basis: orbitals of every site type, ``plain``.
        channels: features per component.
    """

    scale: Tensor

    def __init__(self, basis: Basis, channels: int) -> None:
        super().__init__()
        self.basis = basis
        self.register_buffer("scale", torch.ones(()))
        self.linear = nn.ModuleDict(
            {
                f"{kind}_{radial.l}": nn.Linear(channels, radial.n_radial, bias=radial.l == 0)
                for kind, radials in enumerate(basis.radials)
                for radial in radials
            }
        )

    def set_scale(self, data: TrainingData) -> None:
        """Measure the standard deviation of training densities where they are compared, e/Å³."""
        squares = []
        for key in evenly_spaced(data.keys, SCALE_RECORDS):
            label = stored_density(data.store, key)
            points = comparison(label)
            values = points.values(label).astype(np.float64)
            volumes = np.broadcast_to(points.volumes, values.shape)
            squares.append(np.average((values - np.average(values, weights=volumes)) ** 2, weights=volumes))
        self.scale.fill_(math.sqrt(np.mean(squares)))

    def forward(self, features: Tensor, graph: Graph) -> list[Tensor]:
        """
        Args:
            features: [n_sites, (l_max + 1)², channels].
            graph: the graph of the sites.

        Returns:
            For each type the coefficients of its Gaussians [n_sites_of_type, n], sites in their order.
        """
        sizes = torch.tensor(self.basis.sizes, device=features.device)[graph.site_type]
        n_orbitals = sizes.new_zeros(graph.n_structures).index_add(0, graph.structure_of_site, sizes)
        factors = graph.site_weight * self.scale * n_orbitals[graph.structure_of_site].rsqrt()
        coefficients = []
        for kind, radials in enumerate(self.basis.radials):
            sites = (graph.site_type == kind).nonzero()[:, 0]
            x = features[sites]
            parts = [
                self.linear[f"{kind}_{l}"](x[:, l * l : (l + 1) ** 2]).transpose(1, 2).flatten(1)
                for l in range(len(radials))
            ]
            coefficients.append(torch.cat(parts, dim=1) * factors[sites, None])
        return coefficients
