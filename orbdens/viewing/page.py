"""A scene as one self-contained HTML page: surfaces to turn, slices, atoms; nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from orbdens.viewing.scene import LEVELS, SHOWS, Scene, Show

RANGES = {"density": (0.003, 2.0), "deformation": (0.005, 1.0), "difference": (0.0005, 0.5)}
"""e/Å³; what the level of a surface goes between."""

LESS = {"deformation": "free atoms have", "difference": "the reference has"}
SCRIPTS = ("shapes.js", "stage.js", "viewer.js")
BOND_LENGTH = 1.25
"""A stick joins atoms nearer than this times the sum of their covalent radii."""

MANY_ATOMS = 30
"""More are not named at first."""


def html(scene: Scene, show: Show = "density") -> str:
    """The page of a scene.

    Args:
        scene: what is shown.
        show: what is seen first.

    Raises:
        UserError: the scene has no such thing.
    """
    scene.check(show)
    folder = files("orbdens.viewing")
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *SCRIPTS)}
    parts = {
        "title": escape(scene.name),
        "lead": escape(_lead(scene)),
        "notes": "".join(f'<p class="notes">{escape(note)}</p>' for note in scene.notes),
        "table_notes": escape(_table_notes(scene)),
        "foot": "Made by orbdens. Densities in e/Å³, lengths in Å, potential in kcal/mol per e.",
        "style": texts["style.css"],
        "scene": json.dumps(_content(scene, show)).replace("<", "\\u003c"),
        "script": "\n".join(texts[name] for name in SCRIPTS),
    }
    return re.sub(r"\{(\w+)\}", lambda place: parts[place[1]], texts["page.html"])


def bonds(scene: Scene) -> list[tuple[int, int]]:
    """Pairs of atoms that a stick joins."""
    numbers = scene.structure.numbers
    radii = covalent_radii[numbers]
    pairs = cKDTree(scene.positions).query_pairs(2 * BOND_LENGTH * radii.max())
    lengths = {(i, j): np.linalg.norm(scene.positions[i] - scene.positions[j]) for i, j in pairs}
    alone = scene.structure.n_atoms == 2  # two hydrogen atoms are bound in H2 alone
    return sorted(
        (i, j)
        for (i, j), length in lengths.items()
        if length < BOND_LENGTH * (radii[i] + radii[j]) and (alone or numbers[i] + numbers[j] > 2)
    )


def atom_radius(number: int) -> float:
    """Of the ball of an element, Å."""
    return 0.18 + 0.15 * float(covalent_radii[number])


def atom_colour(number: int) -> str:
    """Of the ball of an element, #rrggbb."""
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in jmol_colors[number])


def _lead(scene: Scene) -> str:
    structure = scene.structure
    parts = [structure.formula, f"{scene.n_electrons:.2f} electrons"]
    parts[-1] += {"valence": " (valence)", "all-electron": " (all)", None: ""}[scene.kind]
    if structure.charge:
        parts.append(f"charge {structure.charge:+d}")
    if scene.expected_error is not None:
        parts.append(f"expected error (NMAE) {scene.expected_error:.2f} %")
    return " · ".join(parts)


def _table_notes(scene: Scene) -> str:
    notes = ["Charges are Hirshfeld's."] if scene.charges is not None else []
    if scene.expected_errors is not None:
        notes.append("Errors to expect are in % of the electrons near an atom.")
    return " ".join(notes)


def _content(scene: Scene, show: Show) -> dict[str, Any]:
    """What the page's script reads."""
    structure = scene.structure
    atoms = [
        {
            "symbol": symbol,
            "place": scene.positions[i].round(4).tolist(),
            "position": structure.positions[i].round(4).tolist(),
            "radius": atom_radius(number),
            "colour": atom_colour(number),
            "charge": None if scene.charges is None else round(float(scene.charges[i]), 3),
            "error": None if scene.expected_errors is None else round(float(scene.expected_errors[i]), 3),
        }
        for i, (symbol, number) in enumerate(zip(structure.symbols, structure.numbers, strict=True))
    ]
    there = [one for one in SHOWS if one in scene.fields or (one == "potential" and scene.potential is not None)]
    return {
        "show": show,
        "shows": there,
        "names": "elements" if structure.n_atoms <= MANY_ATOMS else "none",
        "shape": scene.grid.shape,
        "spacing": scene.spacing,
        "fields": {name: _half(values) for name, values in scene.fields.items()},
        "potential": None if scene.potential is None else _half(scene.potential),
        "levels": LEVELS,
        "ranges": RANGES,
        "less": LESS,
        "atoms": atoms,
        "bonds": bonds(scene),
    }


def _half(values: NDArray[np.float32]) -> str:
    """Little-endian half precision, z fastest, as base64."""
    return base64.b64encode(np.clip(values, -6e4, 6e4).astype("<f2").tobytes()).decode()
