"""The verb that shows densities. Imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orbdens.cli.options import Charge, Device, Force, Multiplicity


def view(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL] FILE...",
            help="The model [default: general, which ships]; structure files, which are predicted, or cube and "
            "HDF5 files, which are shown as they are. A run folder alone is shown on a structure that it was validated "
            "on, beside the reference.",
        ),
    ] = None,
    smiles: Annotated[list[str] | None, typer.Option(help="A SMILES, as for `orbdens predict`.")] = None,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    show: Annotated[
        Literal["density", "potential", "deformation", "difference"],
        typer.Option(
            help="What is seen first: potential on a surface of the density; density less that of free atoms."
        ),
    ] = "density",
    reference: Annotated[
        Path | None,
        typer.Option(metavar="REF.cube", help="A density of the same atoms, cube or HDF5, to be taken from it."),
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="A picture instead of a page.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File (.html or .png) for one structure, or folder for many [default: NAME.html here].",
        ),
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Show densities: a page for each structure that opens in any browser and needs no network, or a picture.

    The page has a surface of the density to turn (level in e/Å³), coloured by the electrostatic potential in kcal/mol
    per e on demand; the density less that of free atoms; slices; Hirshfeld's charges in e and the errors that the model
    expects in %.

    Example: orbdens view molecule.xyz     Example: orbdens view molecule.xyz --show potential --out molecule.png

    Example: orbdens view density.cube     Example: orbdens view runs/ethanol
    """
    from orbdens.cli.screen import stderr, stdout
    from orbdens.prediction import Request, split_inputs
    from orbdens.progress import Display
    from orbdens.viewing.files import Sight, view_files

    model, files = split_inputs(inputs, alone=True) if inputs else (None, [])
    request = Request(files, model, charge, multiplicity, smiles=smiles or [], device=device)
    with Display() as display:
        done = list(view_files(Sight(request, show, reference, png, out, force), display.count))
    for path, one in done:
        scene = one.scene
        expected = "" if scene.expected_error is None else f"   expected NMAE {scene.expected_error:.2f} %"
        stdout.print(f"{path}   {scene.structure.formula}{expected}", soft_wrap=True)
        for note in scene.notes:
            stderr.print(f"warning: {path}: {note}", soft_wrap=True)
