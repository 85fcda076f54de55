"""How unlike those of the training data the surroundings of a site are.

The network's last features of a site, reduced to n numbers x that do not turn with the molecule, scatter about the mean
of the training sites of its type with a covariance C. Of C the leading directions are kept, and one variance for all
others (probabilistic PCA: Tipping & Bishop, J. R. Stat. Soc. B 61, 611, 1999). Distances are in standard deviations,
|x|² = xᵀ C⁻¹ x / n. The *novelty* of a site is made of two, the first from the mean and the second, along the leading
directions alone, from the nearest training site,

    novelty = |x − mean|^(3/4) · |x − nearest|^(1/4),

about 0.6 for sites like those of the training data: what is rare there, far from the mean, has mostly been learned all
the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orbdens.kernels import multiply_degrees

DIRECTIONS = 64
"""Leading directions of a covariance that are kept, unless that is more than half of all."""

BORROWED = 0.3
"""Sites, for each number that describes one, that every type borrows from all types: some types are rare."""

RIDGE = 1e-3
"""Added to covariances, as a share of their mean: directions without any variance must not blow up."""

KNOWN = 500
"""Training sites of each type that are kept, spread as widely as they can be."""

NEAREST = 0.25
"""The power of the distance to the nearest of them in the novelty."""

CLOSE = 0.03
"""Standard deviations; a site is no nearer to a training site than this."""


class Novelty(nn.Module):
    """Mean, covariance and examples of the training sites of each type; all zero before ``measure``.

    Args:
        n_types: number of site types.
        l_max: highest l of the features.
        channels: features per component.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    known: Tensor

    def __init__(self, n_types: int, l_max: int, channels: int) -> None:
        super().__init__()
        size = (l_max + 1) * channels
        kept = min(DIRECTIONS, size // 2)
        self.register_buffer("mean", torch.zeros(n_types, size))
        self.register_buffer("directions", torch.zeros(n_types, size, kept))
        self.register_buffer("variances", torch.zeros(n_types, kept + 1))
        self.register_buffer("known", torch.zeros(n_types, KNOWN, kept))

    def measure(self, described: Tensor, site_type: Tensor, weight: Tensor) -> None:
        """Take in the training sites. A type without any keeps what an earlier training saw of it.

        Args:
            described: the sites as ``describe`` has them [n_sites, n].
            site_type: [n_sites].
            weight: how much each counts, 0 to 1 [n_sites].
        """
        n_types, size, kept = self.directions.shape
        rows_of_type = [(site_type == kind).nonzero()[:, 0] for kind in range(n_types)]
        moments = [_moments(described[rows], weight[rows]) for rows in rows_of_type]
        total = sum(count for count, _, _ in moments)
        pooled = torch.stack([spread for _, _, spread in moments]).sum(dim=0) / total
        borrowed = BORROWED * size
        for kind, (count, mean, spread) in enumerate(moments):
            if count == 0 and self.variances[kind].any():
                continue
            values, vectors = torch.linalg.eigh((spread + borrowed * pooled) / (count + borrowed))
            values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
            # Without any neighbours all features of l > 0 vanish: a floor that is not relative.
            rest = values[kept:].mean() + RIDGE * values.mean() + 1e-12
            self.mean[kind] = mean
            self.directions[kind] = vectors[:, :kept]
            self.variances[kind] = torch.cat([values[:kept].clamp(min=rest), rest[None]])
            present = described[rows_of_type[kind]][weight[rows_of_type[kind]] > 0.5]
            self.known[kind] = _spread_out(self._leading(kind, present - self.mean[kind]), KNOWN)

    def forward(self, described: Tensor, site_type: Tensor, coordinates: Tensor | None = None) -> Tensor:
        """The novelty of sites [n_sites]; arguments as ``measure``, and ``coordinates`` where these are known."""
        coordinates = self.coordinates(described, site_type) if coordinates is None else coordinates
        result = described.new_zeros(len(described))
        for kind in range(len(self.mean)):
            rows = (site_type == kind).nonzero()[:, 0]
            z = described[rows] - self.mean[kind]
            leading = coordinates[rows]
            rest = z - (z @ self.directions[kind]) @ self.directions[kind].T
            from_mean = leading.square().sum(dim=1) + rest.square().sum(dim=1) / self.variances[kind, -1]
            from_nearest = torch.cdist(leading, self.known[kind]).amin(dim=1).square()
            squares = from_mean ** (1 - NEAREST) * (from_nearest + CLOSE**2 * z.shape[1]) ** NEAREST
            result = result.index_copy(0, rows, (squares / z.shape[1]).sqrt())
        return result

    def coordinates(self, described: Tensor, site_type: Tensor) -> Tensor:
        """Where sites are along the leading directions of their types, in standard deviations [n_sites, n_directions].

        Arguments as ``measure``; zero for types without training sites.
        """
        result = described.new_zeros(len(described), self.directions.shape[2])
        for kind in range(len(self.mean)):
            rows = (site_type == kind).nonzero()[:, 0]
            if self.variances[kind].any():
                result = result.index_copy(0, rows, self._leading(kind, described[rows] - self.mean[kind]))
        return result

    def _leading(self, kind: int, z: Tensor) -> Tensor:
        """Coordinates along the leading directions, in standard deviations [n_sites, n_directions]."""
        return z @ self.directions[kind] / self.variances[kind, :-1].sqrt()


def describe(features: Tensor) -> Tensor:
    """What of features [n_sites, (l_max + 1)², channels] does not turn with the molecule [n_sites, n].

    The scalars, and for each l > 0 the root mean square over m of every channel: n = (l_max + 1) · channels.
    """
    squares = multiply_degrees(features, features)
    sizes = 2 * torch.arange(squares.shape[1]).to(squares) + 1
    norms = (squares / sizes[:, None]).sqrt()
    return torch.cat([features[:, :1], norms[:, 1:]], dim=1).flatten(1)


def _moments(described: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of weights, weighted mean [n], and weighted sum of squares about it [n, n], float64."""
    x, w = described.double(), weight.double()
    count = w.sum()
    mean = (w[:, None] * x).sum(dim=0) / count.clamp(min=1e-9)
    z = x - mean
    return count, mean, (w[:, None] * z).T @ z


def _spread_out(points: Tensor, n: int) -> Tensor:
    """Points [n, ...] of some [n_points, ...], each the farthest from those before; some twice if there are fewer."""
    if not len(points):
        return points.new_zeros(n, *points.shape[1:])
    chosen = [0]
    nearest = (points - points[0]).square().sum(dim=1)
    for _ in range(min(n, len(points)) - 1):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(dim=1))
    return points[[chosen[i % len(chosen)] for i in range(n)]]
