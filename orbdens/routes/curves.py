"""Learning curves, over time and over the size of the training set, and errors over the size of molecules."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbdens.evaluation.pictures import COLOURS, LINE, WIDTH, Picture, finished, new_figure
from orbdens.evaluation.result import Evaluation
from orbdens.store import Store
from orbdens.training.folder import METRICS_FILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Curve:
    """Validation NMAE in % after some minutes of training."""

    minutes: list[float]
    errors: list[float]

    @classmethod
    def of(cls, run: Path) -> Curve:
        """That of a run folder; an empty one where the model was fitted in one go."""
        path = run / METRICS_FILE
        if not path.is_file():
            return cls([], [])
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("validation_nmae")]
        return cls([float(row["minutes"]) for row in rows], [float(row["validation_nmae"]) for row in rows])


def draw_curves(curves: Mapping[str, Curve]) -> Picture:
    """Validation error over training time, a line for each route that learns by steps."""
    figure = new_figure(WIDTH, 4.0)
    axes = figure.add_subplot()
    for (name, curve), colour in zip(curves.items(), COLOURS * 9, strict=False):
        if len(curve.minutes) > 1:
            axes.plot(curve.minutes, curve.errors, color=colour, label=name, linewidth=1.6)
    _log_axes(axes, "minutes of training steps", "NMAE of validation structures [%]")
    return finished(figure, "Error on the validation structures while training went on; both axes logarithmic.")


def draw_sizes(sizes: Mapping[str, Mapping[int, float]]) -> Picture:
    """Mean error on the measured split over the number of training structures."""
    figure = new_figure(WIDTH, 4.0)
    axes = figure.add_subplot()
    for (name, found), colour in zip(sizes.items(), COLOURS * 9, strict=False):
        numbers = sorted(found)
        axes.plot(numbers, [found[n] for n in numbers], "o-", color=colour, label=name, markersize=4, linewidth=1.6)
    _log_axes(axes, "training structures", "mean NMAE [%]")
    return finished(figure, "Error on the structures of the table by models that learned from fewer structures.")


def error_by_atoms(evaluations: Sequence[Evaluation], store: Store) -> Picture | None:
    """Error of every structure over its number of atoms; None where all have as many."""
    atoms = np.array([store.structure(key).n_atoms for key in evaluations[0].errors.keys])
    if len(set(atoms.tolist())) == 1:
        return None
    figure = new_figure(WIDTH, 4.0)
    axes = figure.add_subplot()
    for evaluation, colour in zip(evaluations, COLOURS * 9, strict=False):
        errors = np.array(evaluation.errors.nmae)
        axes.scatter(atoms, errors, s=10, color=colour, alpha=0.35, linewidths=0)
        every = sorted(set(atoms.tolist()))
        medians = [float(np.median(errors[atoms == n])) for n in every]
        axes.plot(every, medians, color=colour, label=evaluation.model.name, linewidth=1.6)
    _log_axes(axes, "atoms of a structure", "NMAE of one structure [%]", log_x=False)
    return finished(figure, "Error of every structure by its size; lines: medians of the structures of one size.")


def _log_axes(axes: Axes, x: str, y: str, log_x: bool = True) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axis, logarithmic in ((axes.xaxis, log_x), (axes.yaxis, True)):
        if not logarithmic:
            continue
        (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5)
