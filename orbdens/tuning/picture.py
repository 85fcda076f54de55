"""The picture of a search: error of every trial in their order, and over every option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from orbdens.evaluation.pictures import COLOURS, INK, LINE, MUTED, STYLE, WIDTH, Picture, finished, new_figure
from orbdens.tuning.report import MEASURE, told
from orbdens.tuning.space import Axis, Space
from orbdens.tuning.study import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPLETE, PRUNED, FAILED = COLOURS[0], COLOURS[4], COLOURS[1]
IN_A_ROW = 3
"""Options side by side."""

MOST_LETTERS = 24
"""Of all values below one axis; longer ones lean."""


def draw_search(space: Space, trials: Sequence[Trial]) -> Picture:
    """Draw what was found; at least one trial must have an error."""
    n_rows = 1 + math.ceil(len(space.axes) / IN_A_ROW)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(WIDTH, 2.9 * n_rows)
        grid = figure.add_gridspec(n_rows, min(IN_A_ROW, len(space.axes)))
        errors = [trial.error for trial in trials if trial.error is not None]
        first = figure.add_subplot(grid[0, :])
        _over_trials(first, trials)
        for index, axis in enumerate(space.axes):
            row, column = divmod(index, IN_A_ROW)
            axes = figure.add_subplot(grid[1 + row, column])
            _over_option(axes, axis, trials)
            _error_axis(axes, errors, MEASURE if column == 0 else "")
        _error_axis(first, errors, MEASURE)
        return finished(
            figure,
            "Error of every trial in the order in which they began, with the best so far, and over each option.",
        )


def _over_trials(axes: Axes, trials: Sequence[Trial]) -> None:
    from matplotlib.ticker import MaxNLocator

    _points(axes, [(trial.number, trial) for trial in trials])
    best, steps = math.inf, []
    for trial in trials:
        if trial.state == "complete" and trial.error is not None:
            best = min(best, trial.error)
        steps.append(best)
    axes.plot(
        [trial.number for trial in trials],
        [value if math.isfinite(value) else math.nan for value in steps],
        color=INK,
        linewidth=1.2,
        drawstyle="steps-post",
        label="best so far",
        zorder=1,
    )
    for trial in trials:
        if trial.state == "failed":
            axes.plot(
                [trial.number], [0.03], marker="x", color=FAILED, linestyle="none", transform=axes.get_xaxis_transform()
            )
    if any(trial.state == "failed" for trial in trials):
        axes.plot([], [], marker="x", color=FAILED, linestyle="none", label="failed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)


def _points(axes: Axes, placed: Sequence[tuple[float, Trial]]) -> None:
    for state, colour, face in (("pruned", PRUNED, "white"), ("complete", COMPLETE, COMPLETE)):
        found = [(x, trial.error) for x, trial in placed if trial.state == state and trial.error is not None]
        if found:
            x, y = zip(*found, strict=True)
            axes.scatter(x, y, s=26, facecolors=face, edgecolors=colour, linewidths=1.2, label=state, zorder=2)


def _over_option(axes: Axes, axis: Axis, trials: Sequence[Trial]) -> None:
    from matplotlib.ticker import MaxNLocator

    known = [trial for trial in trials if axis.name in trial.options]
    if axis.values is None or axis.ordered:
        _points(axes, [(float(trial.options[axis.name]), trial) for trial in known])
        if axis.log:
            axes.set_xscale("log")
        elif axis.whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        values = list(axis.values)
        rng = np.random.default_rng(0)
        places = [values.index(trial.options[axis.name]) for trial in known]
        _points(axes, list(zip((place + rng.uniform(-0.15, 0.15) for place in places), known, strict=True)))
        for place in range(len(values)):
            here = [t.error for t, at in zip(known, places, strict=True) if at == place and t.state == "complete"]
            if here:
                middle = float(np.median([error for error in here if error is not None]))
                axes.plot([place - 0.3, place + 0.3], [middle, middle], color=INK, linewidth=1.6, zorder=1)
        names = [told(value) for value in values]
        axes.set_xticks(range(len(values)), names)
        if sum(map(len, names)) > MOST_LETTERS:
            axes.tick_params(axis="x", labelrotation=20)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
        axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(axis.name)


def _error_axis(axes: Axes, errors: Sequence[float], label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if min(errors) > 0 and max(errors) > 3 * min(errors):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(colors=MUTED, labelcolor=INK)
