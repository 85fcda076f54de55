"""``orbdens compare``: evaluations of several models on the same densities, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orbdens.errors import UserError
from orbdens.evaluation.result import Evaluation
from orbdens.evaluation.tables import Table, comparison_table, points_phrase
from orbdens.files import check_output

if TYPE_CHECKING:
    from orbdens.evaluation.pictures import Picture

MUST_AGREE = {
    "store": "stores",
    "split": "splits",
    "fingerprint": "structures",
    "spacing": "spacings",
    "margin": "margins",
    "quadrature": "quadratures",
}
"""What evaluations in one table were all measured on, and what it is called in a message."""


def compare(files: Sequence[Path], html: Path | None = None, force: bool = False) -> Table:
    """Put files of ``orbdens evaluate --json`` into one table, best mean NMAE first.

    Args:
        files: as ``read_evaluations`` takes them.
        html: also write a self-contained page with pictures here.
        force: replace a page that exists.

    Raises:
        UserError: as ``read_evaluations``, or the page cannot be written.
    """
    evaluations = read_evaluations(files)
    if html is not None:
        check_output(html, force)
        from orbdens.evaluation.pictures import draw  # matplotlib takes a moment to import

        write_report(html, evaluations, draw(evaluations))
    return comparison_table(evaluations)


def read_evaluations(paths: Sequence[Path]) -> list[Evaluation]:
    """Read files of ``orbdens evaluate --json`` and make sure that their numbers may stand in one table.

    Models of the same name are told apart by their file's name.

    Raises:
        UserError: a file is missing or foreign, or two files were measured on different structures or grids.
    """
    evaluations = [Evaluation.read(path) for path in paths]
    first = evaluations[0].measured_on
    for path, evaluation in zip(paths, evaluations, strict=True):
        for field, what in MUST_AGREE.items():
            one, other = getattr(first, field), getattr(evaluation.measured_on, field)
            if one != other:
                unit = " Å" if field in ("spacing", "margin") else ""
                raise UserError(
                    f"{paths[0]} and {path} cannot be compared: their {what} differ ({one}{unit} and {other}{unit})"
                )
    names = Counter(evaluation.model.name for evaluation in evaluations)
    named = []
    for path, evaluation in zip(paths, evaluations, strict=True):
        if names[evaluation.model.name] > 1:
            model = evaluation.model.model_copy(update={"name": f"{evaluation.model.name} ({path.stem})"})
            evaluation = evaluation.model_copy(update={"model": model})
        named.append(evaluation)
    return named


def write_report(path: Path, evaluations: Sequence[Evaluation], pictures: Mapping[str, Picture]) -> None:
    """Write one HTML page with the table and all pictures inside, whole or not at all.

    Args:
        path: replaced if it exists.
        evaluations: on the same structures and grid, as ``read_evaluations`` makes sure.
        pictures: from ``orbdens.evaluation.pictures.draw``.

    Raises:
        UserError: the file cannot be written.
    """
    from orbdens.evaluation.page import html_table, write_page

    table, on, machine = comparison_table(evaluations), evaluations[0].measured_on, evaluations[0].machine
    n_models, n_structures = len(evaluations), len(evaluations[0].errors.keys)
    cores = f"{machine.get('cpu', '?')}, {machine.get('threads', '?')} of {machine.get('cores', '?')} cores"
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    versions = ", ".join(f"{name} {number}" for name, number in evaluations[0].versions.items())
    write_page(
        path,
        title=f"Electron densities of {on.store}",
        lead=f"{n_models} model{'s' * (n_models > 1)}, measured on the {n_structures} structures of split "
        f"“{on.split}”, on {points_phrase(on)}.",
        table=html_table(table.columns, table.rows, table.notes),
        pictures=pictures.values(),
        foot=f"{cores}{gpu}; {versions}.",
    )
