"""Crystallographic information files, CIF: the asymmetric unit, the symmetry and the reflections of a crystal."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.crystal import Crystal
from orbdens.errors import UserError
from orbdens.files import check_input, written_whole
from orbdens.formats.hkl import Reflections, parse_hkl, reflections_of_block

OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
SYMBOLS = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m")
NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
CELL = tuple(
    f"_cell_{name}" for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
)
WAVELENGTHS = ("_diffrn_radiation_wavelength", "_diffrn_radiation_wavelength_value")
AXES = ("11", "22", "33", "12", "13", "23")
MISSING = ("?", ".", "")
HKL_TEXT = re.compile(
    r"^(_shelx[_.]hkl_file|_iucr[_.]refine_reflections_details)[ \t]*\r?\n;(.*?)^;",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
"""Reflections that stand in a CIF as SHELX's text, where every blank counts."""


def read_cif(path: Path) -> tuple[Crystal, Reflections | None]:
    """The crystal of the first block of a file that holds atoms, and its reflections if they stand in the file.

    Raises:
        UserError: there is no such file, it is no CIF, or cell, symmetry or atoms are missing or make no sense.
    """
    check_input(path)
    blocks = _blocks(path.read_text(encoding="utf-8", errors="replace"), path)
    block = next((b for b in blocks if "_atom_site_fract_x" in b), None)
    if block is None:
        raise UserError(f"{path} holds no atoms with fractional coordinates (_atom_site_fract_x)")
    reflections = next((found for b in blocks if (found := reflections_of_block(b, str(path))) is not None), None)
    return _crystal(block, path), reflections


def read_reflections(path: Path) -> Reflections:
    """Reflections of a file of SHELX's format HKLF 4, or of a CIF or fcf file.

    Raises:
        UserError: there is no such file, or it is of another format.
    """
    check_input(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    if not re.search(r"^\s*(data_|loop_)", text, re.MULTILINE):
        return parse_hkl(text, str(path))
    found = next((f for b in _blocks(text, path) if (f := reflections_of_block(b, str(path))) is not None), None)
    if found is None:
        raise UserError(f"{path} holds no measured intensities with uncertainties (_refln_F_squared_meas)")
    return found


def write_cif(path: Path, crystal: Crystal, facts: Mapping[str, float | int]) -> None:
    """Write a crystal, and figures about it by their names in CIF.

    Raises:
        UserError: the file cannot be written.
    """
    from ase.data import chemical_symbols

    lines = [f"data_{crystal.name.replace(' ', '_')}", *(f"{name} {value:.6g}" for name, value in facts.items())]
    lines += [f"{name} {value:.6g}" for name, value in zip(CELL, crystal.parameters, strict=True)]
    lines += ["loop_", OPERATIONS[0]]
    lines += [f"'{_operation(r, t)}'" for r, t in zip(crystal.rotations, crystal.translations, strict=True)]
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "U_iso_or_equiv", "adp_type", "occupancy")
    lines += ["loop_", *(f"_atom_site_{name}" for name in (*columns, "disorder_assembly", "disorder_group"))]
    for i, label in enumerate(crystal.labels):
        place = " ".join(f"{x:.6f}" for x in crystal.fractions[i])
        kind = "Uiso" if crystal.isotropic[i] else "Uani"
        group = crystal.groups[i] or "."
        lines.append(
            f"{label} {chemical_symbols[crystal.numbers[i]]} {place} {crystal.displacements[i, :3].mean():.5f} {kind} "
            f"{crystal.occupancies[i]:.4g} {crystal.assemblies[i] or '.'} {group}"
        )
    lines += ["loop_", *(f"_atom_site_aniso_{name}" for name in ("label", *(f"U_{axes}" for axes in AXES)))]
    for i in np.flatnonzero(~crystal.isotropic).tolist():
        lines.append(f"{crystal.labels[i]} {' '.join(f'{u:.6f}' for u in crystal.displacements[i])}")
    with written_whole(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _operation(rotation: NDArray[np.int64], translation: NDArray[np.float64]) -> str:
    """As in ``-x,y+1/2,-z``."""
    from fractions import Fraction

    words = []
    for row, shift in zip(rotation, translation, strict=True):
        terms = "".join(f"{'+' if n > 0 else '-'}{axis}" for n, axis in zip(row, "xyz", strict=True) if n)
        fraction = Fraction(float(shift)).limit_denominator(12)
        words.append(terms + (f"{'+' if fraction > 0 else ''}{fraction}" if fraction else ""))
    return ",".join(words)


def _blocks(text: str, path: Path) -> list[dict[str, Any]]:
    """The blocks of a CIF: values by name, in lower case and with CIF 2's dots as the underscores of CIF 1."""
    from ase.io.cif import parse_cif

    texts: dict[str, str] = {}

    def put_aside(match: re.Match[str]) -> str:
        """Another word in place of a text, which the parser would take the blanks from."""
        word = f"reflections_{len(texts)}"
        texts[word] = match[2]
        return f"{match[1]} {word}"

    try:
        blocks = list(parse_cif(io.StringIO(HKL_TEXT.sub(put_aside, text)), reader="ase"))
    except Exception:  # the parser raises whatever comes its way
        raise UserError(f"{path} cannot be read as CIF") from None
    return [
        {
            name.replace(".", "_"): texts.get(value, value) if isinstance(value, str) else value
            for name, value in b.items()
        }
        for b in blocks
    ]


def _crystal(block: Any, path: Path) -> Crystal:
    if any(name not in block for name in CELL):
        raise UserError(f"{path} has no cell (_cell_length_a, ..., _cell_angle_gamma)")
    parameters = _numbers([block[name] for name in CELL], "the cell", path)
    rotations, translations = _operations(block, path)
    if "_atom_site_label" not in block:
        raise UserError(f"{path}: the atoms have no labels (_atom_site_label)")
    labels = [str(label) for label in _list(block["_atom_site_label"])]
    kept = [i for i, place in enumerate(_list(block["_atom_site_fract_x"])) if str(place) not in MISSING]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UserError(f"{path} has several atoms called {repeated[0]}")

    def column(name: str, default: Any) -> list[Any]:
        values = _list(block.get(f"_atom_site_{name}", [default] * len(labels)))
        return [default if str(values[i]) in MISSING else values[i] for i in kept]

    symbols = column("type_symbol", None)
    labels = [labels[i] for i in kept]
    named = [label if symbol is None else symbol for symbol, label in zip(symbols, labels, strict=True)]
    numbers = [_number(symbol, label, path) for symbol, label in zip(named, labels, strict=True)]
    fractions = [_numbers(column(f"fract_{axis}", None), "the coordinates", path) for axis in "xyz"]
    crystal = Crystal(
        name=path.stem,
        parameters=parameters,
        rotations=rotations,
        translations=translations,
        labels=tuple(labels),
        numbers=np.array(numbers),
        fractions=np.stack(fractions, axis=1),
        occupancies=_numbers(column("occupancy", 1.0), "the occupancies", path),
        groups=_numbers(column("disorder_group", 0), "the disorder groups", path).astype(np.int64),
        assemblies=tuple(str(name) for name in column("disorder_assembly", "")),
        displacements=_displacements(block, labels, column("u_iso_or_equiv", 0.05), path),
        wavelength=_wavelength(block),
    )
    if not abs(np.linalg.det(crystal.cell)) > 1.0 or not (parameters > 0).all():
        raise UserError(f"{path}: the cell has no volume")
    return crystal


def _displacements(
    block: Mapping[str, Any], labels: list[str], isotropic: list[Any], path: Path
) -> NDArray[np.float64]:
    displacements = np.full((len(labels), 6), np.nan)
    displacements[:, :3] = _numbers(isotropic, "the displacements", path)[:, None]
    anisotropic = [str(label) for label in _list(block.get("_atom_site_aniso_label", []))]
    for kind, factor in (("u", 1.0), ("b", 1 / (8 * np.pi**2))):
        names = [f"_atom_site_aniso_{kind}_{axes}" for axes in AXES]
        if all(name in block for name in names):
            table = np.stack([_numbers(_list(block[name]), "the displacements", path) for name in names], axis=1)
            for label, row in zip(anisotropic, table, strict=True):
                if label in labels:
                    displacements[labels.index(label)] = factor * row
    return displacements


def _operations(block: Any, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rotations and translations, the identity first: as listed, or those of the space group that is named."""
    from ase.spacegroup import Spacegroup
    from ase.spacegroup.spacegroup import parse_sitesym

    listed = next((block[name] for name in OPERATIONS if name in block), None)
    try:
        if listed is not None:
            rotations, translations = parse_sitesym([str(text) for text in _list(listed)])
        else:
            named = next(block[name] for name in (*SYMBOLS, *NUMBERS) if str(block.get(name, "?")) not in MISSING)
            symbol = re.sub(r"\s+1(?=\s|$)", "", named) if isinstance(named, str) and named.count("1") > 1 else named
            rotations, translations = Spacegroup(symbol).get_op()
    except Exception:
        raise UserError(f"{path} has no symmetry operations that can be read ({OPERATIONS[0]})") from None
    identity = [i for i, r in enumerate(rotations) if (r == np.eye(3)).all() and not (translations[i] % 1).any()]
    if not identity:
        raise UserError(f"{path}: the identity is not among the symmetry operations")
    order = [identity[0], *(i for i in range(len(rotations)) if i != identity[0])]
    return np.rint(np.asarray(rotations)[order]).astype(np.int64), np.asarray(translations, dtype=np.float64)[order]


def _number(symbol: Any, label: str, path: Path) -> int:
    """Atomic number of a type symbol like C, Fe3+ or O1-, or of a label like C12A."""
    from ase.data import atomic_numbers

    letters = re.match(r"[A-Za-z]+", str(symbol))
    name = letters[0].capitalize() if letters else ""
    for length in (2, 1):
        found = "H" if name[:length] in ("D", "T") else name[:length]
        if len(name) >= length and found in atomic_numbers and atomic_numbers[found] > 0:
            return int(atomic_numbers[found])
    raise UserError(f"{path}: no element is called {symbol} (atom {label})")


def _wavelength(block: Mapping[str, Any]) -> float | None:
    values = _list(next((block[name] for name in WAVELENGTHS if name in block), []))
    return float(values[0]) if values and isinstance(values[0], int | float) and values[0] > 0 else None


def _numbers(values: list[Any], what: str, path: Path) -> NDArray[np.float64]:
    try:
        found = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        raise UserError(f"{path}: {what} are not all numbers") from None
    if not np.isfinite(found).all():
        raise UserError(f"{path}: {what} are not all finite numbers")
    return found


def _list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]
