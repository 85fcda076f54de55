"""Ways to make a self-consistent calculation converge, and whether its density holds all electrons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

LEVEL_SHIFT = 0.5
"""Hartree between occupied and empty orbitals in the second attempt; PySCF takes it off again at the end."""

LOST_ELECTRONS = 1e-3
"""A density whose integral is further off than this is not stored."""


class CalculationError(Exception):
    """A calculation that gave no density; the message says why."""


def converge(mf: Any) -> Any:
    """Run a calculation; if it does not converge, again with a level shift, then by the second-order solver.

    Returns:
        The calculation that converged.

    Raises:
        CalculationError: none did.
    """
    trouble = ""
    for prepare in ATTEMPTS:
        attempt = prepare(mf)
        try:
            attempt.kernel()
        except (np.linalg.LinAlgError, ArithmeticError, ValueError) as error:
            # orbitals that are not finite; the next attempt begins without them
            trouble = f" ({' '.join(str(error).split())[:100]})"
            mf.mo_coeff = mf.mo_occ = None
            continue
        if attempt.converged:
            return attempt
    raise CalculationError(
        f"not converged in {mf.max_cycle} cycles, nor with a level shift, nor by the second-order solver{trouble}"
    )


def _with_level_shift(mf: Any) -> Any:
    mf.mo_coeff = mf.mo_occ = None
    mf.level_shift = LEVEL_SHIFT
    return mf


def _second_order(mf: Any) -> Any:
    mf.level_shift = 0.0
    return mf.newton()


ATTEMPTS: tuple[Callable[[Any], Any], ...] = (lambda mf: mf, _with_level_shift, _second_order)
"""What is tried one after the other; the last goes on from the orbitals of the one before."""


def check_count(count: float, expected: int) -> None:
    """Raise CalculationError if a density does not hold its electrons."""
    if not abs(count - expected) < LOST_ELECTRONS:
        raise CalculationError(f"the density integrates to {count:.4f} electrons, expected {expected}")
