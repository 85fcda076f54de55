"""Where orbitals sit. Every rule maps a structure to positions and types of sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbdens.structure import Structure


@dataclass(frozen=True, eq=False)
class Sites:
    """Positions in Å [n_sites, 3] and type [n_sites]: an atom's type is its atomic number."""

    positions: NDArray[np.float64]
    types: NDArray[np.int64]


def _atoms(structure: Structure) -> Sites:
    return Sites(structure.positions, structure.numbers)


SITE_RULES: dict[str, Callable[[Structure], Sites]] = {"atoms": _atoms}
"""Rules by their name in a config. A rule with virtual sites appends them behind the atoms with types of its own."""


def place_sites(structure: Structure, rule: str) -> Sites:
    """Sites of a structure by the named rule (a key of ``SITE_RULES``)."""
    return SITE_RULES[rule](structure)
