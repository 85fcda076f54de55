"""The orbital model: graph in, coefficients of atom-centred Gaussian orbitals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from orbdens.density import Density, OrbitalDensity
from orbdens.devices import MIXED
from orbdens.models.basis import Basis
from orbdens.models.graph import Graph, merge, place_graph
from orbdens.models.interface import DensityModel
from orbdens.models.orbital.backbone import Backbone
from orbdens.models.orbital.head import Head
from orbdens.models.orbital.options import OrbitalConfig
from orbdens.models.orbital.orbital_shapes import OrbitalShapes
from orbdens.models.orbital.plain_head import PlainHead
from orbdens.models.orbital.uncertainty import Uncertainty
from orbdens.sites import BOND, Sites, type_name
from orbdens.structure import Structure

NEGLIGIBLE = 1e-6
"""Part of its height at which the most diffuse orbital is cut, where the config does not say where."""


@dataclass(frozen=True, eq=False)
class SiteOrbitals:
    """What the network predicts for the sites of a graph.

    Attributes:
        coefficients: coefficients of the orthonormal functions, for each type [n_sites_of_type, n]; float64 where the
            number of electrons is exact.
        charges: integrals of the l = 0 functions of each site, for each type [n_sites_of_type, n_radial], float64.
        displacements: from each site's place to where its orbitals sit, Å [n_sites, 3], or None.
        scalings: factors on the exponents of each site [n_sites], or None.
    """

    coefficients: list[Tensor]
    charges: list[Tensor]
    displacements: Tensor | None
    scalings: Tensor | None


class OrbitalModel(DensityModel):
    """Predicts coefficients; facts: ``valence_electrons``, ``states``, ``basis`` (exponents in Å⁻² per site type
    and l) and ``bonds`` (bonded pairs of elements, as ``H-C``)."""

    equivariant: ClassVar[bool] = True
    takes_mixed_precision: ClassVar[bool] = True
    config: OrbitalConfig

    def __init__(self, config: OrbitalConfig, facts: dict[str, Any]) -> None:
        super().__init__(config, facts)
        plain = config.head == "plain"
        self.exact_electrons = not plain
        self.basis = Basis.from_json(facts["basis"], plain=plain)
        virtual = [site_type >= BOND for site_type in self.basis.types]
        self.backbone = Backbone(config, virtual)
        valence = facts["valence_electrons"]
        neutral = [0.0 if kind >= BOND else valence[type_name(kind)] for kind in self.basis.types]
        self.head: Head | PlainHead
        if plain:
            self.head = PlainHead(self.basis, config.channels)
        else:
            reach = config.cutoff if config.electrons == "local" else None
            self.head = Head(self.basis, config.channels, neutral, reach)
        self.shapes = OrbitalShapes(self.basis, virtual, config)
        self.uncertainty = Uncertainty(neutral, config.l_max, config.channels)

    @property
    def orbital_cutoff(self) -> float:
        """Å; an orbital is zero farther from its site than this."""
        given = self.config.orbital_cutoff
        return self.basis.reach(NEGLIGIBLE) if given is None else given

    def place(self, structure: Structure, n_electrons: float) -> tuple[Sites, Graph, dict[str, str]]:
        """Sites, graph and bonded pairs of elements of a structure that was checked: see ``place_graph``."""
        return place_graph(structure, self.config.sites, self.basis, self.config.cutoff, n_electrons)

    def _unknown_bonds(self, bonds: dict[str, str]) -> tuple[str, ...]:
        """A phrase for each bonded pair of elements that the training data do not have."""
        known = self.facts.get("bonds")
        if known is None:  # models of version 1, of which those with a type for each pair can tell
            known = [type_name(kind) for kind in self.basis.types] if self.config.sites == "bond-pairs" else bonds
        return tuple(
            f"nothing the model learned from had a bond {pair} (as {atoms} here)"
            for pair, atoms in bonds.items()
            if pair not in known
        )

    def features(self, graph: Graph) -> Tensor:
        """What the network knows of each site in the end [n_sites, (l_max + 1)², channels], float32."""
        features: Tensor = self.backbone(graph.site_type, graph.edge_index, graph.edge_vector, graph.state)
        return features.float()

    def forward(self, graph: Graph, *, shapes_learn: bool = True) -> SiteOrbitals:
        """Orbitals of all sites.

        Args:
            graph: the graph of one structure or many.
            shapes_learn: whether gradients reach exponents, scalings and displacements.
        """
        return self.orbitals(self.features(graph), graph, shapes_learn=shapes_learn)

    def orbitals(self, features: Tensor, graph: Graph, *, shapes_learn: bool = True) -> SiteOrbitals:
        """Orbitals of all sites from their ``features``."""
        device, site_type = features.device, graph.site_type
        with torch.autocast(device.type, enabled=False):
            with torch.set_grad_enabled(torch.is_grad_enabled() and shapes_learn):
                scalings = self.shapes.scalings(features, site_type)
                displacements = self.shapes.displacements(features, site_type)
                charges = _per_site(self.shapes.charges(device), site_type, scalings)
            if isinstance(self.head, PlainHead):
                coefficients = self.head(features, graph)
            else:
                coefficients = self.head(features, graph, charges)
            return SiteOrbitals(coefficients, charges, displacements, scalings)

    def encode(self, structures: Sequence[Structure], n_electrons: Sequence[int]) -> list[Density]:
        placed = [self.place(structure, n) for structure, n in zip(structures, n_electrons, strict=True)]
        here = merge([graph for _, graph, _ in placed])  # on the processor, where densities have their places
        graph = here.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == MIXED):
            features = self.features(graph)
        orbitals = self.orbitals(features, graph)
        states = [self.warnings(structure) for structure in structures]
        usual = float(self.uncertainty.usual)
        expected = self.uncertainty.expect(features, graph, [bool(phrases) for phrases in states])
        doubles = [c.double() for c in orbitals.coefficients]
        scalings = None if orbitals.scalings is None else orbitals.scalings.double()
        coefficients = self.basis.primitives(doubles, graph.site_type, scalings)
        shells = self.shapes.shells(self.device, torch.float64).to(torch.device("cpu"))
        site_type, ptr = here.site_type, here.site_ptr.tolist()
        ends = shells.coefficient_ptr(site_type)[ptr].tolist()
        densities: list[Density] = []
        for i, (structure, (sites, _, bonds)) in enumerate(zip(structures, placed, strict=True)):
            rows = slice(ptr[i], ptr[i + 1])
            positions, its_shells, its_types = sites.positions, shells, site_type[rows]
            if orbitals.displacements is not None:
                positions = positions + orbitals.displacements[rows].cpu().double().numpy()
            if scalings is not None:
                its_shells = shells.per_site(its_types, scalings[rows].cpu())
                its_types = torch.arange(len(its_types))
            expectation = None if expected is None else expected.of(i, graph, sites, usual)
            doubts = () if expectation is None else expectation.warnings(structure)
            densities.append(
                OrbitalDensity(
                    structure=structure,
                    site_positions=positions,
                    site_types=its_types.numpy(),
                    shells=its_shells,
                    coefficients=coefficients[ends[i] : ends[i + 1]],
                    cutoff=self.orbital_cutoff,
                    expectation=expectation,
                    warnings=states[i] + self._unknown_bonds(bonds) + doubts,
                    valence_electrons=self.facts["valence_electrons"],
                )
            )
        return densities


def _per_site(integrals: list[Tensor], site_type: Tensor, scalings: Tensor | None) -> list[Tensor]:
    """Integrals of l = 0 functions, given for each type [n_radial], for its sites [n_sites_of_type, n_radial].

    Those of a function that stays normalised, N(α) / α^{3/2}, go as α^{-3/4}.
    """
    return [
        values.expand(int((site_type == kind).sum()), -1)
        if scalings is None
        else scalings[site_type == kind, None].double() ** -0.75 * values
        for kind, values in enumerate(integrals)
    ]
