"""``orbdens data``: the group of commands, registered by the entry point ``orbdens.cli``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from data_tools.cli import generation, sources, stores

COMMANDS: dict[str, Callable[..., None]] = {
    "import": sources.import_,
    "generate": generation.generate,
    "geometries": generation.geometries,
    "molecules": generation.molecules,
    "distort": generation.distort,
    "select": generation.select,
    "inspect": stores.inspect,
    "split": stores.split,
    "subset": stores.subset,
    "merge": stores.merge,
    "convert": stores.convert,
    "verify": stores.verify,
}

app = typer.Typer(no_args_is_help=True, help="Make stores of densities, and look after them.")
for name, command in COMMANDS.items():
    app.command(name)(command)
