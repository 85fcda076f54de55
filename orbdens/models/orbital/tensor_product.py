"""Messages as tensor products with the harmonics of the edge: what the convolution in its frame is measured against."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from orbdens.kernels import row_degrees
from orbdens.models.orbital.layers import Edges


class TensorProductConvolution(nn.Module):
    """Messages along edges as in NequIP (Batzner et al., Nat. Commun. 2022): e3nn's tensor product, channel by channel.

    Each path takes l of the source and l' of the edge's harmonics to l'', weighed by length and elements. The paths to
    l'' are then mixed, after the sum over edges, which is the same and cheaper. The target's features do not enter.
    Parity is natural, so l + l' + l'' is even.
    """

    scale: Tensor

    def __init__(self, l_max: int, channels: int, edge_scalars: int) -> None:
        from e3nn import o3

        super().__init__()
        self.l_max = l_max
        irreps = [(channels, (l, (-1) ** l)) for l in range(l_max + 1)]
        paths = [
            (first, second, third)
            for third in range(l_max + 1)
            for first in range(l_max + 1)
            for second in range(abs(first - third), min(first + third, l_max) + 1, 2)
        ]
        product = o3.TensorProduct(
            irreps,
            [(1, ir) for _, ir in irreps],
            [irreps[third] for *_, third in paths],
            [(first, second, i, "uvu", True) for i, (first, second, _) in enumerate(paths)],
            shared_weights=False,
        )
        # A first copy may hold more of e3nn's constants than the original, and averaging weights compares with a copy.
        self.product = deepcopy(product)
        self.radial = nn.Linear(edge_scalars, product.weight_numel)
        self.widths = [sum(third == l for *_, third in paths) * channels for l in range(l_max + 1)]
        self.mix = nn.ModuleList(nn.Linear(width, channels, bias=False) for width in self.widths)
        self.rows = [2 * l + 1 for l in range(l_max + 1)]
        # e3nn takes harmonics of norm sqrt(2l + 1).
        self.register_buffer("scale", (2.0 * row_degrees(l_max) + 1).sqrt(), persistent=False)

    def forward(self, x: Tensor, parts: Iterable[Edges]) -> Tensor:
        """What each site receives, [n_sites, (l_max + 1)², channels] as x."""
        # e3nn's axes are (y, z, x), which leaves components in order, but it wants [channels, 2l + 1] of each l.
        sites = torch.cat([part.transpose(1, 2).flatten(1) for part in torch.split(x, self.rows, dim=1)], dim=1)
        received = x.new_zeros(len(x), self.product.irreps_out.dim)
        for edges in parts:
            received = received.index_add_(0, edges.ends[1], self._messages(sites, edges).to(x.dtype))
        sizes = [width * rows for width, rows in zip(self.widths, self.rows, strict=True)]
        sums = torch.split(received, sizes, dim=1)
        shaped = [part.reshape(len(x), -1, rows) for rows, part in zip(self.rows, sums, strict=True)]
        return torch.cat([mix(part.transpose(1, 2)) for mix, part in zip(self.mix, shaped, strict=True)], dim=1)

    def _messages(self, sites: Tensor, edges: Edges) -> Tensor:
        """What goes along each edge, all paths to l'' = 0, then to 1, ... [n_edges, n]."""
        # The harmonics of a direction are what m = 0 along it turns into, here faded and scaled as every message.
        harmonics = edges.back[:, : (self.l_max + 1) ** 2] * self.scale
        messages: Tensor = self.product(sites.index_select(0, edges.ends[0]), harmonics, self.radial(edges.scalars))
        return messages
