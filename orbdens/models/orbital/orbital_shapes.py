"""What training may change about the orbitals themselves: exponents, their scale on each site, places of virtual sites.

All of it starts at the given basis, where the conditioning of the head and the fits of the training data belong.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from orbdens.config import OrbitalConfig
from orbdens.kernels import Shells, normalisation
from orbdens.models.orbital.basis import Basis


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
        """For each type the integrals over space of its l = 0 functions [n_radial], float64.

        A normalised primitive holds √(4π) from the harmonic times N √π / (4 α^{3/2}) from r² e^{-αr²}.
        """
        return self._integrals(device, 0, lambda alpha: math.pi / (2 * alpha**1.5))

    def moments(self, device: torch.device) -> list[Tensor]:
        """For each type ∫ χ_m r_m of its l = 1 functions [n_radial], float64; r_m is y, z, x for m = -1, 0, 1.

        Of a normalised primitive it is √(4π/3) from the harmonic times 3 N √π / (8 α^{5/2}) from r⁴ e^{-αr²}.
        """
        return self._integrals(device, 1, lambda alpha: math.sqrt(3) * math.pi / (4 * alpha**2.5))

    def _integrals(self, device: torch.device, l: int, of_primitive: Callable[[Tensor], Tensor]) -> list[Tensor]:
        shells = self.shells(device, torch.float64)
        result = []
        for kind, functions in enumerate(self.basis.radial_functions):
            if l >= len(functions):
                result.append(torch.zeros(0, dtype=torch.float64, device=device))
                continue
            start = int(shells.shell_ptr[kind]) + sum(len(exponents) for exponents, _ in functions[:l])
            alpha, weight = (x[start : start + len(functions[l][0])] for x in (shells.exponents, shells.weights))
            result.append((weight * of_primitive(alpha)) @ functions[l][1].to(device))
        return result

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
