"""Spherical densities of free atoms, H to Kr and I, with all electrons or those of the valence, in closed form.

Unrestricted PBE with fractional occupations, scalar-relativistic with all electrons, GTH-PBE pseudopotentials for the
valence; fitted by Gaussians of l = 0 (``data_tools/recipes/free_atoms.py``), from which all of this follows exactly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from orbdens import shipped
from orbdens.density import OrbitalDensity
from orbdens.errors import UserError
from orbdens.fragments import local_charges
from orbdens.kernels import Shells
from orbdens.points import checked_points
from orbdens.structure import Structure

Kind = Literal["all-electron", "valence"]

NEGLIGIBLE = 36.0
"""A Gaussian is left out where its exponent times r² is larger: exp(-36) is 2e-16."""


@dataclass(frozen=True, eq=False)
class FreeAtom:
    """The spherical density Σ q (a / π)^(3/2) exp(-a r²) of a free atom, or a difference of two such.

    Attributes:
        symbol: its element.
        exponents: a in Å⁻², ascending within each density [n_gaussians].
        electrons: q in e, of each Gaussian [n_gaussians].
    """

    symbol: str
    exponents: NDArray[np.float64]
    electrons: NDArray[np.float64]

    @property
    def n_electrons(self) -> float:
        """∫ρ dr."""
        return float(self.electrons.sum())

    @property
    def mean_square_radius(self) -> float:
        """∫ρ r² dr in e·Å²: of all electrons together, not of one."""
        return float((1.5 * self.electrons / self.exponents).sum())

    @property
    def volume(self) -> float:
        """∫ρ r³ dr in e·Å³, the free volume that Tkatchenko and Scheffler's scaling takes as its unit."""
        return float((4 / np.sqrt(np.pi) * self.electrons / self.exponents**1.5).sum())

    def at(self, radii: ArrayLike) -> NDArray[np.float64]:
        """Density in e/Å³ at distances from the nucleus in Å, in the shape of ``radii``."""
        square = np.square(np.asarray(radii, dtype=np.float64))
        order = np.argsort(square, axis=None)
        ordered = square.reshape(-1)[order]
        total = np.zeros(len(ordered))
        for exponent, peak in zip(self.exponents, self.electrons * (self.exponents / np.pi) ** 1.5, strict=True):
            near = np.searchsorted(ordered, NEGLIGIBLE / exponent)
            total[:near] += peak * np.exp(-exponent * ordered[:near])
        values = np.empty_like(total)
        values[order] = total
        return values.reshape(square.shape)

    def form_factor(self, wave_numbers: ArrayLike) -> NDArray[np.float64]:
        """∫ρ exp(ik·r) dr in e at k = 4π sinθ / λ in Å⁻¹, in the shape of ``wave_numbers``."""
        square = np.square(np.asarray(wave_numbers, dtype=np.float64))
        values: NDArray[np.float64] = np.exp(-square[..., None] / (4 * self.exponents)) @ self.electrons
        return values

    def __sub__(self, other: FreeAtom) -> FreeAtom:
        """The difference of two densities of one element."""
        return FreeAtom(
            self.symbol,
            np.concatenate([self.exponents, other.exponents]),
            np.concatenate([self.electrons, -other.electrons]),
        )


@cache
def _tables() -> dict[str, dict[str, FreeAtom]]:
    content = json.loads(shipped.free_atoms_path().read_text(encoding="utf-8"))
    return {
        kind: {symbol: FreeAtom(symbol, *(np.array(row) for row in rows)) for symbol, rows in content[kind].items()}
        for kind in ("all-electron", "valence")
    }


def free_atom(symbol: str, kind: Kind = "all-electron") -> FreeAtom:
    """The free atom of an element, with all its electrons or those that the GTH-PBE pseudopotential leaves.

    Raises:
        UserError: there is none; they go from H to Kr, and I.
    """
    atoms = _tables()[kind]
    if symbol not in atoms:
        raise UserError(f"there is no free atom of {symbol}: they go from H to Kr, and I")
    return atoms[symbol]


def core(symbol: str) -> FreeAtom:
    """What a valence density lacks around a nucleus: the free atom less its valence pseudo-atom.

    The core's electrons, and the difference of the true and the pseudised valence density within the core's radius;
    for H, which has no core, that difference alone, of zero electrons.

    Raises:
        UserError: as ``free_atom``.
    """
    return free_atom(symbol) - free_atom(symbol, "valence")


def superposition(structure: Structure, atoms: dict[str, FreeAtom]) -> OrbitalDensity:
    """Spherical atoms, one of the given densities at the place of every atom of a structure.

    Args:
        structure: any; its charge does not matter.
        atoms: by symbol.
    """
    types = np.array([list(atoms).index(symbol) for symbol in structure.symbols])
    ones = torch.ones(structure.n_atoms, dtype=torch.float64)
    return OrbitalDensity(structure, structure.positions, types, _shells([*atoms.values()]), ones, cutoff=None)


def _shells(atoms: list[FreeAtom]) -> Shells:
    """Free atoms as contracted shells of l = 0, each a type of its own."""
    exponents = np.concatenate([atom.exponents for atom in atoms])
    electrons = np.concatenate([atom.electrons for atom in atoms])
    return Shells(  # S_00 = 1 / √4π
        torch.arange(len(atoms) + 1),
        torch.zeros(len(atoms), dtype=torch.int64),
        torch.tensor([0, *(len(atom.exponents) for atom in atoms)]).cumsum(0),
        torch.as_tensor(exponents),
        torch.as_tensor(electrons * (exponents / np.pi) ** 1.5 * np.sqrt(4 * np.pi)),
    )


def promolecule(structure: Structure, kind: Kind = "all-electron") -> OrbitalDensity:
    """The superposition of neutral free atoms, as a density like any other.

    Raises:
        UserError: as ``free_atom``.
    """
    return superposition(structure, {symbol: free_atom(symbol, kind) for symbol in sorted(set(structure.symbols))})


def charged_promolecule(structure: Structure, kind: Kind = "all-electron") -> OrbitalDensity:
    """As ``promolecule``, with exactly the electrons that the structure's charge leaves.

    Every atom gives its even share of the charge of its molecule (``fragments.local_charges``) as a part of its
    valence density, so that cores stay whole.

    Raises:
        UserError: as ``free_atom``.
    """
    neutral = promolecule(structure, kind)
    if structure.charge == 0:
        return neutral
    symbols = sorted(set(structure.symbols))
    valence = [free_atom(symbol, "valence") for symbol in symbols]
    types = np.array([symbols.index(symbol) for symbol in structure.symbols])
    parts = -local_charges(structure)[1] / np.array([atom.n_electrons for atom in valence])[types]
    if kind == "valence":
        return replace(neutral, coefficients=torch.as_tensor(1 + parts))
    return OrbitalDensity(
        structure,
        np.concatenate([structure.positions, structure.positions]),
        np.concatenate([types, types + len(symbols)]),
        _shells([free_atom(symbol, kind) for symbol in symbols] + valence),
        torch.as_tensor(np.concatenate([np.ones(structure.n_atoms), parts])),
        cutoff=None,
    )


def atoms_at(structure: Structure, points: ArrayLike, kind: Kind = "all-electron") -> NDArray[np.float64]:
    """Density in e/Å³ of every free atom at points in Å [n_points, 3], without periodic images [n_atoms, n_points].

    Raises:
        UserError: as ``free_atom``, or the points have another shape or are not finite.
    """
    places = checked_points(points)
    values = np.empty((structure.n_atoms, len(places)))
    for atom, symbol in enumerate(structure.symbols):
        distances = np.linalg.norm(places - structure.positions[atom], axis=1)
        values[atom] = free_atom(symbol, kind).at(distances)
    return values


def hirshfeld_weights(structure: Structure, points: ArrayLike) -> NDArray[np.float64]:
    """Share of every atom in the density of free all-electron atoms at points in Å [n_atoms, n_points].

    Shares at a point add up to one, or to zero where no free atom has any density (beyond some 12 Å).
    After F. L. Hirshfeld, Theor. Chim. Acta 44, 129 (1977).

    Raises:
        UserError: as ``atoms_at``.
    """
    parts = np.maximum(atoms_at(structure, points), 0)
    total = parts.sum(axis=0)
    return np.divide(parts, total, out=parts, where=total > 0)
