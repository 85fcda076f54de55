"""``.npz`` files of occupied orbitals, whose layout ``data_tools/README.md`` tells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from data_tools.sources.record_source import Item, RecordSource
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.formats.npz import read_npz
from orbdens.sampling import evenly_spaced
from orbdens.store import LabelBasis, Manifest, OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import DEBYE

ARRAYS = {
    "numbers": "i",
    "positions": "f",
    "atom_ptr": "i",
    "occupied": "f",
    "occupied_ptr": "i",
    "n_ao": "i",
    "n_occ": "i",
    "energy": "f",
    "dipole": "f",
    "split": "iu",
    "smiles": "U",
    "level": "U",
}
"""Arrays of a file and what kinds of numpy dtype they may have."""

SPLITS = ("train", "val", "test")
ENDINGS = (".npz",)

CHECKED = 20
"""Electron counts are checked for this many records, spread over the file."""


def recognises(beginning: bytes) -> bool:
    """Whether a file begins as a zip archive does."""
    return beginning.startswith(b"PK\x03\x04")


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """The records of a file, checked; named ``<file>-00000`` and so on, in the file's order.

    Raises:
        UserError: it is missing, broken or of another layout, PySCF lacks its basis, or a density does not integrate to
            the number of electrons; or the user states what the file itself tells.
    """
    from orbdens.pyscf.bases import named_basis  # PySCF takes a second to import
    from orbdens.pyscf.integrals import electron_count

    if len(paths) > 1:
        raise UserError(f"expected one .npz file, but got {len(paths)}")
    source = paths[0]
    statement.only_splits(source)
    arrays = orbital_arrays(source)
    level = _level(source, arrays)
    symbols = {chemical_symbols[z] for z in np.unique(arrays["numbers"])}
    basis, valence = named_basis(symbols, level["basis"], level["pseudo"])
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    provenance = {
        "importer": "data_tools.sources.npz",
        "file": source.name,
        "sha256": digest,
        "smiles": arrays["smiles"].tolist(),
    }
    manifest = Manifest(level, level["density"], valence, basis, provenance)
    n = len(arrays["split"])
    records = [_record(source, arrays, i, basis) for i in range(n)]
    for i in evenly_spaced(range(n), CHECKED):
        count, expected = electron_count(records[i], basis), manifest.n_electrons(records[i].structure)
        if abs(count - expected) > 1e-3:
            raise UserError(f"structure {i} of {source} integrates to {count:.4f} electrons, expected {expected}")
    items = [
        Item(f"{source.stem}-{i:05d}", f"structure {i} of {source}", partial(_same, record), SPLITS[arrays["split"][i]])
        for i, record in enumerate(records)
    ]
    splits = statement.named_splits()
    return RecordSource(str(source), manifest, items, count=n, splits=splits, identity=("sha256",))


def _same(record: OrbitalRecord) -> OrbitalRecord:
    return record


def orbital_arrays(source: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, checked: all there, of the right kind, fitting together, finite.

    Raises:
        UserError: with the first thing that is wrong.
    """
    arrays = read_npz(source, ARRAYS)
    n = len(np.atleast_1d(arrays["split"]))
    atoms = len(np.atleast_1d(arrays["numbers"]))
    shapes: Mapping[str, tuple[int, ...]] = {
        "numbers": (atoms,),
        "positions": (atoms, 3),
        "atom_ptr": (n + 1,),
        "occupied": (arrays["occupied"].size,),
        "occupied_ptr": (n + 1,),
        "n_ao": (n,),
        "n_occ": (n,),
        "energy": (n,),
        "dipole": (n, 3),
        "split": (n,),
        "level": (),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise UserError(f"array '{name}' of {source} has shape {arrays[name].shape}, expected {shape}")
    if n == 0:
        raise UserError(f"{source} holds no structures")
    sizes = np.diff(arrays["occupied_ptr"]), arrays["n_ao"].astype(np.int64) * arrays["n_occ"]
    if not np.array_equal(*sizes) or arrays["occupied_ptr"][[0, -1]].tolist() != [0, arrays["occupied"].size]:
        raise UserError(f"'occupied_ptr' of {source} does not cut 'occupied' into n_ao x n_occ numbers each")
    if (np.diff(arrays["atom_ptr"]) < 1).any() or arrays["atom_ptr"][[0, -1]].tolist() != [0, atoms]:
        raise UserError(f"'atom_ptr' of {source} does not cut its {atoms} atoms into structures")
    if not ((arrays["numbers"] > 0) & (arrays["numbers"] < len(chemical_symbols))).all():
        raise UserError(f"'numbers' of {source} are not all atomic numbers")
    if not np.isin(arrays["split"], range(len(SPLITS))).all():
        raise UserError(f"'split' of {source} holds other numbers than 0 (train), 1 (val) and 2 (test)")
    return arrays


def _level(source: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    try:
        level: dict[str, Any] = json.loads(str(arrays["level"]))
        needed = {name: level[name] for name in ("basis", "pseudo", "density", "units")}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"'level' of {source} is not the level of theory in JSON: {error}") from None
    units = {"positions": "angstrom", "energy": "hartree", "dipole": "debye"}
    if needed["units"] != units or needed["density"] not in ("valence", "all-electron"):
        raise UserError(f"'level' of {source} names units or a density that are not {units}, valence or all-electron")
    if not isinstance(needed["basis"], str) or not isinstance(needed["pseudo"], str | None):
        raise UserError(f"'level' of {source} must name its basis and pseudopotential")
    # the store's units are its own, and stated in its manifest
    return {name: value for name, value in level.items() if name != "units"}


def _record(source: Path, arrays: Mapping[str, NDArray[Any]], i: int, basis: LabelBasis) -> OrbitalRecord:
    from orbdens.pyscf.order import ao_order, shell_l

    atoms = slice(arrays["atom_ptr"][i], arrays["atom_ptr"][i + 1])
    orbitals = arrays["occupied"][arrays["occupied_ptr"][i] : arrays["occupied_ptr"][i + 1]]
    structure = Structure(arrays["numbers"][atoms], arrays["positions"][atoms]).check(f"structure {i} of {source}")
    n_ao, n_occ = int(arrays["n_ao"][i]), int(arrays["n_occ"][i])
    if n_ao != basis.n_ao(structure.numbers):
        expected = basis.n_ao(structure.numbers)
        raise UserError(f"structure {i} of {source} has {n_ao} orbitals, its basis and atoms make {expected}")
    return OrbitalRecord(
        structure=structure,
        orbitals=orbitals.reshape(n_ao, n_occ)[ao_order(shell_l(basis, structure.numbers))],
        occupations=np.full(n_occ, 2, dtype=np.float32),
        energy=float(arrays["energy"][i]),
        dipole=arrays["dipole"][i].astype(np.float64) * DEBYE,
    )
