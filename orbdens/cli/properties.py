"""The verbs that ask something of a density: potential, charges, moments. Each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orbdens.cli.options import Charge, Device, Force, GridLike, GridMargin, GridSpacing, Json, Multiplicity
from orbdens.errors import UserError
from orbdens.metrics import MARGIN, SPACING

if TYPE_CHECKING:
    from orbdens.properties import Source

Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[MODEL] FILE...",
        help="As for `orbdens predict`: the model [default: general, which ships], and structure files.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="STORE", help="Take the reference densities of a store instead of predicting any."),
]
Split = Annotated[str, typer.Option(help="Named split of that store.")]
Most = Annotated[
    int | None, typer.Option("--n", min=1, help="Largest number of its records, evenly spaced [default: all].")
]


def potential(
    inputs: Inputs = None,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    store: StoreOption = None,
    split: Split = "test",
    n: Most = None,
    grid: GridSpacing = None,
    margin: GridMargin = None,
    like: GridLike = None,
    points: Annotated[
        Path | None, typer.Option(metavar="P.npy", help="Values and fields at these points, an array [n, 3] in Å.")
    ] = None,
    surface: Annotated[
        Literal["vdw", "isodensity"] | None,
        typer.Option(help="Values and fields on van der Waals spheres, or where the density has one value."),
    ] = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Factor on van der Waals radii, a surface for each [default: 1.4, 1.6, 1.8 and 2.0]."),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(help="Density of an isodensity surface, e/Å³ [default: 0.006748, which is 0.001 e/Bohr³]."),
    ] = None,
    points_per_area: Annotated[float, typer.Option(help="Points of a surface per Å².")] = 1.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File for one structure, or folder for many [default: the current folder]."),
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Write the electrostatic potentials of molecules: on a grid, at points or on a surface.

    On a grid as NAME.potential.cube (Bohr, Hartree/e; 10,000 at a nucleus). Points and surfaces go to
    NAME.potential.npz: points in Å, `potential` in Hartree/e, `field` in Hartree/(e·Å), `areas` in Å²; or, if --out
    ends in .esp, to a file as AmberTools' resp reads it (Bohr, Hartree/e). 1 Hartree/e is 627.5 kcal/mol per e. Nuclei
    (cores, for a density of valence electrons) are points, the electrons' part is analytic.

    Example: orbdens potential molecule.xyz     Example: orbdens potential molecule.xyz --surface vdw --out molecule.esp
    """
    wanted = {
        "--grid and --margin": grid is not None or margin is not None,
        "--like": like is not None,
        "--points": points is not None,
        "--surface": surface is not None,
    }
    given = [name for name, present in wanted.items() if present]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} exclude each other: each says where the potential is wanted")
    if scale and surface != "vdw":
        raise UserError("--scale is of --surface vdw")
    if level is not None and surface != "isodensity":
        raise UserError("--level is of --surface isodensity")
    source = chosen_source(inputs, charge, multiplicity, store, split, n, device)
    from orbdens.cli.screen import stdout
    from orbdens.observables.surfaces import ISO_LEVEL, SCALES
    from orbdens.progress import Display
    from orbdens.properties import Target, potential_files
    from orbdens.units import KCAL_PER_MOL

    target = Target(
        spacing=SPACING if grid is None else grid,
        margin=MARGIN if margin is None else margin,
        like=like,
        points=points,
        surface=surface,
        scales=scale or SCALES,
        level=ISO_LEVEL if level is None else level,
        points_per_area=points_per_area,
        out=out,
        force=force,
    )
    with Display() as display:
        done = list(potential_files(source, target, display.count))
    for file in done:
        low, high = file.lowest * KCAL_PER_MOL, file.highest * KCAL_PER_MOL
        line = f"{file.path}   {file.structure.formula}   potential from {low:.1f} to {high:.1f} kcal/mol per e"
        stdout.print(line, soft_wrap=True)


def charges(
    inputs: Inputs = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            metavar="resp|esp|mbis|hirshfeld",
            help="resp (restrained fit of the potential, in two stages), esp (free fit), mbis and hirshfeld (shares of "
            "the density); may be given more than once [default: resp, mbis and hirshfeld].",
        ),
    ] = None,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    store: StoreOption = None,
    split: Split = "test",
    n: Most = None,
    esp: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="F.esp",
            help="Fit this potential of another program instead of a predicted one (as AmberTools has it, or lines "
            "V x y z; Bohr, Hartree/e); once for each structure, which are fitted together as conformers.",
        ),
    ] = None,
    density: Annotated[
        Path | None,
        typer.Option(
            metavar="density.npz",
            help="Write the density, cores included, on a quadrature as denspart takes it (atomic units).",
        ),
    ] = None,
    json: Json = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Print charges of atoms in e: RESP, ESP (Merz-Kollman), MBIS, Hirshfeld, of predicted or of reference densities.

    RESP and ESP charges are fitted to the potential at 1.4, 1.6, 1.8 and 2.0 van der Waals radii; below them stands
    the RMS error of their potential in kcal/mol per e. MBIS and Hirshfeld give volumes ∫ρr³ in e·Å³ too, with --json
    dipoles in e·Å; a density of valence electrons gets the frozen cores of its atoms for them.

    Example: orbdens charges molecule.xyz     Example: orbdens charges a.xyz b.xyz --esp a.esp --esp b.esp
    """
    from orbdens.files import check_output

    for file in (json, density):
        if file is not None:
            check_output(file, force)
    if esp and (store is not None or density is not None or scheme or device != "auto"):
        raise UserError("--esp goes with structure files alone: their RESP and ESP charges are printed")
    from orbdens.cli.screen import show
    from orbdens.progress import Display
    from orbdens.properties import atomic_charges, charges_of_potentials, write_json
    from orbdens.property_tables import charge_table

    if esp:
        from orbdens.prediction import Request

        found = [charges_of_potentials(inputs or [], esp, Request(files=[], charge=charge, multiplicity=multiplicity))]
    else:
        source = chosen_source(inputs, charge, multiplicity, store, split, n, device)
        with Display() as display:
            found = list(atomic_charges(source, scheme or ("resp", "mbis", "hirshfeld"), density, display.count))
    for one in found:
        show(charge_table(one))
    if json is not None:
        write_json(json, [one.to_json() for one in found])


def moments(
    inputs: Inputs = None,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    store: StoreOption = None,
    split: Split = "test",
    n: Most = None,
    atoms: Annotated[
        bool, typer.Option("--atoms", help="Also charge, dipole and quadrupole of every atom, by MBIS.")
    ] = False,
    json: Json = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Print dipole (e·Å), quadrupole (e·Å²) and octupole (e·Å³) of molecules, and the Hartree energy of the electrons.

    Traceless, as Buckingham defines them: Θ_ab = Σ q (3 r_a r_b − r² δ_ab) / 2, Ω_abc = Σ q (5 r_a r_b r_c − ...) / 2,
    about the centre of the charges of nuclei (cores, for a density of valence electrons). With --atoms also multipoles
    about every atom, Racah's normalisation, m = −l..l: charge, dipole y z x, five of the quadrupole.

    Example: orbdens moments molecule.xyz --atoms --json molecule.json
    """
    from orbdens.files import check_output

    if json is not None:
        check_output(json, force)
    source = chosen_source(inputs, charge, multiplicity, store, split, n, device)
    from orbdens.cli.screen import show
    from orbdens.progress import Display
    from orbdens.properties import molecular_moments, write_json
    from orbdens.property_tables import atom_table, moment_table

    with Display() as display:
        found = list(molecular_moments(source, atoms, display.count))
    for one in found:
        show(moment_table(one))
        if atoms:
            show(atom_table(one))
    if json is not None:
        write_json(json, [one.to_json() for one in found])


def chosen_source(
    inputs: list[Path] | None,
    charge: int | None,
    multiplicity: int | None,
    store: str | None,
    split: str,
    n: int | None,
    device: str,
) -> Source:
    """Whose densities; UserError unless exactly one of structure files and a store is given."""
    if bool(inputs) == (store is not None):
        raise UserError("expected structure files (FILE...), or a store (--store), but not both")
    if store is not None and (charge, multiplicity) != (None, None):
        raise UserError("--charge and --multiplicity are of predictions: the records of a store have their own")
    if store is not None and device != "auto":
        raise UserError("--device is of predictions: the reference densities of a store are computed by the CPU")
    from orbdens.prediction import Request, split_inputs
    from orbdens.properties import Source

    model, files = split_inputs(inputs) if inputs else (None, [])
    return Source(Request(files, model, charge, multiplicity, device=device), store, split, n)
