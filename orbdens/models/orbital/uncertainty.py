"""Expected errors: of surroundings that are hard to learn, and of those unlike the training data's.

The error of an atom grows with a power of the novelty of its surroundings (see ``novelty``) and with one of the error
that training left in surroundings like them (see ``difficulty``),

    error = scale of its element · noveltyᵖ · difficultyʳ,  in % of the electrons of the neutral atom,

where p, r and the scales are fitted to the atoms of structures that were not trained on. The error of a structure is
the mean over its atoms, weighted by their electrons: two molecules far apart have that of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from orbdens.expectation import Expectation
from orbdens.models.graph import Graph
from orbdens.models.orbital.difficulty import LEAST, Difficulty
from orbdens.models.orbital.novelty import Novelty, describe
from orbdens.sites import Sites

POWER, SPREAD = 1.6, 10.0
"""The power of the novelty, and what it takes to be half-way to another one: the sum over structures of the squared
deviation of the logarithm of novelty. Structures that are all alike say little about what happens farther out."""

DIFFICULTY_POWER, DIFFICULTY_SPREAD = 0.5, 2.0
"""The same for the power of the difficulty."""

SCALE_STRUCTURES = 2.0
"""How many structures it takes for an element to be half-way to a scale of its own."""

MOST = 100.0
"""%; of the electrons of an atom: no error is above."""

UNSEEN_STATE = 0.3
"""Electrons expected to be misplaced beside all else for a charge or multiplicity the training data do not have.

Radicals, triplets and radical cations of 1 to 6 heavy atoms: 0.05 to 1.0, whatever the size.
"""


class Judged(NamedTuple):
    """What is known of the surroundings of sites.

    Attributes:
        novelty: how unlike those of training sites they are [n_sites].
        difficulty: % of the neutral atom's electrons that training leaves as an error in such surroundings [n_sites];
            without meaning for virtual sites.
    """

    novelty: Tensor
    difficulty: Tensor


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
    difficulty_power: Tensor
    usual: Tensor

    def __init__(self, neutral: Sequence[float], l_max: int, channels: int) -> None:
        super().__init__()
        self.novelty = Novelty(len(neutral), l_max, channels)
        self.difficulty = Difficulty(len(neutral), self.novelty.directions.shape[2])
        self.register_buffer("neutral", torch.tensor(neutral, dtype=torch.float64), persistent=False)
        self.register_buffer("scale", torch.zeros(len(neutral)))
        self.register_buffer("power", torch.zeros(()))
        self.register_buffer("difficulty_power", torch.zeros(()))
        self.register_buffer("usual", torch.zeros(()))

    def judge(self, features: Tensor, graph: Graph) -> Judged:
        """What is known of the sites of a graph, by the network's last features [n_sites, (l_max + 1)², channels]."""
        described = describe(features)
        coordinates = self.novelty.coordinates(described, graph.site_type)
        kinds = graph.site_type
        return Judged(self.novelty(described, kinds, coordinates), self.difficulty(coordinates, kinds))

    def learn(self, features: Tensor, graph: Graph, errors: Tensor) -> None:
        """Learn what is hard from structures that were trained on; after ``novelty.measure``.

        Args:
            features: as in ``judge``.
            graph: of these structures.
            errors: ∫|ρ̂ − ρ| dr over the space nearest to each atom, e, float64 [n_atoms].
        """
        atoms = (self.neutral[graph.site_type] > 0).nonzero()[:, 0]
        kind = graph.site_type[atoms]
        coordinates = self.novelty.coordinates(describe(features)[atoms], kind)
        self.difficulty.measure(coordinates, kind, 100 * errors / self.neutral[kind])

    def calibrate(self, judged: Judged, graph: Graph, errors: Tensor) -> None:
        """Fit powers and scales to structures that were not trained on: a regression of logarithms over their atoms.

        Args:
            judged: the sites of these structures.
            graph: of these structures.
            errors: ∫|ρ̂ − ρ| dr over the space nearest to each atom, e, float64 [n_atoms].
        """
        n_types = len(self.scale)
        atoms = (self.neutral[graph.site_type] > 0).nonzero()[:, 0]
        kind, structure = graph.site_type[atoms], graph.structure_of_site[atoms]
        electrons = self.neutral[kind]
        weight = 1 / torch.bincount(structure)[structure].double()  # every structure counts the same
        logarithms = torch.stack([of_sites[atoms].double().clamp(min=LEAST).log() for of_sites in judged], dim=1)
        types = nn.functional.one_hot(kind, n_types).double()
        design = torch.cat([logarithms, torch.ones_like(logarithms[:, :1]), types], dim=1)
        target = (100 * errors / electrons + LEAST).log()
        belief = torch.tensor([SPREAD, DIFFICULTY_SPREAD, 0.0, *[SCALE_STRUCTURES] * n_types]).to(target)
        wanted = design.T @ (weight * target)
        wanted[0] += SPREAD * POWER
        wanted[1] += DIFFICULTY_SPREAD * DIFFICULTY_POWER
        solution = torch.linalg.solve((design.T * weight) @ design + torch.diag(belief), wanted)
        self.power.fill_(float(solution[0].clamp(min=0)))
        self.difficulty_power.fill_(float(solution[1].clamp(min=0)))
        self.scale.copy_((solution[2] + solution[3:]).exp())
        # Logarithms of sums are not sums of logarithms: one factor makes the structures right.
        sums = torch.zeros_like(graph.n_electrons).index_add(0, structure, errors)
        true = 100 * sums / graph.n_electrons
        expected = self.errors(judged, graph).errors
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
        return self.errors(self.judge(features, graph), graph, misplaced)

    def errors(self, judged: Judged, graph: Graph, misplaced: Tensor | None = None) -> Expected:
        """The errors that go with what is known of sites.

        Args:
            judged: the sites.
            graph: of the sites.
            misplaced: electrons misplaced beside that, shared by all atoms of a structure [n_structures], float64.
        """
        kind, structure = graph.site_type, graph.structure_of_site
        electrons = self.neutral[kind]
        misplaced = torch.zeros_like(graph.n_electrons) if misplaced is None else misplaced
        total = torch.zeros_like(misplaced).index_add(0, structure, electrons)
        by_power = self.scale[kind] * judged.novelty**self.power * judged.difficulty**self.difficulty_power
        by_power = by_power.double().clamp(max=MOST)
        atom_errors = torch.where(electrons > 0, by_power + (100 * misplaced / total)[structure], 0.0)
        summed = torch.zeros_like(misplaced).index_add(0, structure, atom_errors * electrons)
        return Expected(judged.novelty, atom_errors, summed / graph.n_electrons)
