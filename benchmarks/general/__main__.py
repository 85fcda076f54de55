"""The exam of the general model, and its card.

``make FOLDER`` calculates the densities of the exam by DFT, about an hour on one core; interrupted, it goes on.
``card`` reprints every figure of the model's card from stores and weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.general.card import card
from benchmarks.general.make import make
from benchmarks.general.structures import GROUPS

EXAM = Path(__file__).parent.parent / "data" / "exam"


MARKS = "<!-- figures -->", "<!-- end of figures -->"
"""Between these the figures of a card stand."""


def put_between_marks(text: str, figures: str) -> str:
    """A card with other figures."""
    begin, end = (text.index(mark) for mark in MARKS)
    return f"{text[: begin + len(MARKS[0])]}\n\n{figures.strip()}\n\n{text[end:]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.general", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="calculate the densities of the exam")
    making.add_argument("folder", type=Path)
    making.add_argument("--only", nargs="+", choices=tuple(GROUPS), default=tuple(GROUPS))
    making.add_argument("--processes", type=int, default=1, help="of one thread each")
    printing = verbs.add_parser("card", help="print every figure of a model's card")
    printing.add_argument("--model", default=None, help="run folder or model.safetensors [default: what ships]")
    printing.add_argument("--general", type=Path, required=True, help="the store of the molecules people really have")
    printing.add_argument("--organics", type=Path, required=True, help="store of molecules of 3 to 7 heavy atoms")
    printing.add_argument("--large", type=Path, required=True, help="store of molecules of 9 heavy atoms")
    printing.add_argument("--exam", type=Path, default=EXAM, help="folder of the exam [default: benchmarks/data/exam]")
    printing.add_argument("--training", type=Path, nargs="+", default=(), help="stores the model was trained on")
    printing.add_argument("--threads", type=int, default=1)
    printing.add_argument("--json", type=Path, help="file for every row and figure")
    printing.add_argument("--into", type=Path, help="Markdown file whose part between its two marks is replaced, too")
    arguments = parser.parse_args()
    if arguments.verb == "make":
        make(arguments.folder, arguments.only, arguments.processes)
        return
    torch.set_num_threads(arguments.threads)
    stores = (arguments.general, arguments.organics, arguments.large)
    figures = card(arguments.model, *stores, arguments.exam, arguments.training, arguments.json)
    print(figures)
    if arguments.into is not None:
        arguments.into.write_text(put_between_marks(arguments.into.read_text(encoding="utf-8"), figures), "utf-8")


if __name__ == "__main__":
    main()
