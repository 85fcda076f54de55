"""The verbs that hand a predicted density to other programs: scf (PySCF, Molden) and cp2k."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbdens.cli.options import Charge, Device, Force, Multiplicity
from orbdens.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orbdens.density import Density
    from orbdens.prediction import Request

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="[MODEL] FILE...",
        help="As for `orbdens predict`: the model [default: general, which ships], and structure files.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File for one structure, or folder for many [default: the current folder]."),
]


def scf(
    inputs: Inputs,
    functional: Annotated[str, typer.Option(help="Functional as PySCF names it; hf is Hartree-Fock.")] = "pbe",
    basis: Annotated[str, typer.Option(help="Basis as PySCF names it.")] = "gth-dzvp",
    pseudo: Annotated[
        str | None,
        typer.Option(
            help="Pseudopotential or effective core potential as PySCF names it, or none [default: gth-pbe for a GTH "
            "basis, else none]."
        ),
    ] = None,
    grid_level: Annotated[int, typer.Option(min=0, max=9, help="Level of PySCF's quadrature grid.")] = 3,
    converge: Annotated[bool, typer.Option("--converge", help="Go on to the self-consistent energy.")] = False,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    out: Out = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """DFT or Hartree-Fock energies from predicted densities, and orbitals for other programs to start from.

    Writes NAME.molden with the orbitals of the first Fock matrix. Prints energies in Hartree: the one-shot energy, to
    second order without self-consistency, and that of Harris' functional beside it (for LDA and GGA); their difference
    is a measure of the density's error. Frozen cores of free atoms are added where the basis is for all electrons;
    effective core potentials must leave the electrons that the density holds. Coulomb integrals are by density
    fitting. With --converge also the converged energy, its cycles, and how far the one-shot energy was from it. Open
    shells may end in an excited state: both spins begin in one potential.

    Example: orbdens scf molecule.xyz     Example: orbdens scf molecule.xyz --functional pbe0 --basis def2-tzvp
    """
    request = _request(inputs, charge, multiplicity, out, device, force)
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.starts import Level, scf_starts
    from orbdens.units import KCAL_PER_MOL

    with Display() as display:
        done = list(scf_starts(request, Level(functional, basis, pseudo, grid_level), converge, display.count))
    for started in done:
        shot = started.one_shot
        harris = "" if shot.harris is None else f"   Harris {shot.harris:.6f}"
        line = f"{started.path}   {started.density.structure.formula}   one-shot {shot.energy:.6f}{harris}"
        if started.converged is not None:
            off = (shot.energy - started.converged) * KCAL_PER_MOL
            line += f"   converged {started.converged:.6f} Hartree in {started.cycles} cycles, {off:+.4f} kcal/mol off"
        stdout.print(line if started.converged is not None else f"{line} Hartree", soft_wrap=True)
        _warn(started.density)


def cp2k(
    inputs: Inputs,
    cutoff: Annotated[float, typer.Option(help="MGRID's CUTOFF of the calculation, Rydberg.")],
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="A[,B,C]",
            help="Edges of a right-angled cell, or nine components of its vectors, Å [default: the cell of the file].",
        ),
    ] = None,
    charge: Charge = None,
    out: Out = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Predicted densities for CP2K: a cube on exactly its finest grid, and inputs that begin with it.

    Writes NAME.cube (Bohr, e/Bohr³, electrons positive, no cores: CP2K's convention), NAME.guess.inp (SCF_GUESS
    EXTERNAL_DENSITY: a self-consistent calculation that starts from it) and NAME.harris.inp (HARRIS_METHOD with
    DENSITY_SOURCE CUBE: one diagonalisation). Pseudopotentials are GTH-PBE, those that the density was made with. A
    molecule is predicted alone and then repeats with the cell; its coordinates stay as they are.

    Needs a CP2K of September 2026 or later. What CP2K cannot do with a density: spin polarisation, hybrid functionals
    and meta-GGAs, DFT+U, GAPW, and forces of HARRIS_METHOD. Another CELL, CUTOFF or EXTENDED_FFT_LENGTHS than here
    makes another grid, and CP2K refuses the cube.

    Example: orbdens cp2k molecule.xyz --cell 12 --cutoff 400
    """
    vectors = None if cell is None else _cell(cell)
    request = _request(inputs, charge, None, out, device, force)
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.starts import cp2k_files

    with Display() as display:
        done = list(cp2k_files(request, cutoff, vectors, display.count))
    for files in done:
        shape = " x ".join(map(str, files.shape))
        names = " ".join(map(str, (files.cube, *files.inputs)))
        formula = files.density.structure.formula
        stdout.print(f"{names}   {formula}   {shape} points, {files.electrons:.4f} e", soft_wrap=True)
        _warn(files.density)


def _request(
    inputs: list[Path], charge: int | None, multiplicity: int | None, out: Path | None, device: str, force: bool
) -> Request:
    from orbdens.prediction import Request, split_inputs

    model, files = split_inputs(inputs)
    return Request(files, model, charge, multiplicity, out=out, force=force, device=device)


def _warn(density: Density) -> None:
    """Why a prediction is not to be trusted, on stderr."""
    from orbdens.cli.screen import stderr

    for warning in density.warnings:
        stderr.print(f"warning: {density.structure.formula}: {warning}", soft_wrap=True)


def _cell(text: str) -> NDArray[np.float64]:
    """Vectors as rows, Å [3, 3]."""
    import numpy as np

    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3, 9) or not np.isfinite(numbers).all():
        raise UserError(f"expected 1, 3 or 9 numbers in Å as --cell, for example 12 or 12,12,15, but got '{text}'")
    return np.array(numbers).reshape(3, 3) if len(numbers) == 9 else np.diag(np.ones(3) * numbers)
