"""The verb that finds critical points of densities. Imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbdens.cli.options import Charge, Device, Force, Json, Multiplicity
from orbdens.cli.properties import Inputs, Most, Split, StoreOption, chosen_source
from orbdens.errors import UserError
from orbdens.metrics import SPACING


def topology(
    inputs: Inputs = None,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    store: StoreOption = None,
    split: Split = "test",
    n: Most = None,
    nci: Annotated[
        bool,
        typer.Option(
            "--nci",
            help="Also write NAME-dens.cube (100 sign(λ2)ρ, e/Bohr³) and NAME-grad.cube (reduced density gradient), "
            "which NCIPLOT's scripts for VMD read.",
        ),
    ] = False,
    grid: Annotated[
        float | None,
        typer.Option(min=0.02, max=1.0, help=f"Spacing of these cubes, Å [default: {SPACING / 2:g}]."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of these cubes [default: the current one].")
    ] = None,
    json: Json = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Print the critical points of densities: maxima at nuclei, points of bonds, rings and cages.

    Of each the place in Å, the density in e/Å³, its Laplacian and the eigenvalues of its Hessian in e/Å⁵, the
    ellipticity of bonds and the atoms that their paths lead to; derivatives are analytic. A density of valence
    electrons gets the frozen cores of its atoms. Whether the numbers obey Poincaré and Hopf's rule is said below.

    Example: orbdens topology molecule.xyz --json molecule.json     Example: orbdens topology dimer.xyz --nci
    """
    from orbdens.files import check_output

    if not nci and (grid is not None or out is not None):
        raise UserError("--grid and --out are of the cubes that --nci asks for")
    if json is not None:
        check_output(json, force)
    source = chosen_source(inputs, charge, multiplicity, store, split, n, device)
    from orbdens.cli.screen import show, stdout
    from orbdens.progress import Display
    from orbdens.properties import write_json
    from orbdens.topology import Interactions, topologies, topology_table

    cubes = Interactions(out or Path(), SPACING / 2 if grid is None else grid, force) if nci else None
    with Display() as display:
        found = list(topologies(source, cubes, display.count))
    for one in found:
        show(topology_table(one))
        for path in one.cubes:
            stdout.print(f"{path}", soft_wrap=True)
    if json is not None:
        write_json(json, [one.to_json() for one in found])
