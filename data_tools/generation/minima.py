"""Minima of molecules: of one, and of many from SMILES."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import CalculatorError
from ase.optimize import BFGS

from data_tools.choices import ForceProgram
from data_tools.generation.forces import calculator
from data_tools.generation.sampling import LEVEL_OF_FORCES
from data_tools.generation.settings import Settings
from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.formats.smiles import from_smiles
from orbdens.formats.structures import write_frame
from orbdens.progress import Progress, silent
from orbdens.structure import Structure

MAX_STEPS = 500
"""Steps after which the search for a minimum is given up."""


def find_minimum(
    start: Structure,
    program: ForceProgram,
    settings: Settings,
    largest_force: float = 0.05,
    progress: Progress = silent,
) -> Atoms:
    """The minimum next to a molecule.

    Args:
        start: the molecule.
        program: program of the forces.
        settings: of PySCF.
        largest_force: eV/Å; left on an atom.
        progress: told of the work.

    Raises:
        UserError: forces cannot be calculated, or the molecule does not relax.
    """
    atoms = Atoms(start.numbers, start.positions)
    if len(atoms) == 1:
        return atoms
    atoms.calc = calculator(program, start, settings)
    search = BFGS(atoms, logfile=None)
    try:
        for step, converged in enumerate(search.irun(fmax=largest_force, steps=MAX_STEPS)):
            progress("relaxing", step, MAX_STEPS)
            if converged:
                return atoms
    except CalculatorError as error:
        raise UserError(f"no forces on {start.formula} from {program}: {error}") from None
    raise UserError(f"{start.formula} does not relax within {MAX_STEPS} steps of forces from {program}")


def write_minima(
    smiles: Sequence[str],
    out: Path,
    forces: ForceProgram,
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, str]:
    """Relax molecules and write their minima to an extended xyz file (Å; SMILES, charge, multiplicity in every frame).

    Args:
        smiles: SMILES of the molecules.
        out: file to write.
        forces: program that calculates them.
        seed: seed of the first guess of coordinates.
        overwrite: replace ``out``.
        progress: told of the work.

    Returns:
        Why some were left out, by SMILES: no coordinates, or no minimum.

    Raises:
        UserError: ``out`` cannot be written, RDKit or the program of the forces is missing, or every molecule was left
            out.
    """
    check_output(out, overwrite)
    calculator(forces, from_smiles("C", seed), LEVEL_OF_FORCES)  # complains now about what is missing
    skipped: dict[str, str] = {}
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for done, one in enumerate(smiles, start=1):
            try:
                start = from_smiles(one, seed)
                frame = find_minimum(start, forces, LEVEL_OF_FORCES)
            except UserError as error:
                skipped[one] = str(error)
            else:
                frame.info = {"smiles": one, "charge": start.charge, "multiplicity": start.multiplicity}
                write_frame(file, frame)
            progress("molecules", done, len(smiles))
        if len(skipped) == len(smiles):
            raise UserError(f"no molecule could be relaxed; {next(iter(skipped.values()), 'there are none')}")
    return skipped
