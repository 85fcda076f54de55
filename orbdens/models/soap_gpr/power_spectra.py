"""Equivariant power spectra (λ-SOAP) of atomic environments, by featomic.

The neighbours of an atom are a sum of Gaussians, expanded in radial functions and spherical harmonics; products of two
expansions, coupled by Clebsch-Gordan coefficients to degree l, turn with the molecule as spherical harmonics of degree
l do. Grisafi et al., Phys. Rev. Lett. 120, 036002 (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.models.soap_gpr.options import SoapConfig
from orbdens.structure import Structure

Spectra = list[list[NDArray[np.float64]]]
"""For each element and l: components of its atoms, in the order of structures and atoms, [n_atoms, 2l + 1, q]."""


class PowerSpectra:
    """Computes power spectra of natural parity, over the root of the norm of the invariant one.

    Args:
        numbers: atomic numbers of all elements, ascending.
        degrees: for each of them the highest l.
        config: what an environment is.

    Raises:
        UserError: featomic is not installed.
    """

    def __init__(self, numbers: Sequence[int], degrees: Sequence[int], config: SoapConfig) -> None:
        try:
            import featomic
            from featomic.clebsch_gordan import EquivariantPowerSpectrum
            from metatensor import Labels
        except ImportError:
            raise UserError(
                "models of kind soap_gpr need featomic and scikit-matter: pip install 'orbdens[kernels]'"
            ) from None
        expansion = featomic.SphericalExpansion(
            cutoff={"radius": config.cutoff, "smoothing": {"type": "ShiftedCosine", "width": config.smoothing}},
            density={"type": "Gaussian", "width": config.gaussian_width},
            basis={
                "type": "TensorProduct",
                "max_angular": config.angular_degree,
                "radial": {"type": "Gto", "max_radial": config.radial_functions - 1},
            },
        )
        self.numbers, self.degrees = list(numbers), list(degrees)
        self._calculator = EquivariantPowerSpectrum(expansion, neighbor_types=self.numbers)
        self._labels = Labels

    def __call__(self, structures: Sequence[Structure], invariant_only: bool = False) -> Spectra:
        """Power spectra of all atoms.

        Args:
            structures: of the given elements.
            invariant_only: leave out l > 0.
        """
        highest = 0 if invariant_only else max(self.degrees)
        wanted = np.array([[l, 1] for l in range(highest + 1)], dtype=np.int32)
        found: Any = self._calculator.compute(
            [_atoms(structure) for structure in structures],
            selected_keys=self._labels(["o3_lambda", "o3_sigma"], wanted),
            neighbors_to_properties=True,
        )
        widths = {int(key["o3_lambda"]): block.values.shape[2] for key, block in found.items()}
        spectra: Spectra = []
        present = {int(z) for structure in structures for z in structure.numbers}
        for number, degree in zip(self.numbers, self.degrees, strict=True):
            degrees = range(min(degree, highest) + 1)
            if number in present:
                blocks = [found.block(o3_lambda=l, o3_sigma=1, center_type=number).values for l in degrees]
                norm = np.linalg.norm(blocks[0], axis=(1, 2), keepdims=True)
                spectra.append([block / norm for block in blocks])
            else:
                spectra.append([np.zeros((0, 2 * l + 1, widths[l])) for l in degrees])
        return spectra


def _atoms(structure: Structure) -> ase.Atoms:
    return ase.Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
