"""The verbs that train and use models. Every one imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbdens.errors import UserError

Force = Annotated[bool, typer.Option("--force", help="Replace output that exists.")]
Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="model.safetensors, the run folder that holds it, or the word organics."),
]


def fit(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder of a store, or the word lithium-oxide.")],
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
        float | None, typer.Option(help="Å⁻²; sharper functions of atoms are left out [default: 72].")
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Where orbitals sit: atoms, bonds or bond-pairs [default: atoms].")
    ] = None,
    split: Annotated[str, typer.Option(help="Named split of the store.")] = "train",
    n: Annotated[int, typer.Option("--n", min=1, help="At most so many structures, evenly spaced.")] = 20,
    json: Annotated[Path | None, typer.Option(metavar="F.json", help="Write all figures here.")] = None,
    force: Force = False,
) -> None:
    """Print the floor of a basis: how far its least-squares fits are from the reference densities of a store.

    NMAE in % with its shares by region and by nearest element, L2 error in %, error of the electron count in e, and
    the numbers of coefficients and radial functions. Choose a basis with it before training: a network that predicts
    coefficients comes near the floor at best. Exponents in Å⁻².

    Example: orbdens fit ethanol.store --beta 1.8 --sites bonds --n 5
    """
    from orbdens.files import check_output

    if json is not None:
        check_output(json, force)
    from orbdens.cli.screen import show
    from orbdens.evaluation.basis_floor import choose
    from orbdens.evaluation.basis_floor import fit as run
    from orbdens.evaluation.tables import fit_table
    from orbdens.progress import Display

    model = choose(config, sites, source=basis, beta=beta, l_max=l_max, max_exponent=max_exponent)
    with Display() as display:
        floor = run(store, model, split, n, lambda done, total: display.count("fitting", done, total))
    show(fit_table(floor))
    if json is not None:
        floor.write(json)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Complete config; see the folder configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Options to change, e.g. training.minutes=10.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder. Default: runs/ and the config's name.")
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
    from orbdens.training.run import train

    try:
        run = train(checked, folder, resume, force)
    except KeyboardInterrupt:
        stderr.print(f"the run's state is in {folder}: the same command with --resume goes on", soft_wrap=True)
        raise
    stdout.print(f"wrote {run}   next: orbdens evaluate {run} {checked.data.store}", soft_wrap=True)


def predict(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] FILE...",
            help="model.safetensors or the run folder that holds it [default: organics, which ships: molecules of H, "
            "C, N, O and F]; structures in any format that ASE reads.",
        ),
    ],
    grid: Annotated[
        float | None,
        typer.Option(min=0.01, max=5.0, help="Å; spacing of the grid around each structure [default: 0.2]."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0.0, max=50.0, help="Å; from the outermost atoms to the grid's edge [default: 4]."),
    ] = None,
    like: Annotated[Path | None, typer.Option(metavar="REF.cube", help="Take the grid of this cube file.")] = None,
    points: Annotated[
        Path | None, typer.Option(metavar="P.npy", help="Values at these points instead, Å, an array [n, 3].")
    ] = None,
    coefficients: Annotated[
        bool, typer.Option("--coefficients", help="Sites, exponents and coefficients of the orbitals instead.")
    ] = False,
    npz: Annotated[bool, typer.Option("--npz", help="Grids as .npz in Å and e/Å³ instead of cube.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A file (.cube, .npz) for one structure, or a folder. Default: this folder."),
    ] = None,
    force: Force = False,
) -> None:
    """Predict electron densities of structures; no reference grid needed.

    Writes NAME.cube (lengths in Bohr, density in e/Bohr³) for each structure of NAME.xyz, or NAME-1.cube, NAME-2.cube,
    ... if it holds several; with --npz NAME.npz (Å, e/Å³). Total charge and multiplicity come from `charge=` and
    `multiplicity=` in the frame's comment (extended xyz). A periodic structure gets its whole cell as grid. Beside each
    file stands the NMAE in % to expect, as the model itself judges; atoms unlike any it learned from get a warning.

    Example: orbdens predict molecule.xyz     Example: orbdens predict runs/ethanol molecule.xyz --grid 0.1
    """
    first = inputs[0]
    names_model = first.is_dir() or first.suffix == ".safetensors" or not (first.suffix or first.is_file())
    model, files = (first, inputs[1:]) if names_model else (Path("organics"), inputs)
    if not files:
        raise UserError(f"expected structure files (FILE...) after the model {model}")
    exclusive = {
        "--grid and --margin": grid is not None or margin is not None,
        "--like": like is not None,
        "--points": points is not None,
        "--coefficients": coefficients,
    }
    given = [name for name, present in exclusive.items() if present]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} exclude each other: each says where the density is wanted")
    from orbdens.cli.screen import stderr, stdout
    from orbdens.prediction import Request, Written
    from orbdens.prediction import predict as run
    from orbdens.progress import Display

    request = Request(
        files=files,
        spacing=0.2 if grid is None else grid,
        margin=4.0 if margin is None else margin,
        like=like,
        points=points,
        coefficients=coefficients,
        npz=npz,
        out=out,
        force=force,
    )
    done: list[Written] = []
    try:
        with Display() as display:

            def on_written(written: Written, total: int) -> None:
                done.append(written)
                display.count("predicting", len(done), total)

            run(model, request, on_written)
    finally:
        for file in done:
            expected = "" if file.expected_error is None else f"   expected NMAE {file.expected_error:.2f} %"
            line = f"{file.path}   {file.structure.formula}   {file.n_electrons:.4f} electrons{expected}"
            stdout.print(line, soft_wrap=True)
            if file.unfamiliar:
                atoms = ", ".join(file.unfamiliar)
                stderr.print(f"warning: {file.path}: the model never saw surroundings like those of {atoms}")


def evaluate(
    model: Model,
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder of a store, or the word lithium-oxide.")],
    split: Annotated[str, typer.Option(help="Named split of the store.")] = "test",
    json: Annotated[
        Path | None, typer.Option(metavar="F.json", help="Write all figures here, for `orbdens compare`.")
    ] = None,
    spacing: Annotated[float, typer.Option(min=0.02, max=2.0, help="Å; spacing of the grid of comparison.")] = 0.2,
    margin: Annotated[float, typer.Option(min=0.0, max=20.0, help="Å; from the outermost atoms to its edge.")] = 4.0,
    name: Annotated[str | None, typer.Option(help="What tables call the model. Default: its folder's name.")] = None,
    n: Annotated[
        int | None, typer.Option(min=1, help="Only so many structures, evenly spaced over the split. Default: all.")
    ] = None,
    force: Force = False,
) -> None:
    """Measure a model against the reference densities of a store.

    NMAE in % (100·Σ|Δρ|/Σ|ρ| per structure) with its shares near nuclei (r < 0.5 Å), in bonds and in the tail
    (r > 2 Å), error of the electron count in e and of the dipole in Debye, structures/s and peak memory in MB.

    Example: orbdens evaluate runs/ethanol ethanol.store --split test --json ethanol.json
    """
    from orbdens.files import check_output

    if json is not None:
        check_output(json, force)
    from orbdens.cli.screen import show
    from orbdens.evaluation.measure import evaluate as run
    from orbdens.evaluation.tables import evaluation_table
    from orbdens.progress import Display

    with Display() as display:
        evaluation = run(
            model, store, split, spacing, margin, name, n, lambda done, total: display.count("evaluating", done, total)
        )
    show(evaluation_table(evaluation))
    if json is not None:
        evaluation.write(json)


def compare(
    files: Annotated[list[Path], typer.Argument(metavar="F.json...", help="Files of `orbdens evaluate --json`.")],
    html: Annotated[
        Path | None, typer.Option(metavar="REPORT.html", help="Write a self-contained page with pictures.")
    ] = None,
    force: Force = False,
) -> None:
    """Put evaluations on the same structures and grid into one table, and pictures of them on one page.

    NMAE in %, electron count error in e, dipole error in Debye; the page adds the distribution of errors, and a slice
    of the density in e/Å³ with each model's error.

    Example: orbdens compare orbital.json unet.json --html report.html
    """
    from orbdens.cli.screen import show, stdout
    from orbdens.evaluation.compare import read_evaluations
    from orbdens.evaluation.tables import comparison_table
    from orbdens.files import check_output

    evaluations = read_evaluations(files)
    if html is not None:
        check_output(html, force)
    show(comparison_table(evaluations))
    if html is not None:
        from orbdens.evaluation.page import draw, write_report

        write_report(html, evaluations, draw(evaluations))
        stdout.print(f"wrote {html}", soft_wrap=True)


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
    from orbdens.cli.screen import show, stdout
    from orbdens.demo import demo as run

    result = run(out, minutes, force, lambda line: stdout.print(line, style="bold"))
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
