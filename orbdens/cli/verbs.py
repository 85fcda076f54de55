"""The verbs that train and use models. Every one imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orbdens.cli.options import (
    Charge,
    Device,
    Force,
    GridLike,
    GridMargin,
    GridSpacing,
    Json,
    Multiplicity,
    Precision,
)
from orbdens.errors import UserError
from orbdens.formats import CHOICES, FORMATS_HELP
from orbdens.metrics import MARGIN, SPACING

if TYPE_CHECKING:
    from orbdens.prediction import Request

Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="model.safetensors, the run folder that holds it, or the words general or organics."
    ),
]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="Folder of a store, or the word lithium-oxide.")]
SHOWN = 10
"""Unfamiliar atoms and bonds that a warning names; Python has them all."""

SiteRule = Literal["atoms", "bonds", "bond-pairs"]


def floor(
    store: StoreArgument,
    config: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG.yaml", help="Take the basis of this config, but for the options given here."),
    ] = None,
    basis: Annotated[
        str | None, typer.Option(help="PySCF basis that sets the ranges of exponents [default: def2-qzvppd].")
    ] = None,
    beta: Annotated[float | None, typer.Option(help="Ratio of neighbouring exponents of atoms [default: 1.6].")] = None,
    l_max: Annotated[int | None, typer.Option(help="Highest angular momentum on atoms [default: 4].")] = None,
    max_exponent: Annotated[
        str | None,
        typer.Option(
            metavar="X[,X]...",
            help="Largest exponent on atoms, Å⁻²; sharper functions are left out [default: 72]. Or one for each l = 0, "
            "1, ..., the last one for all higher l: 30000,72 suits all-electron densities.",
        ),
    ] = None,
    metric: Annotated[
        Literal["overlap", "coulomb"] | None,
        typer.Option(
            help="In which the fits are closest: overlap (L2), or coulomb, the electrostatic energy of the error "
            "[default: that of the config, else overlap]."
        ),
    ] = None,
    sites: Annotated[
        SiteRule | None,
        typer.Option(
            help="Where orbitals sit: on atoms; also on bond midpoints, all of one type; or of one type for each pair "
            "of elements [default: atoms]."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Named split of the store.")] = "train",
    n: Annotated[int, typer.Option("--n", min=1, help="Largest number of structures, evenly spaced.")] = 20,
    json: Json = None,
    force: Force = False,
) -> None:
    """Print the floor of a basis: how far its least-squares fits are from the reference densities of a store.

    All-electron densities are compared on a quadrature about the atoms, others on a regular grid or their own.

    NMAE in % with its shares by region and by nearest element, L2 error in %, error of the electron count in e, and
    the numbers of coefficients and radial functions. Choose a basis with it before training: a network that predicts
    coefficients comes near the floor at best. Exponents in Å⁻².

    Example: orbdens floor ethanol.store --beta 1.8 --sites bonds --n 5
    """
    from orbdens.files import check_output

    if json is not None:
        check_output(json, force)
    from orbdens.cli.screen import show
    from orbdens.evaluation.basis_floor import basis_floor, basis_options, metric_of
    from orbdens.evaluation.tables import floor_table
    from orbdens.progress import Display

    limits = None if max_exponent is None else _floats("--max-exponent", max_exponent)
    limit = limits[0] if limits is not None and len(limits) == 1 else limits
    model = basis_options(config, sites, source=basis, beta=beta, l_max=l_max, max_exponent=limit)
    with Display() as display:
        measured = basis_floor(store, model, split, n, display.count, metric or metric_of(config))
    show(floor_table(measured))
    if json is not None:
        measured.write(json)


def _floats(option: str, text: str, n: int | None = None) -> list[float]:
    """Numbers with commas between them, so many if told; UserError for anything else."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or (n is not None and len(numbers) != n):
        raise UserError(f"expected {n or 'some'} numbers with commas between them, but {option} is '{text}'")
    return numbers


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Complete config; see the folder configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Options to change, e.g. training.minutes=10.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder [default: runs/ and the config's name].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in that folder.")] = False,
    force: Force = False,
) -> None:
    """Train a model on a store of densities.

    Writes a run folder: model.safetensors (weights, config and basis), config.yaml, metrics.csv (loss, NMAE in %),
    TensorBoard logs and the state that --resume needs. Lengths in the config are in Å, exponents in Å⁻², times in
    minutes.

    Example: orbdens train configs/ethanol.yaml training.minutes=10 --out runs/quick
    """
    from orbdens.config import find_config, load_config

    checked = load_config(find_config(config), overrides)
    folder = out if out is not None else Path("runs") / config.stem
    from orbdens.cli.screen import stderr, stdout
    from orbdens.training import run
    from orbdens.training.folder import RESUME_FILE
    from orbdens.training.launch import launched

    try:
        done = run.train(checked, folder, resume, force)
    except KeyboardInterrupt:
        if launched().first and (folder / RESUME_FILE).is_file():
            stderr.print(f"the run's state is in {folder}: the same command with --resume goes on", soft_wrap=True)
        raise
    if launched().first:
        stdout.print(f"wrote {done}   next: orbdens evaluate {done} {checked.data.store}", soft_wrap=True)


def predict(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL] FILE...",
            help="The model: model.safetensors or the run folder that holds it [default: general, which ships: "
            "molecules and ions of H, C, N, O, F, P, S and Cl]. The structures: files of any format that ASE reads.",
        ),
    ] = None,
    smiles: Annotated[
        list[str] | None,
        typer.Option(help="A SMILES, whose geometry RDKit's force field makes (extra geometries); may be repeated."),
    ] = None,
    charge: Charge = None,
    multiplicity: Multiplicity = None,
    grid: GridSpacing = None,
    margin: GridMargin = None,
    like: GridLike = None,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z,X,Y,Z",
            help="Only the part of the grid in a box between two corners, Å. inf leaves a side open: "
            "-inf,-inf,2,inf,inf,5 is a slab.",
        ),
    ] = None,
    around: Annotated[
        str | None,
        typer.Option(metavar="ATOM,R", help="Only the part of the grid within R Å of an atom along x, y and z."),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(metavar="P.npy", help="Write values at these points instead, an array [n, 3] in Å, as .npz."),
    ] = None,
    coefficients: Annotated[
        bool,
        typer.Option(
            "--coefficients", help="Write the orbitals themselves instead: sites, exponents, coefficients, as .npz."
        ),
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.store",
            help="Write coefficients of any number of structures into this store instead, by all cores; after a kill "
            "the same command goes on. `orbdens data` inspects and converts it.",
        ),
    ] = None,
    core: Annotated[
        bool,
        typer.Option("--core", help="Add the frozen cores of the atoms: all electrons, H to Kr and I."),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            metavar=CHOICES, help=f"Format of grids: {FORMATS_HELP} [default: by the name of --out, or cube]."
        ),
    ] = None,
    npz: Annotated[bool, typer.Option("--npz", hidden=True, help="As --to npz: its name up to 0.1.0.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File for one structure, or folder for many [default: the current folder]."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "32-true",
    force: Force = False,
) -> None:
    """Predict electron densities of structures; no reference grid needed.

    Writes NAME.cube (lengths in Bohr, density in e/Bohr³) for each structure of NAME.xyz, or NAME-1.cube, NAME-2.cube,
    ... if it holds several; --to takes another format. Total charge and multiplicity come from --charge and
    --multiplicity, or from `charge=` and `multiplicity=` in the frame's comment (extended xyz), or from formal charges
    (SDF, MOL, PDB). Along the vectors of a cell that repeat the grid is the cell. Beside each file stands the NMAE in %
    to expect, as the model itself judges; atoms and bonds unlike any it learned from, bonds between elements and
    charges or spins that it never saw, and errors far above the usual get a warning.
    A SMILES is called by its formula; its geometry goes to FORMULA.xyz, or beside the file that --out names.
    With --core a valence density gets cores: exact at --points, on grids means over voxels that hold every electron.
    Grids are written slab by slab, so that memory does not grow with them; --box and --around ask for a part of one, at
    the same points. A cell that repeats goes on beyond its edge. Very large grids: --to hdf5.

    Example: orbdens predict molecule.xyz     Example: orbdens predict runs/ethanol molecule.xyz --grid 0.1
    Example: orbdens predict protein.pdb --around 812,6 --grid 0.1 --out site.cube
    Example: orbdens predict --smiles CCO --out ethanol.cube
    """
    from orbdens.prediction import Around, Box, Request, Written, predict_files, split_inputs

    model, files = split_inputs(inputs or [], alone=bool(smiles))
    on_grid = {"--grid and --margin": grid is not None or margin is not None, "--like": like is not None}
    elsewhere = {"--points": points is not None, "--coefficients": coefficients, "--store": store is not None}
    _refuse_two(on_grid | elsewhere, "each says where the density is wanted")
    _refuse_two({"--box": box is not None, "--around": around is not None} | elsewhere, "parts are of grids")
    of_model = {"--coefficients": coefficients, "--store": store is not None}
    _refuse_two(of_model | {"--core": core}, "cores are no orbitals of the model")
    _refuse_two({"--store": store is not None, "--out": out is not None}, "each says where to write")
    _refuse_two({"--to": to is not None, "--npz": npz} | elsewhere, "formats are of grids")
    part: Box | Around | None = None
    if box is not None:
        x0, y0, z0, x1, y1, z1 = _floats("--box", box, 6)
        part = Box((x0, y0, z0), (x1, y1, z1))
    if around is not None:
        atom, radius = _floats("--around", around, 2)
        if not (atom.is_integer() and radius >= 0):
            raise UserError(f"expected the number of an atom and a radius of 0 Å or more, but --around is '{around}'")
        part = Around(int(atom), radius)
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display

    request = Request(
        files=files,
        smiles=smiles or [],
        model=model,
        charge=charge,
        multiplicity=multiplicity,
        spacing=SPACING if grid is None else grid,
        margin=MARGIN if margin is None else margin,
        like=like,
        part=part,
        points=points,
        coefficients=coefficients,
        core=core,
        to="npz" if npz else to,
        out=out,
        force=force,
        device=device,
        precision=precision,
    )
    if store is not None:
        _predict_store(request, store)
        return
    done: list[Written] = []
    try:
        with Display() as display:
            for written in predict_files(request, display.count):
                done.append(written)
    finally:
        for file in done:
            expected = "" if file.expected_error is None else f"   expected NMAE {file.expected_error:.2f} %"
            state = f"   charge {file.structure.charge:+d}, multiplicity {file.structure.multiplicity}"
            of_smiles = "" if file.geometry is None else f"   geometry {file.geometry}"
            line = (
                f"{file.path}   {file.structure.formula}   {file.n_electrons:.4f} electrons{expected}{state}{of_smiles}"
            )
            stdout.print(line, soft_wrap=True)
            if file.unfamiliar:
                names = ", ".join(file.unfamiliar[:SHOWN])
                names += f" and {more} more" if (more := len(file.unfamiliar) - SHOWN) > 0 else ""
                stderr.print(
                    f"warning: {file.path}: the model never saw surroundings like those of {names}", soft_wrap=True
                )
            for warning in file.warnings:
                stderr.print(f"warning: {file.path}: {warning}", soft_wrap=True)


def _predict_store(request: Request, target: Path) -> None:
    from orbdens.cli.screen import stderr, stdout
    from orbdens.predicted_store import predict_store
    from orbdens.progress import Display

    with Display() as display:
        done = predict_store(request, target, display.count)
    errors = sorted(done.expected_errors)
    expected = f"   expected NMAE {errors[len(errors) // 2]:.2f} % (median)" if errors else ""
    before = f", {done.before} of them from before" if done.before else ""
    stdout.print(f"{target}   {done.count} structures{before}{expected}", soft_wrap=True)
    if done.doubtful:
        names = ", ".join(done.doubtful[:SHOWN])
        names += f" and {more} more" if (more := len(done.doubtful) - SHOWN) > 0 else ""
        stderr.print(f"warning: extrapolations, whose records say why: {names}", soft_wrap=True)


def _refuse_two(given: dict[str, bool], reason: str) -> None:
    """UserError if more than one of some options are given."""
    names = [name for name, present in given.items() if present]
    if len(names) > 1:
        raise UserError(f"{names[0]} and {names[1]} exclude each other: {reason}")


def evaluate(
    model: Model,
    store: StoreArgument,
    split: Annotated[str, typer.Option(help="Named split of the store.")] = "test",
    json: Annotated[
        Path | None, typer.Option(metavar="F.json", help="Write all figures to this file, for `orbdens compare`.")
    ] = None,
    spacing: Annotated[
        float, typer.Option(min=0.02, max=2.0, help="Spacing of the grid on which densities are compared, Å.")
    ] = SPACING,
    margin: Annotated[
        float, typer.Option(min=0.0, max=20.0, help="Distance from the outermost atoms to the edge of that grid, Å.")
    ] = MARGIN,
    name: Annotated[str | None, typer.Option(help="Name of the model in tables [default: that of its folder].")] = None,
    n: Annotated[
        int | None,
        typer.Option(min=1, help="Largest number of structures, evenly spaced [default: all]."),
    ] = None,
    potential: Annotated[
        bool,
        typer.Option(
            "--potential",
            help="Also measure the electrostatic potential on the surface at 1.4 to 2.0 van der Waals radii: RMS error "
            "in kcal/mol per e; about a second a structure.",
        ),
    ] = False,
    charges: Annotated[
        bool,
        typer.Option(
            "--charges", help="Also measure Hirshfeld and MBIS charges: mean error in e; some seconds a structure."
        ),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Also measure half a step off the grid, and each molecule once more, turned at random."
        ),
    ] = False,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Measure a model against the reference densities of a store.

    All-electron densities are compared on a quadrature about the atoms (Becke, Lebedev), which the spacing does not
    change, others on a regular grid, or on their own if they are known on one.

    NMAE in % (100·Σ|Δρ|/Σ|ρ| per structure) with its shares near nuclei, in bonds and in the tail, error of the
    electron count in e and of the dipole in Debye, structures/s and peak memory in MB; the charges and multiplicities
    that were used, which are those of the records; with --potential the RMS error of the electrostatic potential in
    kcal/mol per e, with --charges the mean error of atomic charges in e.

    Example: orbdens evaluate runs/ethanol ethanol.store --split test --json ethanol.json
    """
    from orbdens.files import check_output

    if json is not None:
        check_output(json, force)
    from orbdens.cli.screen import show
    from orbdens.evaluation import measure
    from orbdens.evaluation.tables import evaluation_table
    from orbdens.progress import Display

    with Display() as display:
        evaluation = measure.evaluate(
            model, store, split, spacing, margin, name, n, display.count, potential, charges, robustness, device
        )
    show(evaluation_table(evaluation))
    if json is not None:
        evaluation.write(json)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for models, figures and report.")] = Path(
        "orbdens-demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.01, help="Training time of each model, minutes.")] = 1.75,
    force: Force = False,
) -> None:
    """Train two models on 500 shipped densities of Li-O-Li and compare them on 125 others: about 5 minutes on 2 cores.

    Writes OUT/report.html with tables and pictures, the pictures as PNG, and both trained models.

    Example: orbdens demo --out orbdens-demo
    """
    from orbdens import demo as demonstration
    from orbdens.cli.screen import show, stdout

    result = demonstration.demo(out, minutes, force, lambda line: stdout.print(line, style="bold"))
    show(result.table)
    stdout.print(
        f"""
Report and pictures: {result.report}
Where to go next:
  densities of new Li-O-Li geometries, as cube files:  orbdens predict {result.model} FILE.xyz
  your own densities as a store:                       orbdens data import YOURS.npz YOURS.store
  a model of them (copy a config, name your store):    orbdens train YOURS.yaml""",
        soft_wrap=True,
    )


def doctor() -> None:
    """Say what works on this machine: versions, kernel backends or why they cannot run, a two-second check of each.

    Below stands what every verb would use: where the network runs, which kernels evaluate densities, and why.

    Errors are relative to the density's maximum, speeds in points per second. Exit status 1 if a backend that runs
    gives wrong values.

    Example: orbdens doctor
    """
    from orbdens.cli.screen import stdout
    from orbdens.doctor import check_backends, report

    findings = check_backends()
    report(findings, stdout)
    if any(finding.reason is None and not finding.works for finding in findings):
        raise typer.Exit(1)
