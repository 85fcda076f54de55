"""Options that several verbs share, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbdens.metrics import MARGIN, SPACING

Force = Annotated[bool, typer.Option("--force", help="Replace output that exists.")]
Charge = Annotated[
    int | None, typer.Option(help="Total charge of every structure, e [default: what its file says, or 0].")
]
Multiplicity = Annotated[
    int | None, typer.Option(min=1, help="2S + 1 of every structure [default: what its file says, or 1].")
]
GridSpacing = Annotated[
    float | None,
    typer.Option(min=0.01, max=5.0, help=f"Spacing of the grid around each structure, Å [default: {SPACING:g}]."),
]
GridMargin = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=50.0, help=f"Distance from the outermost atoms to the grid's edge, Å [default: {MARGIN:g}]."
    ),
]
GridLike = Annotated[Path | None, typer.Option(metavar="REF.cube", help="Take the grid of this cube (or HDF5) file.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|interpreter",
        help="Where to compute: auto is a CUDA GPU if there is one; interpreter runs the GPU's kernels on the CPU, "
        "very slowly, for tests. `orbdens doctor` says what goes where.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="32-true|bf16-mixed",
        help="Of the network's products: bf16-mixed is faster on processors with AVX512-BF16 or AMX and on GPUs, and "
        "changes densities by about 0.01 % (NMAE). Electrons stay exact.",
    ),
]
Json = Annotated[Path | None, typer.Option(metavar="F.json", help="Write all figures to this file.")]
