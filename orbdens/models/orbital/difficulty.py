"""How hard the surroundings of an atom were to learn.

What error remains on structures that a model was trained on differs with the surroundings: little at carbon in a chain,
much at a nitro group. The logarithm of that error is fitted, for each site type, by a linear function of the leading
coordinates that ``novelty`` uses (ridge regression: Hoerl & Kennard, Technometrics 12, 55, 1970).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 100.0
"""Atoms it takes to be half-way from no dependence on a coordinate to that of the data."""

RIDGE_OF_MEAN = 2.0
"""The same for the mean of a type, from the mean of all types."""

FARTHEST = 4.0
"""Standard deviations; coordinates farther out count as this: a line says nothing there."""

LEAST = 1e-4
"""%; errors below are as good as none."""


class Difficulty(nn.Module):
    """Errors left on training atoms, as a function of their coordinates; 1 everywhere before ``measure``.

    Args:
        n_types: number of site types.
        n_coordinates: what ``Novelty.coordinates`` gives of each site.
    """

    weights: Tensor

    def __init__(self, n_types: int, n_coordinates: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(n_types, 1 + n_coordinates))

    def measure(self, coordinates: Tensor, site_type: Tensor, errors: Tensor) -> None:
        """Learn from atoms of training structures. A type without any keeps what an earlier training saw of it.

        Args:
            coordinates: of ``Novelty.coordinates`` [n_atoms, n_coordinates].
            site_type: [n_atoms].
            errors: ∫|ρ̂ − ρ| dr nearest to each, % of the neutral atom's electrons [n_atoms].
        """
        logarithm = (errors.double() + LEAST).log()
        mean = logarithm.mean()
        design = _design(coordinates).double()
        ridge = torch.full((design.shape[1],), RIDGE).to(design)
        ridge[0] = RIDGE_OF_MEAN
        for kind in range(len(self.weights)):
            rows = (site_type == kind).nonzero()[:, 0]
            if len(rows) == 0 and self.weights[kind].any():
                continue
            x = design[rows]
            self.weights[kind] = torch.linalg.solve(x.T @ x + torch.diag(ridge), x.T @ (logarithm[rows] - mean))
            self.weights[kind, 0] += mean

    def forward(self, coordinates: Tensor, site_type: Tensor) -> Tensor:
        """% that training would leave of an error in such surroundings [n_sites]; arguments as ``measure``."""
        return (_design(coordinates) * self.weights[site_type]).sum(dim=1).exp()


def _design(coordinates: Tensor) -> Tensor:
    ones = coordinates.new_ones(len(coordinates), 1)
    return torch.cat([ones, coordinates.clamp(-FARTHEST, FARTHEST)], dim=1)
