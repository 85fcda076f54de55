"""How densities are calculated by PySCF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyscf
from pyscf import dft

from orbdens.errors import UserError
from orbdens.structure import Structure


@dataclass(frozen=True)
class Settings:
    """How densities are calculated.

    Attributes:
        xc: functional as PySCF names it; ``hf`` is Hartree-Fock.
        basis: as PySCF names it, spherical functions.
        pseudo: pseudopotential or effective core potential as PySCF names it; None for all electrons.
        density_fit: fit the products of orbitals by an auxiliary basis.
        auxbasis: that basis; PySCF's choice for None.
        grid_level: level of the integration grid of the functional, 0 to 9.
        conv_tol: tolerance of the energy, Hartree.
        max_cycle: SCF cycles of one attempt.
        ke_cutoff: cut-off of the mesh of plane waves of a crystal, Hartree; PySCF's choice for None.
        code: which program calculates. A process with another version refuses.
    """

    xc: str = "pbe"
    basis: str = "gth-dzvp"
    pseudo: str | None = "gth-pbe"
    density_fit: bool = False
    auxbasis: str | None = None
    grid_level: int = 3
    conv_tol: float = 1e-9
    max_cycle: int = 50
    ke_cutoff: float | None = None
    code: str = f"PySCF {pyscf.__version__}"

    def check(self) -> None:
        """Raise UserError if PySCF does not know the functional."""
        try:
            dft.libxc.parse_xc(self.xc)
        except (KeyError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise UserError(f"PySCF has no functional '{self.xc}'") from error

    def level(self, structures: Sequence[Structure]) -> dict[str, Any]:
        """The level of theory in the manifest of a store of these structures, all molecules or all crystals."""
        unrestricted = {structure.multiplicity > 1 for structure in structures}
        method = {frozenset({False}): "RKS", frozenset({True}): "UKS"}.get(
            frozenset(unrestricted), "RKS, open shells UKS"
        )
        periodic = structures[0].periodic
        return {
            "method": method + (" at the gamma point" if periodic else ""),
            "xc": self.xc,
            "basis": self.basis,
            "pseudo": self.pseudo,
            "auxbasis": self.auxbasis or ("PySCF's choice" if self.density_fit else None),
            **({"ke_cutoff": self.ke_cutoff} if periodic else {"grid_level": self.grid_level}),
            "scf_tolerance": self.conv_tol,
            "max_cycle": self.max_cycle,
            "code": self.code,
        }
