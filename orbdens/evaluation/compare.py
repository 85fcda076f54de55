"""``orbdens compare``: evaluations of several models on the same densities, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orbdens.errors import UserError
from orbdens.evaluation.result import Evaluation


def read_evaluations(paths: Sequence[Path]) -> list[Evaluation]:
    """Read files of ``orbdens evaluate --json`` and make sure that their numbers may stand in one table.

    Models of the same name are told apart by their file's name.

    Raises:
        UserError: a file is missing or foreign, or two files were measured on different structures or grids.
    """
    evaluations = [Evaluation.read(path) for path in paths]
    first = evaluations[0].measured_on
    for path, other in zip(paths[1:], (evaluation.measured_on for evaluation in evaluations[1:]), strict=True):
        for what in ("store", "split", "fingerprint", "spacing", "margin"):
            mine, theirs = getattr(first, what), getattr(other, what)
            if mine != theirs:
                name, unit = (
                    ("structures" if what == "fingerprint" else what),
                    (" Å" if what in ("spacing", "margin") else ""),
                )
                raise UserError(
                    f"{paths[0]} and {path} cannot be compared: their {name} differ ({mine}{unit} and {theirs}{unit})"
                )
    names = Counter(evaluation.model.name for evaluation in evaluations)
    named = []
    for path, evaluation in zip(paths, evaluations, strict=True):
        if names[evaluation.model.name] > 1:
            model = evaluation.model.model_copy(update={"name": f"{evaluation.model.name} ({path.stem})"})
            evaluation = evaluation.model_copy(update={"model": model})
        named.append(evaluation)
    return named
