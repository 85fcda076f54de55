"""The commands that look into stores, check them and make others of them; each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_tools.choices import SplitWay
from orbdens import shipped
from orbdens.errors import UserError
from orbdens.formats import CHOICES, FORMATS_HELP
from orbdens.metrics import MARGIN, SPACING

AnyStore = Annotated[str, typer.Argument(metavar="STORE", help=f"Folder of a store, or the word {shipped.STORE}.")]
OwnStore = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store.")]
Force = Annotated[bool, typer.Option("--force", help="Replace output that exists.")]


def inspect(
    store: AnyStore,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write a self-contained page with pictures here.")
    ] = None,
    force: Force = False,
) -> None:
    """Print what a store holds: level of theory, structures, elements, splits, sizes in kB, electron counts.

    The page shows elements, sizes and errors of the electron count as histograms, and cuts through densities in e/Å³.

    Example: orbdens data inspect lithium-oxide --html lithium-oxide.html
    """
    from orbdens.files import check_output
    from orbdens.store import open_store

    if html is not None:
        check_output(html, force)
    from data_tools.stores.summary import ELECTRONS_CHECKED, ELECTRONS_OF_PAGE, print_summary, summarise

    with open_store(store) as opened:
        summary = summarise(opened, ELECTRONS_CHECKED if html is None else ELECTRONS_OF_PAGE)
        print_summary(opened, summary)
        if html is not None:
            from data_tools.stores.summary_page import write_store_page
            from orbdens.cli.screen import stdout

            write_store_page(html, opened, summary)
            stdout.print(f"wrote {html}", soft_wrap=True)


def split(
    store: OwnStore,
    train: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the records in the split train [default: 0.8].")
    ] = None,
    validation: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the records in the split validation [default: 0.1].")
    ] = None,
    test: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the records in the split test [default: 0.1].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random splits.")] = 0,
    by: Annotated[
        SplitWay,
        typer.Option(
            help="How records are divided: at random; by size, the structures with most atoms in test; or by "
            "composition, no formula in two splits."
        ),
    ] = "random",
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE.json",
            help="File of named splits to take instead: lists of keys, or of places from 0.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Divide the records of a store into named splits, written into its manifest.

    If one share is given, the others are 0 unless given too.

    Example: orbdens data split ethanol.store --train 0.9 --test 0.1 --by size
    """
    from data_tools.stores.splitting import split_store, splits_of_file, write_splits
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.store import open_store

    shares = {"train": train, "validation": validation, "test": test}
    if from_ is not None and any(share is not None for share in shares.values()):
        raise UserError(
            "the shares of splits are in the file of --from already; leave out --train, --validation, --test"
        )
    if all(share is None for share in shares.values()):
        shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    with open_store(str(store)) as opened, Display() as display:
        if from_ is not None:
            splits = splits_of_file(from_, opened)
        else:
            given = {name: share or 0.0 for name, share in shares.items()}
            splits = split_store(opened, given, by, seed, display.count)
        write_splits(opened, splits, overwrite=force)
    counts = ", ".join(f"{name} {len(keys)}" for name, keys in splits.items())
    stdout.print(f"split {store}: {counts}", soft_wrap=True)


def subset(
    store: AnyStore,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the store to make.")],
    split: Annotated[str | None, typer.Option(help="Take only records of this named split.")] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take only records whose keys are in this text file, one a line."),
    ] = None,
    elements: Annotated[
        str | None, typer.Option(metavar="H,C,O", help="Take only structures with no other elements than these.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Number of records to take of these at most, evenly spaced.")
    ] = None,
    float16: Annotated[
        bool, typer.Option("--float16", help="Round grids to half precision; the error goes into the manifest.")
    ] = False,
    force: Force = False,
) -> None:
    """Make a store of some records of another. Named splits keep what is left of them.

    Example: orbdens data subset ethanol.store small.store --split train --n 100
    """
    from data_tools.stores.merging import subset as run
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.store import open_store

    with open_store(store) as opened, Display() as display:
        count = run(
            opened,
            out,
            split=split,
            keys=_lines(keys) if keys is not None else None,
            elements=[symbol.strip() for symbol in elements.split(",")] if elements is not None else None,
            n=n,
            float16=float16,
            overwrite=force,
            progress=display.count,
        )
    stdout.print(f"wrote {out}, {count} records   next: orbdens data inspect {out}", soft_wrap=True)


def merge(
    stores: Annotated[
        list[Path], typer.Argument(metavar="STORE STORE... OUT", help="Stores to join, and the folder to make.")
    ],
    prefix: Annotated[bool, typer.Option("--prefix", help="Put the name of its store before every key.")] = False,
    force: Force = False,
) -> None:
    """Make a store of all records of several, which must agree in their level of theory and basis.

    Splits of one name are joined. Records that have the same key in two stores need --prefix.

    Example: orbdens data merge ethanol.store malonaldehyde.store both.store
    """
    if len(stores) < 3:
        raise UserError("merge needs two stores or more and, last, the folder to make")
    from data_tools.stores.merging import merge as run
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.store import open_store

    *sources, out = stores
    with Display() as display:
        count = run(
            [open_store(str(path)) for path in sources],
            out,
            prefix=prefix,
            overwrite=force,
            progress=display.count,
        )
    stdout.print(f"wrote {out}, {count} records   next: orbdens data inspect {out}", soft_wrap=True)


def convert(
    store: AnyStore,
    out: Annotated[Path, typer.Argument(metavar="OUT_FOLDER", help="Folder of the files to write, one a record.")],
    to: Annotated[str, typer.Option(metavar=CHOICES, help=f"Format of the files: {FORMATS_HELP}.")],
    split: Annotated[str | None, typer.Option(help="Take only records of this named split.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Number of records to write at most, evenly spaced.")
    ] = None,
    spacing: Annotated[
        float, typer.Option(min=0.01, max=2, help="Spacing of the grid that orbital records are evaluated on, Å.")
    ] = SPACING,
    margin: Annotated[
        float, typer.Option(min=0, max=50, help="Distance from the outermost atoms to the edge of that grid, Å.")
    ] = MARGIN,
    force: Force = False,
) -> None:
    """Write the densities of a store as files for other programs, named after the records' keys.

    Orbital records are evaluated on a uniform grid around the molecule, grid records keep theirs. A CHGCAR of a
    molecule has the box of the grid as its cell, the atoms shifted into it. It lacks augmentation occupancies, so
    programs that show or analyse densities read it, but VASP cannot start from it.

    Example: orbdens data convert lithium-oxide cubes --to cube --split test --n 5
    """
    from data_tools.stores.converting import convert as run
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.store import open_store

    with open_store(store) as opened, Display() as display:
        files = run(
            opened,
            out,
            to,
            split=split,
            n=n,
            spacing=spacing,
            margin=margin,
            overwrite=force,
            progress=display.count,
        )
    stdout.print(f"wrote {len(files)} files into {out}", soft_wrap=True)


def verify(
    store: AnyStore,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep what is whole, leave out what is broken and note it in the manifest.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest error of the sum over a grid, in electrons [default: 2 % of them, at least 0.1].",
        ),
    ] = None,
) -> None:
    """Check all of a store: files, checksums, shapes, finite values, electron counts, splits. Not while it is written.

    Prints a line for each kind of damage with the keys of the records, and exits with status 1 if there is any that is
    not repaired. A repaired file stays beside the new one as damaged.mdb.

    Example: orbdens data verify ethanol.store
    """
    from data_tools.stores.verifying import repair as run
    from data_tools.stores.verifying import verify as check
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display
    from orbdens.store import open_store

    with open_store(store) as opened:
        path = opened.path
    with Display() as display:
        findings = check(path, display.count, tolerance)
    for line in findings.lines():
        stdout.print(line, soft_wrap=True)
    if findings.fine:
        stdout.print(f"{path}: all {findings.n_records} records are whole", soft_wrap=True)
        return
    if not repair:
        stdout.print(f"{path}: {findings.n_records} records are whole; --repair keeps those", soft_wrap=True)
        raise typer.Exit(1)
    if store == shipped.STORE:
        raise UserError("the store of the package is not repaired; install orbdens again")
    gone = run(path, findings)
    lost = "no record is gone" if not gone else f"{len(gone)} gone, listed in its manifest.json under repaired"
    stdout.print(f"repaired {path}: {lost}", soft_wrap=True)


def _lines(file: Path) -> list[str]:
    """Lines of a text file, stripped, empty ones left out."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UserError(f"cannot read keys from {file}: {reason}") from None
    return [line for line in lines if line]
