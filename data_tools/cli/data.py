"""``orbdens data``: the group of commands, registered by the entry point ``orbdens.cli``."""

from __future__ import annotations

import typer

from data_tools.cli import generation, sources, stores

app = typer.Typer(no_args_is_help=True, help="Make stores of densities, and look after them.")
app.command("import")(sources.import_)
for made in (generation.generate, generation.geometries, generation.molecules, generation.select):
    app.command()(made)
for kept in (stores.inspect, stores.split, stores.subset, stores.merge, stores.convert, stores.verify):
    app.command()(kept)
