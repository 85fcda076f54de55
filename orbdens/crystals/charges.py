"""Likely charges of the molecules of a salt, where nobody gives them: by their ionic groups, and a neutral crystal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orbdens.sites import bonds_of
from orbdens.structure import Structure

HALOGENS = (9, 17, 35, 53)

OXOANIONS = {6: (2, 1), 7: (3, 2), 15: (2, 1), 16: (3, 2), 17: (3, 2)}
"""For C, N, P, S and Cl: from how many oxygen atoms that are bound to nothing else on, and how many of them are free of
charge."""

NEUTRAL = 0.05
"""Charge per formula unit in e that counts as none."""


def likely_charges(structures: Sequence[Structure], shares: Sequence[float], given: Sequence[int | None]) -> list[int]:
    """Charge of each molecule of a crystal, e.

    Ammonium, oxonium, carboxylates, nitrates, sulfonates, sulfates, phosphates, perchlorates, halides and complex
    fluorides are told by their bonds. A molecule that has an odd number of electrons nevertheless gets what makes the
    crystal neutral; of two such molecules that with N-H the positive charge. Otherwise it counts as a radical.

    Args:
        structures: the molecules.
        shares: how much of each there is.
        given: charges that are known, None for others.
    """
    odd = np.array([int(s.numbers.sum()) % 2 for s in structures]) == 1
    parts = np.asarray(shares, dtype=np.float64)
    by_groups = [group_charge(s) for s in structures]
    fit = [q if q % 2 == o else None if o else 0 for q, o in zip(by_groups, odd.tolist(), strict=True)]
    charges = np.array([np.nan if q is None else q for q in fit])
    charges = np.array([q if g is None else g for q, g in zip(charges.tolist(), given, strict=True)])
    open_ones = np.isnan(charges)
    left = -float(parts[~open_ones] @ charges[~open_ones])
    if open_ones.any():
        charges[open_ones] = _balancing(
            [structures[i] for i in np.flatnonzero(open_ones).tolist()], parts[open_ones], left
        )
    known = np.array([g is not None for g in given])
    if abs(parts @ charges) > NEUTRAL:
        silent = ~odd & ~known & (np.array(by_groups) == 0)
        balance = -(parts @ charges) / parts[silent].sum() if silent.any() else 0.0
        if (
            len({structures[i].formula for i in np.flatnonzero(silent).tolist()}) == 1
            and abs(balance / 2 - round(balance / 2)) < NEUTRAL
        ):
            charges[silent] = balance  # as of two cationic rings that no group tells
        else:  # something was misread: only odd numbers of electrons keep what their groups say
            charges = np.where(odd | known, charges, 0)
    return np.rint(charges).astype(int).tolist()


def group_charge(structure: Structure) -> int:
    """Sum of the charges of a molecule's ionic groups, e."""
    bonds = bonds_of(structure)
    kept = bonds.weights > 0.5
    ends = np.concatenate([bonds.first[kept], bonds.second[kept]])
    others = np.concatenate([bonds.second[kept], bonds.first[kept]])
    numbers = structure.numbers
    bound = np.bincount(ends, minlength=len(numbers))
    bare = np.bincount(ends, weights=(numbers[others] == 8) & (bound[others] == 1), minlength=len(numbers)).astype(int)
    fluorine = np.bincount(ends, weights=numbers[others] == 9, minlength=len(numbers)).astype(int)
    carbon = np.bincount(ends, weights=numbers[others] == 6, minlength=len(numbers)).astype(int)
    total = 0
    for z, n, n_bare, n_fluorine, n_carbon in zip(numbers, bound, bare, fluorine, carbon, strict=True):
        least, neutral = OXOANIONS.get(int(z), (99, 0))
        if n == 0 and z in HALOGENS:
            total -= 1
        elif n_bare >= least:
            total -= n_bare - neutral
        elif (z == 7 and n == 4) or (z == 8 and n == 3) or (z == 15 and n == n_carbon == 4) or (z == 16 and n == 3):
            total += 1 if z != 16 or n_carbon == 3 else 0
        elif z == 5 and n == 4:
            total -= 1
        elif n_fluorine == 6 and z in (14, 15, 33, 51):
            total -= 2 if z == 14 else 1
    return total


def _balancing(structures: list[Structure], parts: NDArray[np.float64], left: float) -> NDArray[np.float64]:
    """Odd charges, of molecules with an odd number of electrons, that add up to what is left; zeros if not clear."""
    kinds = sorted({s.formula for s in structures})
    of_kind = np.array([kinds.index(s.formula) for s in structures])
    if len(kinds) == 1:
        charge = left / parts.sum()
        clear = abs(charge - round(charge)) < NEUTRAL and round(charge) % 2 == 1
        return np.full(len(structures), float(round(charge)) if clear else 0.0)
    basic = np.array([_has_nh(next(s for s in structures if s.formula == kind)) for kind in kinds])
    signs = np.where(basic, 1.0, -1.0)[of_kind]
    return signs if abs(parts @ signs - left) < NEUTRAL else np.zeros(len(structures))


def _has_nh(structure: Structure) -> bool:
    bonds = bonds_of(structure)
    pairs = np.sort(np.stack([structure.numbers[bonds.first], structure.numbers[bonds.second]]), axis=0)
    return bool(((pairs[0] == 1) & (pairs[1] == 7)).any())
