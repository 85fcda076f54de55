"""What training may change about the orbitals themselves: exponents, their scale on each site, places of virtual sites.

All of it starts at the given basis, where the conditioning of the head and the fits of the training data belong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from orbdens.kernels import Shells, normalisation, shell_integrals
from orbdens.models.basis import Basis
from orbdens.models.orbital.options import OrbitalConfig


class OrbitalShapes(nn.Module):
    """Exponents of every type, learnable in their logarithms, and per-site changes read from the features.

    Args:
        basis: where it starts.
        virtual: which site types are virtual sites; only those may be displaced.
        config: ``learn_exponents``, ``scaling_limit`` and ``displacement_limit`` say what is learned.
    """

    movable: Tensor

    def __init__(self, basis: Basis, virtual: list[bool], config: OrbitalConfig) -> None:
        super().__init__()
        self.basis = basis
        self.scaling_limit, self.displacement_limit = config.scaling_limit, config.displacement_limit
        n_types = len(virtual)
        self.log_ratio = nn.Parameter(torch.zeros(len(basis.shells.exponents))) if config.learn_exponents else None
        self.scale = nn.Parameter(torch.zeros(n_types, config.channels)) if config.scaling_limit > 1 else None
        self.shift = nn.Parameter(torch.zeros(n_types, config.channels)) if config.displacement_limit > 0 else None
        self.register_buffer("movable", torch.tensor(virtual), persistent=False)

    def shells(self, device: torch.device, dtype: torch.dtype) -> Shells:
        """The table of primitives with the exponents as they are now, L2-normalised."""
        start = self.basis.shells.to(device)
        if self.log_ratio is None:
            return start.to(dtype=dtype)
        exponents = start.exponents * torch.exp(self.log_ratio.double())
        return start.with_radial(exponents.to(dtype), normalisation(start.shell_l, exponents).to(dtype))

    def charges(self, device: torch.device) -> list[Tensor]:
        """For each type the integrals over space of its l = 0 functions [n_radial], float64."""
        shells = self.shells(device, torch.float64)
        integrals = shell_integrals(shells)
        return [
            integrals[start : start + len(functions[0][0])] @ functions[0][1].to(device)
            for start, functions in zip(shells.shell_ptr.tolist(), self.basis.radial_functions, strict=False)
        ]

    def scalings(self, features: Tensor, site_type: Tensor) -> Tensor | None:
        """Factor on all exponents of each site [n_sites], between 1 / limit and limit; None where there is none.

        Args:
            features: [n_sites, (l_max + 1)², channels].
            site_type: [n_sites].
        """
        if self.scale is None:
            return None
        return torch.exp(math.log(self.scaling_limit) * torch.tanh((features[:, 0] * self.scale[site_type]).sum(dim=1)))

    def displacements(self, features: Tensor, site_type: Tensor) -> Tensor | None:
        """Vector from each site's place by its rule to where its orbitals sit, Å [n_sites, 3]; zero for atoms."""
        if self.shift is None:
            return None
        vector = (features[:, [3, 1, 2]] * self.shift[site_type][:, None]).sum(dim=2)  # m = -1, 0, 1 are y, z, x
        bounded = vector * torch.rsqrt(1 + vector.square().sum(dim=1, keepdim=True))
        return self.displacement_limit * bounded * self.movable[site_type][:, None]
