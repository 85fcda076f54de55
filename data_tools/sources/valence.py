"""How many electrons of an atom a density holds: the defaults, and what users state instead."""

from __future__ import annotations

from collections.abc import Mapping

from ase.data import chemical_symbols

from orbdens.errors import UserError

_KNOWN = """
H 1, He 2, Li 1, Be 2, B 3, C 4, N 5, O 6, F 7, Ne 8, Na 1, Mg 2, Al 3, Si 4, P 5, S 6, Cl 7, Ar 8,
K 9, Ca 10, Sc 11, Ti 4, V 5, Cr 6, Mn 7, Fe 8, Co 9, Ni 10, Cu 11, Zn 12, Ga 3, Ge 4, As 5, Se 6, Br 7, Kr 8,
Rb 9, Sr 10, Y 11, Zr 12, Nb 13, Mo 6, Tc 7, Ru 8, Rh 9, Pd 10, Ag 11, Cd 12, In 3, Sn 4, Sb 5, Te 6, I 7, Xe 8,
Cs 9, Ba 10, La 11, Hf 4, Ta 5, W 6, Re 7, Os 8, Ir 9, Pt 10, Au 11, Hg 12, Tl 3, Pb 4, Bi 5
"""

PAW: Mapping[str, int] = {pair.split()[0]: int(pair.split()[1]) for pair in _KNOWN.split(",")}
"""Valence electrons of VASP's PAW potentials: those without a suffix, else the ones with s and p semicore states."""


def valence_electrons(density: str, stated: Mapping[str, int]) -> dict[str, int]:
    """Electrons of a neutral atom in a density, for every element for which they are known, by atomic number.

    Args:
        density: ``valence`` or ``all-electron``.
        stated: by the user, instead of the defaults.

    Raises:
        UserError: the density is of neither kind.
    """
    if density not in ("valence", "all-electron"):
        raise UserError(f"expected valence or all-electron as density, but got '{density}'")
    known = {**(PAW if density == "valence" else {}), **stated}
    if density == "all-electron":
        known = {symbol: z for z, symbol in enumerate(chemical_symbols) if z > 0} | dict(stated)
    return {symbol: known[symbol] for symbol in chemical_symbols if symbol in known}
