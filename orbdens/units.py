"""The only conversion factors. Inside orbdens: Å, e, e/Å³, Å⁻² for exponents, Hartree (CODATA 2018)."""

BOHR = 0.529177210903
"""Å per Bohr."""

DEBYE = 0.20819433442462576
"""e·Å per Debye."""
