"""The verb that compares. It imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbdens.cli.options import Device, Force
from orbdens.errors import UserError


def compare(
    items: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONFIG.yaml|RUN...",
            help="Configs to train and trained models; or files of `orbdens evaluate --json`.",
        ),
    ],
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="Store of all routes [default: that of the configs].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for runs, figures and report [default: comparison].")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Training time of each model, minutes [default: its config's].")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Likewise, steps of each model.")] = None,
    sizes: Annotated[
        str | None,
        typer.Option(metavar="50,100,...", help="Train on so many structures, too: learning curves over the data."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Routes at the same time; they share the cores.")] = 1,
    split: Annotated[str, typer.Option(help="Named split of the store that all are measured on.")] = "test",
    n: Annotated[
        int | None, typer.Option(min=1, help="Largest number of its structures, evenly spaced [default: all].")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="REPORT.html", help="Of JSON files: a self-contained page with pictures.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Train models on the same data for the same time, measure them on the same structures, and write one report.

    Configs are trained, run folders taken as they are. The folder gets report.html, report.json, pictures (PNG, SVG),
    runs, figures and logs. The same command again goes on where it was interrupted. A route that fails is told at the
    end and leaves the others alone. --device is where models are measured; configs say where they are trained.

    NMAE in % (also half a step off the grid, and of molecules turned at random), electron count error in e, dipole
    error in Debye, time in minutes, memory in MB. Files of `orbdens evaluate --json` are put into one table as they
    are.

    Example: orbdens compare lithium-oxide.yaml promolecule.yaml --store lithium-oxide --minutes 5 --processes 2
    """
    from orbdens.cli.screen import show, stdout

    if all(item.suffix == ".json" for item in items):
        others: dict[str, object] = {"--store": store, "--out": out, "--minutes": minutes, "--steps": steps}
        others |= {"--sizes": sizes, "--n": n, "--device": None if device == "auto" else device}
        for option, value in others.items():
            if value is not None:
                raise UserError(f"{option} is for configs and trained models: these are figures that were measured")
        from orbdens.evaluation import compare as comparison

        show(comparison.compare(items, html, force))
        if html is not None:
            stdout.print(f"wrote {html}", soft_wrap=True)
        return
    if html is not None:
        raise UserError("--html is for files of orbdens evaluate --json: others get a folder, see --out")
    if minutes is not None and steps is not None:
        raise UserError("--minutes and --steps exclude each other: each of them ends a run")
    from orbdens.routes import compare_routes
    from orbdens.routes.plan import Plan

    numbers = () if sizes is None else _whole_numbers("--sizes", sizes)
    plan = Plan(store, split, n, minutes, steps, numbers, processes, device)
    folder = out or Path("comparison")
    show(compare_routes(items, folder, plan, lambda line: stdout.print(line, soft_wrap=True), force))
    stdout.print(f"wrote {folder / 'report.html'}", soft_wrap=True)


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Different whole numbers above 0 with commas between them; UserError for anything else."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise UserError(f"expected different whole numbers above 0 with commas between them, but {option} is '{text}'")
    return numbers
