"""The picture of the README: ``python -m benchmarks.picture`` draws benchmarks/results/density.png, in half a minute.

Paracetamol (GFN2-xTB minimum; larger than any molecule the shipped weights saw in training) in its plane: the
predicted density, what bonding moved (prediction minus free atoms), and the prediction's error against DFT at the level
of theory of the training data. Prints expected and true NMAE.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path
from typing import Any

import ase.io
import matplotlib
import numpy as np
from ase.data import chemical_symbols
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

import orbdens
from benchmarks.reference import Reference
from orbdens.metrics import nmae

PARACETAMOL = """20

C -3.69114 0.17464 -0.39586
C -2.36847 -0.40190 0.07379
O -2.28691 -1.38257 0.77626
N -1.30394 0.31264 -0.39284
C 0.06504 0.09934 -0.18341
C 0.56258 -1.00702 0.50097
C 1.92285 -1.16776 0.66370
C 2.81297 -0.22954 0.15070
O 4.14739 -0.43158 0.33221
C 2.31875 0.87824 -0.52635
C 0.95668 1.03892 -0.69248
H -3.78105 1.21707 -0.09763
H -4.50243 -0.39618 0.04526
H -3.76087 0.11044 -1.47993
H -1.51597 1.12411 -0.95691
H -0.12229 -1.73358 0.90349
H 2.31802 -2.02172 1.18973
H 4.64389 0.29382 -0.06484
H 3.00095 1.61794 -0.92443
H 0.58397 1.90470 -1.22264
"""
STEP, MARGIN = 0.04, 1.7
"""Å; of the plane's points, and around the atoms."""
BESIDE_THE_PLANE = 0.3
"""Å; atoms farther from the plane carry no letter."""
INK = "#1d2733"
N_COLOURS = 41
"""Of a scale; odd, so that nothing moved is white. Few colours make a small file."""


def plane(atoms: ase.Atoms) -> tuple[NDArray[np.float64], tuple[float, float, float, float], NDArray[np.float64]]:
    """The best plane through the heavy atoms.

    Returns:
        Its points in Å [rows, columns, 3], left, right, bottom and top edge in Å, and the atoms in its frame [n, 3].
    """
    heavy = atoms.positions[atoms.numbers > 1]
    axes = np.linalg.svd(heavy - heavy.mean(axis=0))[2]
    local = (atoms.positions - heavy.mean(axis=0)) @ axes.T
    (left, bottom, _), (right, top, _) = local.min(axis=0) - MARGIN, local.max(axis=0) + MARGIN
    x, y = np.meshgrid(np.arange(left, right, STEP), np.arange(bottom, top, STEP))
    points = heavy.mean(axis=0) + x[..., None] * axes[0] + y[..., None] * axes[1]
    return points, (left, right, bottom, top), local


def draw(
    panels: list[tuple[str, NDArray[np.float64], dict[str, Any]]],
    extent: tuple[float, float, float, float],
    atoms: ase.Atoms,
    local: NDArray[np.float64],
) -> Figure:
    """One panel beside the other: title, values on the plane, and how to show them."""
    figure = Figure(figsize=(13.0, 3.85), layout="constrained", facecolor="white")
    for axes, (title, values, style) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        image = axes.imshow(values, origin="lower", extent=extent, interpolation="bilinear", **style["colours"])
        axes.contour(values, extent=extent, **style["contours"])
        axes.set_title(title, loc="left", fontsize=13, color=INK)
        axes.set_axis_off()
        _letters(axes, atoms, local)
        _bar(figure, axes, image, style["ticks"])
    return figure


def _letters(axes: Axes, atoms: ase.Atoms, local: NDArray[np.float64]) -> None:
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for number, (x, y, height) in zip(atoms.numbers, local, strict=True):
        if abs(height) < BESIDE_THE_PLANE:
            letter = chemical_symbols[number]
            axes.text(x, y, letter, ha="center", va="center", fontsize=10, color=INK, path_effects=halo)


def _bar(figure: Figure, axes: Axes, image: ScalarMappable, ticks: list[float]) -> None:
    bar = figure.colorbar(image, ax=axes, location="bottom", aspect=32, pad=0.03, ticks=ticks, extend="both")
    bar.ax.set_xticklabels([f"{tick:g}".replace("-", "−") for tick in ticks], fontsize=11)
    bar.ax.minorticks_off()
    bar.set_label("e/Å³", fontsize=11)


def write_png(figure: Figure, path: Path) -> None:
    """With a palette, which makes the file a quarter as large."""
    whole = io.BytesIO()
    figure.savefig(whole, dpi=130)
    Image.open(whole).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)


def styles() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Of the density, of what bonding moved, and of the error: colours that all eyes tell apart."""
    from matplotlib.colors import LogNorm, Normalize

    def both_signs(limit: float) -> dict[str, Any]:
        inner = np.array([0.1, 0.25, 0.5]) * limit
        return {
            "colours": {"cmap": colormaps["RdBu_r"].resampled(N_COLOURS), "norm": Normalize(-limit, limit)},
            "contours": {"levels": [*-inner[::-1], *inner], "colors": INK, "linewidths": 0.5, "alpha": 0.5},
            "ticks": [-limit, 0, limit],
        }

    density = {
        "colours": {"cmap": colormaps["YlGnBu"].resampled(N_COLOURS), "norm": LogNorm(0.005, 3, clip=True)},
        "contours": {"levels": [0.01, 0.03, 0.1, 0.3, 1], "colors": "white", "linewidths": 0.7},
        "ticks": [0.01, 0.1, 1],
    }
    return density, both_signs(0.8), both_signs(0.04)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "density.png")
    arguments = parser.parse_args()
    atoms = ase.io.read(io.StringIO(PARACETAMOL), format="xyz")
    model = orbdens.load()
    model.predict(atoms)
    begun = time.perf_counter()
    density = model.predict(atoms)
    seconds = time.perf_counter() - begun
    reference = Reference(atoms)
    grid, on_grid = density.on_grid()
    true = nmae(on_grid, reference.at(grid.points()).reshape(grid.shape))
    points, extent, local = plane(atoms)
    flat = points.reshape(-1, 3)
    predicted = density.at(flat).astype(np.float64)
    maps = (
        predicted,
        predicted - reference.of_atoms_at(flat),
        predicted - reference.at(flat),
    )
    density_style, moved_style, error_style = styles()
    titles = ("Predicted density", "What bonding moved (density − free atoms)", f"Error against DFT ({true:.2f} %)")
    panels = [
        (title, values.reshape(points.shape[:2]), style)
        for title, values, style in zip(titles, maps, (density_style, moved_style, error_style), strict=True)
    ]
    with matplotlib.rc_context({"font.family": "sans-serif", "font.size": 11}):
        write_png(draw(panels, extent, atoms, local), arguments.out)
    print(f"wrote {arguments.out}")
    print(f"NMAE expected {density.expected_error:.3f} %, true {true:.3f} %; coefficients in {seconds:.3f} s")
    print(f"largest error in the plane {np.abs(maps[2]).max():.4f} e/Å³")


if __name__ == "__main__":
    main()
