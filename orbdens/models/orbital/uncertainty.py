"""Expected errors: what it costs that the surroundings of an atom are unlike those of the training data.

The error of an atom grows with a power of its novelty (see ``novelty``),

    error = scale of its element · noveltyᵖ,  in % of the electrons of the neutral atom,

where p and the scales are fitted to the atoms of structures that were not trained on. The error of a structure is the
mean over its atoms, weighted by their electrons: two molecules far apart have that of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orbdens.expectation import Expectation
from orbdens.models.orbital.graph import Graph
from orbdens.models.orbital.novelty import Novelty, describe
from orbdens.sites import Sites

POWER, SPREAD = 1.6, 10.0
"""The power of the novelty, and what it takes to be half-way to another one: the sum over structures of the squared
deviation of the logarithm of novelty. Structures that are all alike say little about what happens farther out."""

SCALE_STRUCTURES = 2.0
"""How many structures it takes for an element to be half-way to a scale of its own."""

LEAST, MOST = 1e-4, 100.0
"""%; of the electrons of an atom: errors below are as good as none, and none is above."""

UNSEEN_STATE = 0.3
"""Electrons expected to be misplaced beside all else for a charge or multiplicity the training data do not have.

Radicals, triplets and radical cations of 1 to 6 heavy atoms: 0.05 to 1.0, whatever the size.
"""


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of the sites of a graph.

    Attributes:
        novelty: how unlike the training sites each site is [n_sites].
        atom_errors: ∫|ρ̂ − ρ| dr over the space nearest to each atom, % of the neutral atom's electrons; 0 for virtual
            sites [n_sites].
        errors: NMAE of each structure, % [n_structures].
    """

    novelty: Tensor
    atom_errors: Tensor
    errors: Tensor

    def of(self, i: int, graph: Graph, sites: Sites, usual: float) -> Expectation:
        """What is expected of structure ``i`` of the graph, whose sites are given; ``usual`` as ``Expectation``."""
        first, n_atoms = int(graph.site_ptr[i]), len(sites.types) - len(sites.bonds)
        novelty = self.novelty[first : first + len(sites.types)].cpu().double().numpy()
        present = sites.weights[n_atoms:] > 0.5  # a midpoint that has nearly faded out is no bond
        return Expectation(
            error=float(self.errors[i]),
            usual=usual,
            atom_errors=self.atom_errors[first : first + n_atoms].cpu().numpy(),
            atom_novelty=novelty[:n_atoms],
            bonds=sites.bonds[present],
            bond_novelty=novelty[n_atoms:][present],
        )


class Uncertainty(nn.Module):
    """Errors to expect. Knows nothing before it has measured the training data and errors of other structures.

    Args:
        neutral: electrons of the neutral atom of each site type, zero for virtual sites.
        l_max: highest l of the features.
        channels: features per component.
    """

    neutral: Tensor
    scale: Tensor
    power: Tensor
    usual: Tensor

    def __init__(self, neutral: Sequence[float], l_max: int, channels: int) -> None:
        super().__init__()
        self.novelty = Novelty(len(neutral), l_max, channels)
        self.register_buffer("neutral", torch.tensor(neutral, dtype=torch.float64), persistent=False)
        self.register_buffer("scale", torch.zeros(len(neutral)))
        self.register_buffer("power", torch.zeros(()))
        self.register_buffer("usual", torch.zeros(()))

    def calibrate(self, novelty: Tensor, graph: Graph, errors: Tensor) -> None:
        """Fit power and scales to structures that were not trained on: a regression of logarithms over their atoms.

        Args:
            novelty: of the sites of these structures [n_sites].
            graph: of these structures.
            errors: ∫|ρ̂ − ρ| dr over the space nearest to each atom, e, float64 [n_atoms].
        """
        n_types = len(self.scale)
        atoms = (self.neutral[graph.site_type] > 0).nonzero()[:, 0]
        kind, structure = graph.site_type[atoms], graph.structure_of_site[atoms]
        electrons = self.neutral[kind]
        weight = 1 / torch.bincount(structure)[structure].double()  # every structure counts the same
        logarithm = novelty[atoms].double().clamp(min=LEAST).log()
        design = torch.cat(
            [logarithm[:, None], torch.ones_like(logarithm)[:, None], nn.functional.one_hot(kind, n_types).double()],
            dim=1,
        )
        target = (100 * errors / electrons + LEAST).log()
        belief = torch.tensor([SPREAD, 0.0, *[SCALE_STRUCTURES] * n_types]).to(target)
        wanted = design.T @ (weight * target)
        wanted[0] += SPREAD * POWER
        solution = torch.linalg.solve((design.T * weight) @ design + torch.diag(belief), wanted)
        self.power.fill_(float(solution[0].clamp(min=0)))
        self.scale.copy_((solution[1] + solution[2:]).exp())
        # Logarithms of sums are not sums of logarithms: one factor makes the structures right.
        sums = torch.zeros_like(graph.n_electrons).index_add(0, structure, errors)
        true = 100 * sums / graph.n_electrons
        expected = self.errors(novelty, graph).errors
        factor = ((true + LEAST) / expected).log().mean().exp()
        self.scale.mul_(factor)
        self.usual.fill_(float((factor * expected).median()))

    def expect(self, features: Tensor, graph: Graph, unseen: Sequence[bool]) -> Expected | None:
        """The errors to expect; None before ``calibrate``.

        Args:
            features: [n_sites, (l_max + 1)², channels].
            graph: of the sites.
            unseen: whether charge and multiplicity of each structure are none of the training data's [n_structures].
        """
        if not self.scale.any():
            return None
        misplaced = UNSEEN_STATE * torch.tensor(unseen).to(graph.n_electrons)
        return self.errors(self.novelty(describe(features), graph.site_type), graph, misplaced)

    def errors(self, novelty: Tensor, graph: Graph, misplaced: Tensor | None = None) -> Expected:
        """The errors that go with novelties of sites [n_sites].

        Args:
            novelty: of the sites [n_sites].
            graph: of the sites.
            misplaced: electrons misplaced beside that, shared by all atoms of a structure [n_structures], float64.
        """
        kind, structure = graph.site_type, graph.structure_of_site
        electrons = self.neutral[kind]
        misplaced = torch.zeros_like(graph.n_electrons) if misplaced is None else misplaced
        total = torch.zeros_like(misplaced).index_add(0, structure, electrons)
        by_novelty = (self.scale[kind] * novelty**self.power).double().clamp(max=MOST)
        atom_errors = torch.where(electrons > 0, by_novelty + (100 * misplaced / total)[structure], 0.0)
        summed = torch.zeros_like(misplaced).index_add(0, structure, atom_errors * electrons)
        return Expected(novelty, atom_errors, summed / graph.n_electrons)
