"""Entry point and what holds for every verb: errors, interrupts, --debug and --version."""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

import orbdens
from orbdens.cli import properties, starts, verbs
from orbdens.cli.compare import compare
from orbdens.cli.topology import topology
from orbdens.cli.tune import tune
from orbdens.cli.view import view
from orbdens.cli.xray import xray
from orbdens.errors import UserError

USER_ERROR, INTERNAL_ERROR, INTERRUPTED = 2, 1, 130

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The class of all mistakes in a command line; the module it lies in differs between versions of typer."""

app = typer.Typer(
    name="orbdens",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in entry_points(group="orbdens.cli"):
    app.add_typer(group.load(), name=group.name)
for verb in (
    verbs.floor,
    verbs.train,
    verbs.predict,
    properties.potential,
    properties.charges,
    properties.moments,
    topology,
    view,
    starts.scf,
    starts.cp2k,
    xray,
    verbs.evaluate,
    compare,
    tune,
    verbs.demo,
    verbs.doctor,
):
    app.command()(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orbdens {orbdens.__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors (allowed anywhere).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Electron densities of molecules, predicted as sums of atom-centred Gaussian orbitals.

    Lengths in Å, densities in e/Å³ (cube files: Bohr and e/Bohr³), dipoles in Debye. Start with `orbdens demo`.
    """


def main() -> None:
    """Run the command line and exit: 0 done, 1 a bug, 2 a mistake in the input, 130 interrupted."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # GNU OpenMP threads spin while they wait, which slows them down severalfold on a machine that does other work too.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # several processes: remarks nobody can act on
    sys.exit(run(arguments, debug))


def run(arguments: list[str], debug: bool) -> int:
    """Run one command line; returns the exit status."""
    try:
        result: Any = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        return _fail(str(error), USER_ERROR, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED, debug)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERNAL_ERROR
    except USAGE_ERROR as error:
        sentence = error.format_message()
        if not sentence:  # a group of verbs without a verb: its help stands on the screen already
            return 0
        return _fail(f"{sentence} (orbdens --help explains)", USER_ERROR, debug)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no message"
        return _fail(f"a bug in orbdens, {type(error).__name__}: {reason} (--debug shows where)", INTERNAL_ERROR, debug)
    if result == INTERRUPTED:  # how typer hands a KeyboardInterrupt on
        return _fail("interrupted", INTERRUPTED, debug)
    return result if isinstance(result, int) else 0


def _fail(sentence: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"orbdens: {sentence}", file=sys.stderr)  # noqa: T201
    return status
