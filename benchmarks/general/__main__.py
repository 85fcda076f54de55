"""The exam of the general model, and its card.

``make FOLDER`` calculates the densities of the exam by DFT, about an hour on one core; interrupted, it goes on.
``card`` reprints every figure of the model's card from stores and weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.general.make import make
from benchmarks.general.structures import GROUPS


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.general", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="calculate the densities of the exam")
    making.add_argument("folder", type=Path)
    making.add_argument("--only", nargs="+", choices=tuple(GROUPS), default=tuple(GROUPS))
    making.add_argument("--processes", type=int, default=1, help="of one thread each")
    arguments = parser.parse_args()
    if arguments.verb == "make":
        make(arguments.folder, arguments.only, arguments.processes)


if __name__ == "__main__":
    main()
