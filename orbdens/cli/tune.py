"""The verb that searches for options. It imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orbdens.cli.options import Force
from orbdens.errors import UserError

SamplerName = Literal["tpe", "grid", "random"]
PrunerName = Literal["median", "hyperband"]


def tune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Complete config; see the folder configs/.")],
    space: Annotated[
        Path,
        typer.Argument(
            metavar="SPACE.yaml",
            help="What to vary: names of options with lists of values, [0, 0.1, 0.2], or ranges, {low: 1e-4, high: "
            "1e-2, log: true}; step: S or number: N makes a range a list.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Options to change for all trials, e.g. data.n_train=100."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="Store of all trials [default: that of the config].")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Finished trials in the end [default: all points of a grid, else 20].")
    ] = None,
    sampler: Annotated[
        SamplerName, typer.Option(help="What chooses options: optuna's TPE, every point of a grid, or chance.")
    ] = "tpe",
    prune: Annotated[
        PrunerName | None,
        typer.Option(help="End hopeless trials early: worse than the median so far, or by Hyperband [default: none]."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Trials at the same time; they share the cores.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Training time of each trial, minutes [default: its config's].")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Likewise, steps of each trial.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the choice of options.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the search [default: tuning/ and the config's name].")
    ] = None,
    force: Force = False,
) -> None:
    """Search for the options of a config that give the smallest error on structures held out from training.

    Trains the config again and again with other options, each time measured on the same held-out structures of the
    training split, never on test. The folder gets best.yaml (a config for orbdens train), tune.json, tuning.png and
    .svg, and every trial's run and log. The same command again goes on where it was interrupted, with a larger
    --trials further; commands on several machines may share a folder. A trial that fails is told and leaves the others
    alone.

    NMAE in %, time in minutes. Needs optuna: pip install 'orbdens[tune]'.

    Example: orbdens tune lithium-oxide-unet.yaml space.yaml --trials 20 --minutes 2 --processes 2 --prune median
    """
    from orbdens.tuning import check_optuna
    from orbdens.tuning.plan import Place, Terms, plan_search

    check_optuna()
    if minutes is not None and steps is not None:
        raise UserError("--minutes and --steps exclude each other: each of them ends a trial")
    terms = Terms(trials, sampler, prune, minutes, steps, processes, seed)
    plan = plan_search(config, space, store, overrides or [], terms)
    folder = out or Path("tuning") / config.stem
    from orbdens import tuning
    from orbdens.cli.screen import show, stderr, stdout

    try:
        show(tuning.tune(plan, folder, lambda line: stdout.print(line, soft_wrap=True), force))
    except KeyboardInterrupt:
        if Place(folder).results.is_file():
            stderr.print(f"the search so far is in {folder}: the same command goes on", soft_wrap=True)
        raise
    if Place(folder).best.is_file():
        stdout.print(f"wrote {folder}   next: orbdens train {Place(folder).best}", soft_wrap=True)
