"""The only conversion factors. Inside orbdens: Å, e, e/Å³, Å⁻² for exponents, Hartree (CODATA 2018)."""

BOHR = 0.529177210903
"""Å per Bohr."""

DEBYE = 0.20819433442462576
"""e·Å per Debye."""

COULOMB = BOHR
"""e²/4πε₀ in Hartree·Å: two charges of e at a distance of 1 Å have this energy."""

KCAL_PER_MOL = 627.5094740630558
"""kcal/mol per Hartree."""
