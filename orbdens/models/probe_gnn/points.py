"""Messages from atoms to points, and the density that is read there.

Every atom j sends Σ_nlm R_n(r) S_lm(r) w_j,nlm,c, with the vector r from it to the point: ``fields`` scalars, as its
weights w turn with the molecule like its features do. Over all atoms that is one product of matrices. The scalars of a
point are then mixed without regard to their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orbdens.kernels import normalisation, solid_harmonics
from orbdens.models.probe_gnn.options import ProbeConfig
from orbdens.structure import Structure

NUMBERS = 1 << 24
"""Values of the functions of atoms at points held at once in prediction: 64 MiB, and as much again for the rest."""

SIDE = 4.0
"""Å; points are sorted into cubes of this size, so that those looked at together hear from the same atoms."""


DEPENDENT = 1e-6
"""Combinations of Gaussians with a smaller norm than this, of the largest, do not become larger than so."""


class Centres(NamedTuple):
    """Atoms and images of atoms that points may hear from: places in Å, float32 [n, 3], and the atom of each [n]."""

    places: Tensor
    atoms: Tensor

    def to(self, device: torch.device) -> Centres:
        return Centres(self.places.to(device), self.atoms.to(device))


class PointNetwork(nn.Module):
    """From weights of atoms to the scalars of points, and from those to a density in e/Å³."""

    exponents: Tensor

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.l_max, self.cutoff = config.l_max, config.point_cutoff
        n = 1 + int(math.log(config.max_exponent / config.min_exponent) / math.log(config.beta) + 1e-6)
        exponents = config.min_exponent * config.beta ** torch.arange(n, dtype=torch.float64)
        self.register_buffer("exponents", exponents.float(), persistent=False)
        self.n_functions = n * (config.l_max + 1) ** 2
        self.fields = config.fields
        self.mixing = nn.ParameterList()
        for l in range(config.l_max + 1):
            start = torch.randn(config.channels, n * config.fields) / math.sqrt(config.channels * (config.l_max + 1))
            self.mixing.append(nn.Parameter(start))
            self.register_buffer(f"to_primitive_{l}", _orthonormal(l, exponents).float(), persistent=False)
        self.linear = nn.Linear(config.fields, 1, bias=False)
        self.up = nn.Linear(config.fields, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, 1, bias=False)
        with torch.no_grad():
            self.linear.weight *= 0.1
            self.down.weight *= 0.1

    def spread(self, features: list[Tensor]) -> Tensor:
        """Weights of ``functions`` [n_atoms, n_functions, fields] from features of atoms."""
        parts = []
        for l, (x, weight) in enumerate(zip(features, self.mixing, strict=True)):
            of_radials = (x.transpose(1, 2) @ weight).reshape(len(x), 2 * l + 1, -1, self.fields)
            parts.append(torch.einsum("kn,amnf->akmf", self.get_buffer(f"to_primitive_{l}"), of_radials))
        return torch.cat(parts, dim=2).flatten(1, 2)

    @torch.no_grad()
    def functions(self, points: Tensor, places: Tensor) -> Tensor:
        """exp(-αr²) S_lm(r) for the vectors r from every place to every point [n_points, n_places * n_functions].

        They fade to zero at the cut-off.
        """
        vectors = (points[:, None] - places).reshape(-1, 3)
        square = vectors.square().sum(dim=1)
        u = square / self.cutoff**2
        fade = (1 - u.clamp(max=1.0)) ** 3
        radial = torch.exp(-square[:, None] * self.exponents) * fade[:, None]
        harmonics = solid_harmonics(self.l_max, vectors)
        return (radial[:, :, None] * harmonics[:, None]).reshape(len(points), -1)

    def forward(self, points: Tensor, centres: Centres, weights: Tensor) -> Tensor:
        """Density in e/Å³ [n_points] at points [n_points, 3] in Å; where nothing is heard there is none.

        Args:
            points: about the same origin as the centres.
            centres: what they hear from.
            weights: of the atoms, as ``spread`` gives them.
        """
        received = self.functions(points, centres.places) @ weights[centres.atoms].flatten(0, 1)
        gate, value = self.up(received).chunk(2, dim=1)
        result: Tensor = (self.linear(received) + self.down(nn.functional.silu(gate) * value))[:, 0]
        return result

    @torch.no_grad()
    def at(self, structure: Structure, points: NDArray[np.float64], weights: Tensor) -> NDArray[np.float32]:
        """Density in e/Å³ [n_points] at any points, in chunks that keep within ``NUMBERS``.

        Args:
            structure: whose atoms they hear from.
            points: Å [n_points, 3].
            weights: of its atoms, as ``spread`` gives them.
        """
        values = np.zeros(len(points), dtype=np.float32)
        surroundings = Surroundings.of(structure, self.cutoff)
        wrapped = surroundings.wrapped(points)
        for chosen in _cubes(wrapped):
            centres = surroundings.near(wrapped[chosen]).to(weights.device)
            step = max(1, NUMBERS // max(1, len(centres.atoms) * self.n_functions))
            for start in range(0, len(chosen), step):
                some = chosen[start : start + step]
                here = surroundings.moved(wrapped[some]).to(weights.device)
                values[some] = self(here, centres, weights).cpu().numpy()
        return values


def _orthonormal(l: int, exponents: Tensor) -> Tensor:
    """[n, n]; columns are orthonormal combinations of S_lm(r) exp(-αr²), each as near to one of these as can be.

    By Löwdin's S^(-1/2), which depends on no signs of eigenvectors: weights mean the same on every machine.
    """
    norms = normalisation(torch.full((len(exponents),), l), exponents)
    overlap = (2 * torch.outer(exponents, exponents).sqrt() / (exponents[:, None] + exponents)) ** (l + 1.5)
    values, vectors = torch.linalg.eigh(overlap)
    values = values.clamp(min=DEPENDENT * float(values[-1]))
    return norms[:, None] * ((vectors / values.sqrt()) @ vectors.T)


def _cubes(points: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """Indices of points, those of a cube together."""
    if len(points):
        cube = np.floor((points - points.min(axis=0)) / SIDE).astype(np.int64)
        order = np.lexsort(cube.T)
        changes = np.flatnonzero((np.diff(cube[order], axis=0) != 0).any(axis=1)) + 1
        yield from np.split(order, changes)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Atoms of a structure, and images of atoms, from which points may hear.

    Attributes:
        structure: whose.
        reach: Å; how far they are heard.
        places: Å [n, 3], in the cell and within reach of it.
        atoms: the atom of each [n].
    """

    structure: Structure
    reach: float
    places: NDArray[np.float64]
    atoms: NDArray[np.int64]

    @classmethod
    def of(cls, structure: Structure, reach: float) -> Surroundings:
        own = np.arange(structure.n_atoms)
        if structure.cell is None or not structure.periodic:
            return cls(structure, reach, structure.positions, own)
        inverse = np.linalg.inv(structure.cell)
        margin = reach * np.linalg.norm(inverse, axis=0)  # its columns are as long as lattice planes are dense
        n_cells = np.ceil(margin).astype(int) * structure.pbc
        shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in n_cells), indexing="ij"), axis=-1).reshape(-1, 3)
        places = (_wrapped(structure, structure.positions) + (shifts @ structure.cell)[:, None]).reshape(-1, 3)
        fractions = places @ inverse
        near = (((fractions > -margin) & (fractions < 1 + margin)) | ~np.array(structure.pbc)).all(axis=1)
        return cls(structure, reach, places[near], np.tile(own, len(shifts))[near])

    @property
    def middle(self) -> NDArray[np.float64]:
        """Å [3]."""
        result: NDArray[np.float64] = self.places.mean(axis=0)
        return result

    def wrapped(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points inside the cell, along the vectors that repeat, Å [n_points, 3]."""
        return _wrapped(self.structure, points)

    def moved(self, points: NDArray[np.float64]) -> Tensor:
        """Wrapped points about the ``middle``, float32 [n_points, 3]: far from it digits would be lost."""
        return torch.as_tensor(points - self.middle, dtype=torch.float32)

    def near(self, points: NDArray[np.float64]) -> Centres:
        """Those that some wrapped points may hear, by the box around these; about the ``middle``."""
        outside = np.maximum(np.maximum(points.min(axis=0) - self.places, self.places - points.max(axis=0)), 0)
        near = np.flatnonzero((outside**2).sum(axis=1) < self.reach**2)
        return Centres(self.moved(self.places[near]), torch.as_tensor(self.atoms[near]))


def _wrapped(structure: Structure, points: NDArray[np.float64]) -> NDArray[np.float64]:
    if structure.cell is None or not structure.periodic:
        return points
    fractions = points @ np.linalg.inv(structure.cell)
    return points - (np.floor(fractions) * structure.pbc) @ structure.cell
