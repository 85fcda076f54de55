"""Evaluations as pictures, and as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from orbdens.evaluation.result import Evaluation, Slice
from orbdens.evaluation.tables import Table, comparison_table
from orbdens.files import written_whole
from orbdens.metrics import REGIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

INK, MUTED, LINE = "#1d2733", "#64707d", "#d9dee4"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, told apart by all eyes."""

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

IN_PLANE = 0.3
"""Å; atoms nearer to the slice than this are drawn full, others faint."""

CAPTIONS = {
    "errors": "Error of every structure (one dot each), median and 95th percentile. Farther left is better.",
    "regions": "Where the error sits: the NMAE split into points nearer than 0.5 Å to a nucleus, points farther than "
    "2 Å from every nucleus, and the rest. The three add up to the NMAE.",
    "slices": "A cut through a test structure that no model saw. Above: the density. Below: prediction minus "
    "reference, all models on one colour scale (linear in the middle, logarithmic outside). Crosses mark nuclei,"
    " faint ones those off the plane.",
}


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write the pictures of ``draw`` as PNG files into a folder.

    Raises:
        UserError: the files cannot be written.
    """
    for name, png in pictures.items():
        with written_whole(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)


def write_report(path: Path, evaluations: Sequence[Evaluation], pictures: Mapping[str, bytes]) -> None:
    """Write one HTML page with the table and all pictures inside, whole or not at all.

    Args:
        path: replaced if it exists.
        evaluations: on the same structures and grid, as ``read_evaluations`` makes sure.
        pictures: from ``draw``.

    Raises:
        UserError: the file cannot be written.
    """
    table, on, machine = comparison_table(evaluations), evaluations[0].measured_on, evaluations[0].machine
    n_models, n_structures = len(evaluations), len(evaluations[0].errors.keys)
    figures = "\n".join(
        f'<figure><img alt="{escape(CAPTIONS[name])}" style="width: {share_of_width(png):.0f}%" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{escape(CAPTIONS[name])}</figcaption></figure>"
        for name, png in pictures.items()
    )
    grid = (
        "their own grids" if on.spacing is None else f"a uniform grid of {on.spacing:g} Å with {on.margin:g} Å margin"
    )
    cores = f"{machine.get('cpu', '?')}, {machine.get('threads', '?')} of {machine.get('cores', '?')} cores"
    versions = ", ".join(f"{name} {number}" for name, number in evaluations[0].versions.items())
    page = PAGE.format(
        title=escape(f"Electron densities of {on.store}"),
        lead=escape(
            f"{n_models} model{'s' * (n_models > 1)}, measured on the {n_structures} structures of split “{on.split}”, "
            f"on {grid}."
        ),
        table=_html_table(table),
        notes=escape(table.notes),
        figures=figures,
        foot=escape(f"{cores}{', ' + str(machine['gpu']) if 'gpu' in machine else ''}; {versions}."),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def draw(evaluations: Sequence[Evaluation]) -> dict[str, bytes]:
    """Every picture as PNG, by name: errors, regions, slices."""
    ordered = sorted(evaluations, key=lambda e: e.summary()["nmae"].mean)
    with matplotlib.rc_context(STYLE):
        return {
            "errors": to_png(_errors(ordered)),
            "regions": to_png(_regions(ordered)),
            "slices": to_png(_slices(ordered)),
        }


def to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.08)
    return buffer.getvalue()


def share_of_width(png: bytes) -> float:
    """Width of a picture in % of the page, so that all have letters of one size."""
    pixels = int.from_bytes(png[16:20], "big")
    return min(100.0, 100 * pixels / (WIDTH * STYLE["savefig.dpi"]))


def new_figure(width: float, height: float) -> Figure:
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
    chance = np.random.default_rng(0)
    for row, (evaluation, colour) in enumerate(zip(evaluations, COLOURS * 9, strict=False)):
        errors = np.array(evaluation.errors.nmae)
        spread = chance.uniform(-0.26, 0.26, len(errors))
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
    figure = new_figure(WIDTH, 2.5)
    axes = figure.add_subplot()
    for row, region in enumerate(REGIONS):
        values = [evaluation.summary()[region].mean for evaluation in evaluations]
        axes.plot([min(values), max(values)], [row, row], color=LINE, linewidth=3, zorder=1)
        # The outermost labels lean outwards: two close values must stay legible.
        sides = {max(values): "left", min(values): "right"} if len(set(values)) > 1 else {}
        for evaluation, colour, value in zip(evaluations, COLOURS * 9, values, strict=False):
            label = evaluation.model.name if row == 0 else None
            axes.scatter([value], [row], s=70, color=colour, label=label, zorder=2, edgecolors="white")
            axes.annotate(
                f"{value:.3g}" if value >= 1 else f"{value:.2g}",
                (value, row),
                xytext=(0, 7),
                textcoords="offset points",
                ha=sides.get(value, "center"),
                fontsize=8.5,
            )
    names = {"nuclei": "near nuclei", "bonds": "bonds", "tail": "tail"}
    axes.set_yticks(range(len(REGIONS)), [names[region] for region in REGIONS])
    axes.set_ylim(len(REGIONS) - 0.5, -0.6)
    axes.margins(x=0.08)
    _percent_axis(axes, "mean share of the NMAE [%]")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(evaluations), frameon=False)
    return figure


def _slices(evaluations: Sequence[Evaluation]) -> Figure:
    from matplotlib.colors import LogNorm, SymLogNorm

    first = evaluations[0].slice
    left, right, bottom, top = first.extent
    reference, _ = first.images()
    n = len(evaluations) + 1
    width = WIDTH / max(n, 3)
    height = width * (top - bottom) / (right - left)
    figure = new_figure(0.9 + width * n, 0.9 + 2 * height)
    panels = figure.subplots(2, n, sharex=True, sharey=True, squeeze=False)
    density_norm = LogNorm(*DENSITY_RANGE, clip=True)
    differences = [predicted - shown for shown, predicted in (evaluation.slice.images() for evaluation in evaluations)]
    largest = max(1e-5, *(float(np.abs(difference).max()) for difference in differences))
    error_norm = SymLogNorm(linthresh=largest / 1000, vmin=-largest, vmax=largest)
    image = density_panel(panels[0, 0], first, reference, density_norm)
    panels[0, 0].set_title(f"reference ({first.formula})")
    panels[1, 0].axis("off")
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
    for column, (evaluation, difference) in enumerate(zip(evaluations, differences, strict=True), start=1):
        density_panel(panels[0, column], evaluation.slice, evaluation.slice.images()[1], density_norm)
        panels[0, column].set_title(evaluation.model.name)
        error = panels[1, column].imshow(
            difference, origin="lower", extent=first.extent, cmap="RdBu_r", norm=error_norm, interpolation="bilinear"
        )
        _mark_atoms(panels[1, column], first)
        panels[1, column].set_title(f"{evaluation.model.name}: error", fontweight="normal")
        panels[1, column].set_xlabel("Å")
    panels[0, 0].set_ylabel("Å")
    panels[1, 1].tick_params(labelleft=True)
    panels[0, 0].tick_params(labelbottom=True)
    panels[0, 0].set_xlabel("Å")
    figure.colorbar(image, ax=panels[0, :].tolist(), label="density [e/Å³]", extend="both", aspect=18, pad=0.01)
    bar = figure.colorbar(error, ax=panels[1, :].tolist(), label="error [e/Å³]", aspect=18, pad=0.01)
    decade = 10.0 ** np.floor(np.log10(largest))
    bar.set_ticks([-decade, -decade / 100, 0, decade / 100, decade])
    bar.ax.set_yticklabels([f"{value:g}" for value in (-decade, -decade / 100, 0, decade / 100, decade)])
    bar.ax.minorticks_off()
    return figure


def density_panel(axes: Axes, cut: Slice, density: NDArray[np.float64], norm: LogNorm) -> AxesImage:
    shown = np.clip(density, DENSITY_RANGE[0] / 10, None)
    image = axes.imshow(
        shown, origin="lower", extent=cut.extent, cmap="YlGnBu", norm=norm, interpolation="bilinear", aspect="equal"
    )
    levels = [0.01, 0.03, 0.1, 0.3, 1.0]
    axes.contour(shown, levels=levels, extent=cut.extent, colors="white", linewidths=0.6, alpha=0.8)
    _mark_atoms(axes, cut)
    return image


def _mark_atoms(axes: Axes, cut: Slice) -> None:
    from matplotlib.patheffects import withStroke

    left, right, bottom, top = cut.extent
    halo = [withStroke(linewidth=2.2, foreground="white")]
    for symbol, x, y, height in cut.atoms:
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


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color: #1d2733; background: #f5f7f9; font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }}
body {{ max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 3rem }}
h1 {{ font-size: 1.6rem; margin: 0 0 .25rem }}
p {{ margin: .25rem 0 1.25rem; color: #47525e }}
section, figure {{ background: white; border: 1px solid #e1e6eb; border-radius: 8px }}
section, figure {{ padding: 1rem 1.25rem; margin: 0 0 1.25rem }}
section {{ overflow-x: auto }}
section p {{ font-size: .85rem; margin: .75rem 0 0 }}
table {{ border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }}
th {{ font-weight: 600; color: #47525e; vertical-align: bottom; border-bottom: 2px solid #d9dee4 }}
th, td {{ text-align: right; padding: .45rem .6rem }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap }}
tbody tr + tr td {{ border-top: 1px solid #eef1f4 }}
tbody tr:first-child {{ font-weight: 600 }}
img {{ display: block; height: auto; margin: 0 auto }}
figcaption {{ font-size: .85rem; color: #47525e; margin-top: .5rem }}
footer {{ font-size: .8rem; color: #64707d }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{lead}</p>
<section>{table}<p>{notes}</p></section>
{figures}
<footer>{foot}</footer>
</body>
</html>
"""
