"""The kernel regression: environments in, coefficients of atom-centred orbitals out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.density import Density, OrbitalDensity
from orbdens.models.basis import Basis
from orbdens.models.electron_count import REACH, with_electrons
from orbdens.models.graph import merge, place_graph
from orbdens.models.interface import DensityModel
from orbdens.models.soap_gpr.kernel import SparseKernel
from orbdens.models.soap_gpr.options import SoapConfig
from orbdens.models.soap_gpr.power_spectra import PowerSpectra
from orbdens.models.soap_gpr.variance import Variance
from orbdens.sites import type_name
from orbdens.structure import Structure

NEGLIGIBLE = 1e-6
"""Part of its height at which the most diffuse orbital is cut."""


class SoapModel(DensityModel):
    """Predicts coefficients; facts: ``valence_electrons``, ``states``, ``basis`` (exponents in Å⁻² per element and l),
    how many ``components`` of the power spectrum there are for each l, and ``environments`` of each element."""

    equivariant: ClassVar[bool] = True
    exact_electrons = True
    config: SoapConfig

    def __init__(self, config: SoapConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.basis = Basis.from_json(facts["basis"])
        degrees = [len(radials) - 1 for radials in self.basis.radials]
        self.neutral = [float(facts["valence_electrons"][type_name(z)]) for z in self.basis.types]
        environments = facts["environments"]
        self.spectra = PowerSpectra(self.basis.types, degrees, config)
        self.kernel = SparseKernel(facts["components"], environments, degrees, config.exponent)
        self.variance = Variance(environments, self.neutral)
        for kind, radials in enumerate(self.basis.radials):
            n = radials[0].n_radial
            self.register_buffer(f"mean_{kind}", torch.zeros(n, dtype=torch.float64))
            self.register_buffer(f"shift_{kind}", torch.zeros(n, dtype=torch.float64))
            for l, radial in enumerate(radials):
                shape = environments[kind] * (2 * l + 1), radial.n_radial
                self.register_buffer(f"weights_{kind}_{l}", torch.zeros(shape, dtype=torch.float64))

    @property
    def n_parameters(self) -> int:
        return sum(buffer.numel() for name, buffer in self.named_buffers() if name.startswith("weights_"))

    def regress(self, structures: Sequence[Structure]) -> tuple[list[Tensor], list[Tensor]]:
        """What the kernels say, whatever the number of electrons.

        Returns:
            For each element coefficients of its atoms [n_atoms, n] and their standard deviations [n_atoms], float64.
        """
        spectra = self.spectra(structures)
        coefficients, deviations = [], []
        for kind in range(len(self.basis.types)):
            kernels = self.kernel(spectra, kind)
            parts = [kernel @ self.get_buffer(f"weights_{kind}_{l}") for l, kernel in enumerate(kernels)]
            parts[0] = parts[0] + self.get_buffer(f"mean_{kind}")
            coefficients.append(torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1))
            deviations.append(self.variance.deviations(kind, kernels[0][:, 0], self.kernel.own(spectra, kind)))
        return coefficients, deviations

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        placed = [
            place_graph(structure, "atoms", self.basis, REACH, n)[1]
            for structure, n in zip(structures, n_electrons, strict=True)
        ]
        graph = merge(placed)
        coefficients, of_kinds = self.regress(structures)
        deviations = torch.zeros(len(graph.site_type), dtype=torch.float64)
        for kind, of_kind in enumerate(of_kinds):
            deviations[graph.site_type == kind] = of_kind
        shifts = [self.get_buffer(f"shift_{kind}") for kind in range(len(of_kinds))]
        coefficients = with_electrons(coefficients, self.basis.charges, shifts, self.neutral, graph)
        flat = self.basis.primitives(coefficients, graph.site_type).numpy()
        ptr = graph.site_ptr.tolist()
        ends = self.basis.shells.coefficient_ptr(graph.site_type)[ptr].tolist()
        densities: list[Density] = []
        for i, (structure, n) in enumerate(zip(structures, n_electrons, strict=True)):
            rows = slice(ptr[i], ptr[i + 1])
            kinds: NDArray[np.int64] = graph.site_type[rows].numpy()
            expectation = self.variance.expect(structure, kinds, deviations[rows].numpy(), n)
            doubts = () if expectation is None else expectation.warnings(structure)
            densities.append(
                OrbitalDensity(
                    structure=structure,
                    site_positions=structure.positions,
                    site_types=kinds,
                    shells=self.basis.shells,
                    coefficients=flat[ends[i] : ends[i + 1]],
                    cutoff=self.basis.reach(NEGLIGIBLE),
                    expectation=expectation,
                    warnings=self.warnings(structure) + doubts,
                    valence_electrons=self.facts["valence_electrons"],
                )
            )
        return densities
