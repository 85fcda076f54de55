"""What is in a store as one self-contained HTML page with pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

import orbdens
from data_tools.stores.summary import Summary, facts
from orbdens.evaluation.page import write_page
from orbdens.evaluation.pictures import (
    COLOURS,
    DENSITY_RANGE,
    INK,
    LINE,
    STYLE,
    WIDTH,
    Picture,
    density_panel,
    finished,
    new_figure,
)
from orbdens.evaluation.slices import Raster, cutting_plane
from orbdens.labels import label_density
from orbdens.sampling import evenly_spaced
from orbdens.store import Manifest, PointsRecord, Record, Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKED_AT, N_SLICES = 200, 4
"""Records by whose sizes those are chosen that are cut."""

STEP, MARGIN = 0.06, 1.8
"""Å; of the cuts through densities."""

WIDEST = 16.0
"""Å; a larger molecule or cell is cut off in its picture."""

CAPTIONS = {
    "contents": "How many structures have an element, how many have so many atoms, and how far the integrals of the "
    "densities of {checked} of them are from the number of electrons.",
    "slices": "Cuts through densities, from the smallest structure to the largest, each on a plane with many of its "
    "heavy atoms. Crosses mark nuclei, faint ones those off the plane.",
}

TABLE_STYLE = (
    "<style>.facts td {text-align: left; vertical-align: top; font-weight: 400} "
    ".facts td:first-child {color: #64707d; width: 11rem}</style>"
)


def write_store_page(path: Path, store: Store, summary: Summary) -> None:
    """Write the page, whole or not at all.

    Args:
        path: replaced if it exists.
        store: to look into.
        summary: summary of the store; it gives the histograms.

    Raises:
        UserError: a record is damaged, or the file cannot be written.
    """
    about, found = facts(store, summary)
    found = found[1:] if summary.n_read == summary.count else found
    rows = "\n".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value.replace(chr(10), ' · '))}</td></tr>"
        for name, value in about + found
    )
    kinds = " and ".join(sorted(summary.kinds)) + (" record" if summary.count == 1 else " records")
    write_page(
        path,
        title=f"Electron densities in {store.path.resolve().name}",
        lead=f"{summary.count} {kinds}, {summary.disk_bytes / 1e6:.2f} MB on disk.",
        table=f'{TABLE_STYLE}<table class="facts"><tbody>{rows}</tbody></table>',
        pictures=draw(store, summary) if summary.n_read else [],
        foot=f"orbdens {orbdens.__version__}, orbdens data inspect",
    )


def draw(store: Store, summary: Summary) -> list[Picture]:
    """What is in a store, and cuts through some of its densities."""
    with matplotlib.rc_context(STYLE):
        pictures = [finished(_contents(summary), CAPTIONS["contents"].format(checked=len(summary.electron_errors)))]
        records = {key: store[key] for key in evenly_spaced(store.keys(), LOOKED_AT)}
        # a density at points alone has no values on a plane
        records = {key: record for key, record in records.items() if not isinstance(record, PointsRecord)}
        if records:
            pictures.append(finished(_slices(records, store.manifest), CAPTIONS["slices"]))
    return pictures


def _contents(summary: Summary) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(WIDTH, 2.7)
    elements, atoms, errors = figure.subplots(1, 3)
    _bars(elements, list(summary.elements), list(summary.elements.values()), COLOURS[0])
    elements.set_title("elements")
    elements.set_ylabel("structures")
    counts = Counter(summary.atom_counts)
    sizes = range(min(counts), max(counts) + 1)
    if len(sizes) <= 12:
        _bars(atoms, [str(n) for n in sizes], [counts[n] for n in sizes], COLOURS[2])
    else:
        width = max(1, len(sizes) // 25)
        atoms.hist(
            summary.atom_counts, bins=np.arange(min(counts), max(counts) + width + 1, width) - 0.5, color=COLOURS[2]
        )
    atoms.set_title("atoms of a structure")
    magnitudes = np.maximum(np.abs(summary.electron_errors), 1e-9)
    low, high = np.floor(np.log10(magnitudes.min())), np.ceil(np.log10(magnitudes.max()) + 1e-9)
    errors.hist(magnitudes, bins=np.logspace(low, max(high, low + 1), 25), color=COLOURS[1])
    errors.set_xscale("log")
    errors.set_title("electron count: error [e]")
    for axes in (elements, atoms, errors):
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(x=0.04)
    return figure


def _bars(axes: Axes, names: list[str], counts: list[int], colour: str) -> None:
    bars = axes.bar(range(len(names)), counts, color=colour, width=0.7)
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.14 * max(counts))
    if len(names) == 1:
        axes.set_xlim(-1.5, 1.5)
    if len(names) <= 8:
        axes.bar_label(bars, [str(n) if n else "" for n in counts], fontsize=8.5, color=INK, padding=1)


def _slices(records: Mapping[str, Record], manifest: Manifest) -> Figure:
    from matplotlib.colors import LogNorm

    by_size = sorted(records, key=lambda key: records[key].structure.n_atoms)
    chosen = {key: records[key] for key in evenly_spaced(by_size, N_SLICES)}
    frames = {key: cutting_plane(record.structure) for key, record in chosen.items()}
    reach = np.array([1.0, 1.0])
    for key, (centre, axes) in frames.items():
        local = (chosen[key].structure.positions - centre) @ axes[:2].T
        reach = np.maximum(reach, np.abs(local).max(axis=0))
    reach = np.minimum(reach + MARGIN, WIDEST / 2)
    # of a panel; the sums are what titles, labels and the scale of colours take
    width = min((WIDTH - 1.5) / len(chosen), 3.0)
    figure = new_figure((width + 0.1) * len(chosen) + 1.3, width * reach[1] / reach[0] + 0.9)
    panels = figure.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
    for axes, (key, record) in zip(panels, chosen.items(), strict=True):
        n_x, n_y = (int(n) for n in np.ceil(2 * reach / STEP))
        raster = Raster(*frames[key], -reach, STEP, (n_x, n_y))
        density = label_density(record, manifest).at(raster.points()).astype(np.float64).reshape(n_x, n_y)
        marks, norm = raster.marks(record.structure), LogNorm(*DENSITY_RANGE, clip=True)
        image = density_panel(axes, raster.extent, marks, density.T, norm)
        axes.set_title(f"{record.structure.formula}\n{_short(key)}", fontsize=9, fontweight="normal")
        axes.set_xlabel("Å")
    panels[0].set_ylabel("Å")
    figure.colorbar(image, ax=panels.tolist(), label="density [e/Å³]", extend="both", aspect=18, pad=0.01)
    return figure


def _short(key: str) -> str:
    return key if len(key) <= 19 else f"{key[:9]}…{key[-9:]}"
