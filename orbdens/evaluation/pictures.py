"""Evaluations as pictures, and what other pictures of densities share with them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from orbdens.evaluation.result import Evaluation, Slice
from orbdens.evaluation.slices import Marks
from orbdens.files import written_whole
from orbdens.metrics import NEAR_NUCLEUS, REGIONS, TAIL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Extent = tuple[float, float, float, float]
"""Left, right, bottom and top edge of a picture in Å."""

INK, MUTED, LINE = "#1d2733", "#64707d", "#d9dee4"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A900")
"""Okabe and Ito's, told apart by all eyes; their yellow darker, for it is seen on white."""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}
WIDTH = 8.4
"""Inches."""

DENSITY_RANGE = (1e-3, 3.0)
"""e/Å³; colours of the density are logarithmic between these."""

MOST_LABELLED = 3
"""Models whose numbers fit on one line of a picture."""

MOST_COLUMNS = 4
"""Cuts side by side; further ones stand below."""

IN_PLANE = 0.3
"""Å; atoms nearer to the slice than this are drawn full, others faint."""


@dataclass(frozen=True)
class Picture:
    """A PNG file, the same as SVG, and what stands below it."""

    png: bytes
    svg: bytes
    caption: str

    @property
    def share_of_width(self) -> float:
        """Width in % of the page, so that letters of all pictures have one size."""
        pixels = int.from_bytes(self.png[16:20], "big")
        return min(100.0, 100 * pixels / (WIDTH * STYLE["savefig.dpi"]))


def draw(evaluations: Sequence[Evaluation]) -> dict[str, Picture]:
    """Every picture of evaluations on the same structures, by name: errors, regions and, where there are, slices."""
    ordered = sorted(evaluations, key=lambda e: e.summary()["nmae"].mean)
    cuts = {evaluation.model.name: evaluation.slice for evaluation in ordered if evaluation.slice is not None}
    with matplotlib.rc_context(STYLE):
        pictures = {
            "errors": finished(
                _errors(ordered),
                "Error of every structure (one dot each), median and 95th percentile. Farther left is better.",
            ),
            "regions": finished(
                _regions(ordered),
                f"Where the error sits: the NMAE split into points nearer than {NEAR_NUCLEUS:g} Å to a nucleus, points "
                f"farther than {TAIL:g} Å from every nucleus, and the rest. The three add up to the NMAE.",
            ),
        }
        if cuts:
            key, split = next(iter(cuts.values())).key, ordered[0].measured_on.split
            pictures["slices"] = finished(
                _slices(cuts),
                f"A cut through the structure {key} of the split “{split}”. Above: the density. Below: prediction "
                "minus reference, all models on one colour scale (linear in the middle, logarithmic outside). Crosses "
                "mark nuclei, faint ones those off the plane.",
            )
        return pictures


def write_pictures(folder: Path, pictures: Mapping[str, Picture]) -> None:
    """Write pictures as PNG and SVG files of their names into a folder.

    Raises:
        UserError: the files cannot be written.
    """
    for name, picture in pictures.items():
        for ending, content in (("png", picture.png), ("svg", picture.svg)):
            with written_whole(folder / f"{name}.{ending}") as temporary:
                temporary.write_bytes(content)


def finished(figure: Figure, caption: str) -> Picture:
    """A figure as a picture."""
    files = {"png": io.BytesIO(), "svg": io.BytesIO()}
    for kind, buffer in files.items():
        figure.savefig(buffer, format=kind, bbox_inches="tight", pad_inches=0.08)
    return Picture(files["png"].getvalue(), files["svg"].getvalue(), caption)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _percent_axis(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high / low < 12:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)


def _errors(evaluations: Sequence[Evaluation]) -> Figure:
    figure = new_figure(WIDTH, 1.0 + 0.95 * len(evaluations))
    axes = figure.add_subplot()
    rng = np.random.default_rng(0)
    for row, (evaluation, colour) in enumerate(zip(evaluations, COLOURS * 9, strict=False)):
        errors = np.array(evaluation.errors.nmae)
        spread = rng.uniform(-0.26, 0.26, len(errors))
        axes.scatter(errors, row + spread, s=12, color=colour, alpha=0.35, linewidths=0)
        summary = evaluation.summary()["nmae"]
        for value, name in ((summary.median, "median"), (summary.p95, "95 %")):
            axes.plot([value, value], [row - 0.36, row + 0.36], color=INK, linewidth=1.6 if name == "median" else 0.9)
            axes.annotate(
                f"{name} {value:.3g}",
                (value, row - 0.36),
                xytext=(0, 2),
                textcoords="offset points",
                ha="right" if name == "median" else "left",
                va="bottom",
                fontsize=8.5,
            )
    axes.set_yticks(range(len(evaluations)), [evaluation.model.name for evaluation in evaluations])
    axes.set_ylim(len(evaluations) - 0.45, -0.75)
    _percent_axis(axes, "NMAE of one structure [%]")
    return figure


def _regions(evaluations: Sequence[Evaluation]) -> Figure:
    """Up to three models on one line, with numbers; more of them side by side, whose numbers are in the table."""
    few = len(evaluations) <= MOST_LABELLED
    figure = new_figure(WIDTH, 2.5 if few else 2.0 + 0.3 * len(evaluations))
    axes = figure.add_subplot()
    beside = np.zeros(len(evaluations)) if few else np.linspace(-0.36, 0.36, len(evaluations))
    for row, region in enumerate(REGIONS):
        values = [evaluation.summary()[region].mean for evaluation in evaluations]
        if few:
            axes.plot([min(values), max(values)], [row, row], color=LINE, linewidth=3, zorder=1)
        else:
            axes.axhspan(row - 0.44, row + 0.44, color=LINE, alpha=0.35, linewidth=0)
        # The outermost labels lean outwards: two close values must stay legible.
        sides = {max(values): "left", min(values): "right"} if len(set(values)) > 1 else {}
        for evaluation, colour, value, aside in zip(evaluations, COLOURS * 9, values, beside, strict=False):
            label = evaluation.model.name if row == 0 else None
            axes.scatter([value], [row + aside], s=70, color=colour, label=label, zorder=2, edgecolors="white")
            if few:
                axes.annotate(
                    f"{value:.3g}" if value >= 1 else f"{value:.2g}",
                    (value, row),
                    xytext=(0, 7),
                    textcoords="offset points",
                    ha=sides.get(value, "center"),
                    fontsize=8.5,
                )
    axes.set_yticks(range(len(REGIONS)), list(REGIONS.values()))
    axes.set_ylim(len(REGIONS) - 0.5, -0.6)
    axes.margins(x=0.08)
    _percent_axis(axes, "mean share of the NMAE [%]")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(evaluations), 4), frameon=False)
    return figure


def _slices(cuts: Mapping[str, Slice]) -> Figure:
    from matplotlib.colors import LogNorm, SymLogNorm

    first = next(iter(cuts.values()))
    left, right, bottom, top = first.extent
    reference, _ = first.images()
    n_columns = min(len(cuts) + 1, MOST_COLUMNS)
    n_rows = -(-(len(cuts) + 1) // n_columns)
    width = WIDTH / max(n_columns, 3)
    height = width * (top - bottom) / (right - left)
    small = 7.5 if n_rows > 1 else None  # names of neighbours must not touch
    figure = new_figure(0.9 + width * n_columns, (0.9 + 2 * height) * n_rows)
    panels = figure.subplots(2 * n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    density_norm = LogNorm(*DENSITY_RANGE, clip=True)
    differences = [predicted - shown for shown, predicted in (cut.images() for cut in cuts.values())]
    largest = max(1e-5, *(float(np.abs(difference).max()) for difference in differences))
    error_norm = SymLogNorm(linthresh=largest / 1000, vmin=-largest, vmax=largest)
    panels[0, 0].axis("on")
    image = density_panel(panels[0, 0], first.extent, first.atoms, reference, density_norm)
    panels[0, 0].set_title(f"reference ({first.formula})")
    panels[1, 0].text(
        0.5,
        0.5,
        "error = prediction − reference\nred: too much density\nblue: too little",
        ha="center",
        va="center",
        color=MUTED,
        linespacing=1.6,
        transform=panels[1, 0].transAxes,
    )
    for place, (name, cut, difference) in enumerate(zip(cuts, cuts.values(), differences, strict=True), start=1):
        row, column = divmod(place, n_columns)
        above, below = panels[2 * row, column], panels[2 * row + 1, column]
        for axes in (above, below):
            axes.axis("on")
        density_panel(above, first.extent, first.atoms, cut.images()[1], density_norm)
        above.set_title(name, fontsize=small)
        error = below.imshow(
            difference, origin="lower", extent=first.extent, cmap="RdBu_r", norm=error_norm, interpolation="bilinear"
        )
        _mark_atoms(below, first.extent, first.atoms)
        below.set_title(f"{name}: error", fontweight="normal", fontsize=small)
        below.tick_params(labelbottom=True, labelleft=column == 0 or place == 1)
        below.set_xlabel("Å")
    panels[0, 0].set_ylabel("Å")
    panels[0, 0].tick_params(labelbottom=True)
    panels[0, 0].set_xlabel("Å")
    figure.colorbar(image, ax=panels[0, :].tolist(), label="density [e/Å³]", extend="both", aspect=18, pad=0.01)
    bar = figure.colorbar(error, ax=panels[1, :].tolist(), label="error [e/Å³]", aspect=18, pad=0.01)
    decade = 10.0 ** np.floor(np.log10(largest))
    bar.set_ticks([-decade, -decade / 100, 0, decade / 100, decade])
    bar.ax.set_yticklabels([f"{value:g}" for value in (-decade, -decade / 100, 0, decade / 100, decade)])
    bar.ax.minorticks_off()
    return figure


def density_panel(axes: Axes, extent: Extent, atoms: Marks, density: NDArray[np.float64], norm: LogNorm) -> AxesImage:
    """Draw a cut through a density.

    Args:
        axes: to draw on.
        extent: left, right, bottom and top edge, Å.
        atoms: where they are, seen from the plane.
        density: e/Å³ [rows from bottom to top, columns from left to right].
        norm: norm of the colours.
    """
    shown = np.clip(density, DENSITY_RANGE[0] / 10, None)
    image = axes.imshow(
        shown, origin="lower", extent=extent, cmap="YlGnBu", norm=norm, interpolation="bilinear", aspect="equal"
    )
    levels = [0.01, 0.03, 0.1, 0.3, 1.0]
    axes.contour(shown, levels=levels, extent=extent, colors="white", linewidths=0.6, alpha=0.8)
    _mark_atoms(axes, extent, atoms)
    return image


def _mark_atoms(axes: Axes, extent: Extent, atoms: Marks) -> None:
    from matplotlib.patheffects import withStroke

    left, right, bottom, top = extent
    halo = [withStroke(linewidth=2.2, foreground="white")]
    for symbol, x, y, height in atoms:
        if not (left < x < right and bottom < y < top):
            continue
        in_plane = abs(height) < IN_PLANE
        axes.plot([x], [y], marker="+", color=INK, markersize=6, alpha=1.0 if in_plane else 0.5, path_effects=halo)
        if not in_plane:
            continue
        axes.annotate(
            symbol,
            (x, y),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8.5,
            fontweight="bold",
            path_effects=halo,
        )
