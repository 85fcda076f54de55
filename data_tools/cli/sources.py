"""The command that makes stores of published sets and of other programs' files; it imports what it needs late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_tools.choices import Density, Precision
from data_tools.sources.registry import SourceKind
from orbdens.errors import UserError


def import_(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Files, folders or tar archives of one kind, in order.")
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store to make.")],
    kind: Annotated[
        SourceKind | None,
        typer.Option("--format", help="Kind of the sources [default: told by their names and contents]."),
    ] = None,
    density: Annotated[
        Density | None, typer.Option(help="Which electrons the grids hold [default: valence].", show_default=False)
    ] = None,
    valence: Annotated[
        str,
        typer.Option(
            metavar="C=4,Ti=12",
            help="Electrons that an atom of these elements brings into the density of a grid [default: those of VASP's "
            "PAW potentials].",
        ),
    ] = "",
    elements: Annotated[
        str,
        typer.Option(
            metavar="C,O,H6",
            help="Elements where files do not name them: the kinds of atoms of CHGCARs, all atoms of MD sets.",
        ),
    ] = "",
    charge: Annotated[int, typer.Option(help="Total charge of every structure of a source of grids, e.")] = 0,
    level: Annotated[
        str, typer.Option(metavar="xc=PBE,cutoff=400 eV", help="Level of theory of grids, for the store's manifest.")
    ] = "",
    dtype: Annotated[
        Precision, typer.Option(help="Precision of the stored values of grids; the error of float16 is measured.")
    ] = "float32",
    splits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="File of named splits: lists of keys, or of places in the order of the sources, from 0.",
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Largest error of the sum over a grid, in electrons.")] = 0.05,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out records that cannot be read, with reasons in the manifest.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Import only the first so many records.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted import.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a store that exists.")] = False,
) -> None:
    """Turn published or calculated densities into a store.

    CHGCAR files of VASP and Gaussian cube files (also .gz, .xz, .bz2, .lz4, .zz, and in tar archives as QM9-VASP has
    them), MD sets in Fourier coefficients, the residual CNN's folders, JSON of cubic crystals, files of orbitals, .npz
    files; data_tools/README.md tells layouts and units. Grids are stored in e/Å³ and must sum to the number of
    electrons. The store can be read at any moment; the same command with --resume continues after an interruption.

    Example: orbdens data import qm9/*.tar qm9.store --splits datasplits.json --dtype float16
    """
    from data_tools.cli.parsing import parse_elements, parse_level, parse_valence
    from data_tools.sources.importing import import_source
    from data_tools.sources.kinds import open_source
    from data_tools.sources.statement import UserStatement
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display

    if resume and force:
        raise UserError("--resume and --force exclude each other")
    statement = UserStatement(
        density=density,
        valence=parse_valence(valence),
        elements=parse_elements(elements),
        charge=charge,
        level=parse_level(level),
        dtype=dtype,
        splits=splits,
    )
    source = open_source(sources, statement, kind)
    try:
        with Display() as display:
            done = import_source(
                source,
                store,
                resume=resume,
                overwrite=force,
                tolerance=tolerance,
                skip_broken=skip_broken,
                limit=limit,
                progress=display.count,
            )
    except KeyboardInterrupt:
        if store.exists():
            stderr.print(f"finished records are in {store}: the same command with --resume continues", soft_wrap=True)
        raise
    if done.skipped:
        reason = next(iter(done.skipped.values()))
        stderr.print(f"{len(done.skipped)} left out (reasons in {store}/manifest.json): {reason}", soft_wrap=True)
    if done.not_found:
        stderr.print(f"{done.not_found} entries of {splits} are not in the store", soft_wrap=True)
    stdout.print(f"wrote {store}, {done.count} records   next: orbdens data inspect {store}", soft_wrap=True)
