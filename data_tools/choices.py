"""What options of ``orbdens data`` may be: ``--help`` lists these words, and nothing else is accepted."""

from __future__ import annotations

from typing import Literal

Density = Literal["valence", "all-electron"]
"""Which electrons a density holds."""

Precision = Literal["float32", "float16"]
"""Type of the values of grids in a store."""

ForceProgram = Literal["pyscf", "tblite"]
"""What calculates forces: PySCF, or tblite (GFN2-xTB)."""

SamplingMethod = Literal["md", "normal-modes"]
"""Langevin dynamics, or classical harmonic vibrations about the minimum."""

SplitWay = Literal["random", "size", "composition"]
"""How the records of a store come into its splits."""
