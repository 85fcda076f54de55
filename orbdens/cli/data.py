"""``orbdens data``: verbs that make stores and look into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make stores of densities and look into them.")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE.npz", help="Occupied orbitals of many molecules.")],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder to make.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted import.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a store that exists.")] = False,
) -> None:
    """Turn a file of DFT densities into a store.

    The arrays of an .npz are described in data_tools/README.md (positions in Å, energies in Hartree, dipoles in Debye).
    Electron counts are checked.

    Example: orbdens data import ethanol.npz ethanol.store
    """
    from data_tools.import_npz import import_npz
    from orbdens.cli.screen import stdout

    import_npz(source, store, resume=resume, overwrite=force)
    stdout.print(f"wrote {store}   next: orbdens data inspect {store}", soft_wrap=True)


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder of a store, or the word lithium-oxide.")],
) -> None:
    """Print what a store holds: level of theory, structures, elements, splits, sizes in kB, electron counts.

    Example: orbdens data inspect lithium-oxide
    """
    from data_tools.inspect import inspect_store
    from orbdens.data import lithium_oxide_path

    inspect_store(lithium_oxide_path() if store == "lithium-oxide" else Path(store))
