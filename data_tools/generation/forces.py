"""Forces on the atoms of a molecule for ASE: from PySCF, or from the tight-binding program tblite."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.units import Bohr, Hartree

from data_tools.choices import ForceProgram
from data_tools.generation.convergence import CalculationError, converge
from data_tools.generation.scf import mean_field, molecule
from data_tools.generation.settings import Settings
from orbdens.errors import UserError
from orbdens.structure import Structure


class PySCFForces(Calculator):
    """ASE calculator of one molecule by density-functional theory.

    Each calculation begins with the orbitals of the one before; a new calculator begins anew.

    Args:
        structure: its charge and multiplicity hold for all positions.
        settings: settings of the calculations.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, structure: Structure, settings: Settings) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.structure = structure
        self.settings = settings
        self._orbitals: tuple[Any, Any] | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy", "forces"),
        system_changes: Any = all_changes,
    ) -> None:
        """Fill ``results`` with the energy in eV and forces in eV/Å [n_atoms, 3].

        Raises:
            UserError: the calculation does not converge.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        structure = Structure(
            self.structure.numbers,
            self.atoms.positions,
            charge=self.structure.charge,
            multiplicity=self.structure.multiplicity,
        )
        mf = mean_field(molecule(structure, self.settings), self.settings)
        if self._orbitals is not None:
            mf.mo_coeff, mf.mo_occ = self._orbitals
        try:
            mf = converge(mf)
        except CalculationError as error:
            raise UserError(
                f"no forces on {structure.formula} at {np.round(structure.positions, 3).tolist()}: {error}"
            ) from None
        self._orbitals = mf.mo_coeff, mf.mo_occ
        gradient = mf.nuc_grad_method().kernel()
        self.results = {"energy": mf.e_tot * Hartree, "forces": -gradient * Hartree / Bohr}


def calculator(program: ForceProgram, structure: Structure, settings: Settings) -> Calculator:
    """The ASE calculator of a molecule.

    Args:
        program: program of the forces.
        structure: the molecule.
        settings: for PySCF.

    Raises:
        UserError: tblite is not installed.
    """
    if program == "pyscf":
        return PySCFForces(structure, settings)
    try:
        from tblite.ase import TBLite
    except ImportError:
        raise UserError("forces from tblite need that package: pip install 'orbdens[geometries]'") from None
    made: Calculator = TBLite(
        method="GFN2-xTB", charge=structure.charge, multiplicity=structure.multiplicity, verbosity=0
    )
    return made
