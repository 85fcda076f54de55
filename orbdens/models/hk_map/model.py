"""The Hohenberg-Kohn map: a potential of Gaussians in, coefficients of atom-centred orbitals out.

As Brockherde et al., Nat. Commun. 8, 872 (2017), and Bogojeski et al., Nat. Commun. 11, 5223 (2020), have it, but for
two things: coefficients are not those of plane waves in a box but of orbitals that move with the atoms, and the kernel
between two potentials is in closed form, without a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orbdens.density import Density, OrbitalDensity
from orbdens.errors import UserError
from orbdens.models.basis import Basis
from orbdens.models.electron_count import REACH, with_electrons
from orbdens.models.graph import place_graph
from orbdens.models.hk_map.alignment import Laid, harmonics_turned, lay
from orbdens.models.hk_map.options import HKMapConfig
from orbdens.models.interface import DensityModel
from orbdens.models.kernel_ridge import gaussian
from orbdens.sites import type_name
from orbdens.structure import Structure

NEGLIGIBLE = 1e-6
"""Part of its height at which the most diffuse orbital is cut."""


class HKMapModel(DensityModel):
    """Predicts coefficients of molecules of one composition; another one, or a periodic structure, is a ``UserError``.

    Facts: ``valence_electrons``, ``states``, ``basis`` (exponents in Å⁻² per element and l), ``reference`` (positions
    of the structure over which all others are laid, Å), its ``numbers`` and ``n_structures``, how many it learned from.
    """

    equivariant: ClassVar[bool] = True
    exact_electrons = True
    config: HKMapConfig

    def __init__(self, config: HKMapConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        self.basis = Basis.from_json(facts["basis"])
        self.numbers = np.array(facts["numbers"])
        n, n_atoms = facts["n_structures"], len(self.numbers)
        self.reference = Laid(np.arange(n_atoms), np.eye(3), np.array(facts["reference"]))
        self.kinds = self.basis.index(self.numbers)
        self.neutral = [float(facts["valence_electrons"][type_name(z)]) for z in self.basis.types]
        n_coefficients = int(np.array(self.basis.sizes)[self.kinds].sum())
        self.register_buffer("learned", torch.zeros(n, n_atoms, 3, dtype=torch.float64))
        self.register_buffer("gaussian_width", torch.ones((), dtype=torch.float64))
        self.register_buffer("length", torch.ones((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(n_coefficients, dtype=torch.float64))
        self.register_buffer("dual", torch.zeros(n, n_coefficients, dtype=torch.float64))
        for kind, radials in enumerate(self.basis.radials):
            self.register_buffer(f"shift_{kind}", torch.zeros(radials[0].n_radial, dtype=torch.float64))

    @property
    def n_parameters(self) -> int:
        return self.get_buffer("dual").numel()

    @property
    def width(self) -> float:
        """γ of the potential's Gaussians, Å."""
        return float(self.get_buffer("gaussian_width"))

    def count_electrons(self, structure: Structure) -> int:
        """As of every model; another composition or a periodic structure is a ``UserError`` too."""
        electrons = super().count_electrons(structure)
        if sorted(structure.numbers) != sorted(self.numbers):
            known = Structure(self.numbers, self.reference.positions).formula
            raise UserError(f"this model knows {known} alone, but got {structure.formula}")
        if structure.periodic:
            raise UserError(f"models of kind hk_map know no periodic structures, and {structure.formula} is one")
        return electrons

    def lay(self, structure: Structure) -> Laid:
        """A structure of the right composition over the reference."""
        return lay(structure.numbers, structure.positions, self.reference)

    def laid_down(self, coefficients: Tensor, laid: Laid) -> Tensor:
        """Coefficients of a structure's atoms, in their order [n], as those of the structure as it is laid down."""
        rows = self._rows(laid)
        per_type = self.basis.per_type(coefficients, torch.as_tensor(self.kinds[np.argsort(laid.order)]))
        turns = harmonics_turned(laid.turn, self._highest)
        parts = [self._turned(kind, c[rows[kind]], turns) for kind, c in enumerate(per_type)]
        return torch.cat([part.flatten() for part in parts])

    def taken_up(self, coefficients: Tensor, laid: Laid) -> list[Tensor]:
        """The inverse of ``laid_down``: for each element coefficients of the structure's atoms [n_atoms, n]."""
        rows = self._rows(laid)
        per_type = self.basis.per_type(coefficients, torch.as_tensor(self.kinds))
        turns = [turn.T for turn in harmonics_turned(laid.turn, self._highest)]
        return [self._turned(kind, c, turns)[np.argsort(rows[kind])] for kind, c in enumerate(per_type)]

    @property
    def _highest(self) -> int:
        return max(len(radials) for radials in self.basis.radials) - 1

    def _rows(self, laid: Laid) -> list[NDArray[np.int64]]:
        """For each element the row among the structure's atoms of it that lies on each of the reference's."""
        return [np.argsort(np.argsort(laid.order[self.kinds == kind])) for kind in range(len(self.basis.types))]

    def _turned(self, kind: int, coefficients: Tensor, turns: list[NDArray[np.float64]]) -> Tensor:
        blocks = self.basis.blocks(kind, coefficients)
        parts = [block @ torch.as_tensor(turns[l].T).to(block) for l, block in enumerate(blocks)]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        laid = [self.lay(structure) for structure in structures]
        positions = np.stack([one.positions for one in laid])
        squares = squared_distances(self.numbers, positions, self.get_buffer("learned").numpy(), self.width)
        kernel = torch.as_tensor(gaussian(squares, float(self.get_buffer("length"))))
        flat = self.get_buffer("mean") + kernel @ self.get_buffer("dual")
        shifts = [self.get_buffer(f"shift_{kind}") for kind in range(len(self.basis.types))]
        densities: list[Density] = []
        for structure, n, one, row in zip(structures, n_electrons, laid, flat, strict=True):
            _, graph, _ = place_graph(structure, "atoms", self.basis, REACH, n)
            coefficients = with_electrons(self.taken_up(row, one), self.basis.charges, shifts, self.neutral, graph)
            densities.append(
                OrbitalDensity(
                    structure=structure,
                    site_positions=structure.positions,
                    site_types=graph.site_type.numpy(),
                    shells=self.basis.shells,
                    coefficients=self.basis.primitives(coefficients, graph.site_type).numpy(),
                    cutoff=self.basis.reach(NEGLIGIBLE),
                    warnings=self.warnings(structure),
                    valence_electrons=self.facts["valence_electrons"],
                )
            )
        return densities


def squared_distances(
    numbers: NDArray[np.int64], some: NDArray[np.float64], others: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """∫(v − v')² dr between potentials v = Σ_a Z_a exp(−|r − R_a|² / 2γ²), over (√π γ)³.

    Args:
        numbers: Z [n_atoms], of all structures.
        some: positions, Å [n, n_atoms, 3].
        others: positions, Å [m, n_atoms, 3].
        width: γ, Å.

    Returns:
        [n, m].
    """

    def product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each structure of ``a`` with each of ``b``, which may have axes before those of atoms and coordinates."""
        squares = ((a[..., :, None, :] - b[..., None, :, :]) ** 2).sum(axis=-1)
        result: NDArray[np.float64] = np.einsum("...ab,a,b->...", np.exp(-squares / (4 * width**2)), numbers, numbers)
        return result

    cross = np.stack([product(one, others) for one in some])
    squares: NDArray[np.float64] = np.maximum(product(some, some)[:, None] + product(others, others) - 2 * cross, 0)
    return squares
