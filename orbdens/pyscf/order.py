"""The order of orbitals: p functions are x, y, z in PySCF and m = −1, 0, 1 (y, z, x) here; all others agree."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from orbdens.store.records import LabelBasis

P_ORDER = (1, 2, 0)
"""Rows of PySCF's x, y, z that are m = −1, 0, 1."""


def ao_order(l_of_shells: Iterable[int]) -> NDArray[np.int64]:
    """Index [n_ao] that brings PySCF's rows into our order, ``ours = theirs[ao_order(...)]``.

    Args:
        l_of_shells: angular momentum of every contracted shell of the molecule in order.
    """
    order: list[int] = []
    for l in l_of_shells:
        order += [len(order) + i for i in (P_ORDER if l == 1 else range(2 * l + 1))]
    return np.array(order, dtype=np.int64)


def shell_l(basis: LabelBasis, numbers: NDArray[np.int64]) -> list[int]:
    """Angular momentum of every contracted shell of a structure with atomic numbers [n_atoms]."""
    return [shell.l for z in numbers for shell in basis.elements[chemical_symbols[z]]]
