"""PySCF's checkpoints of molecules, without PySCF's own reader, which would evaluate text as code."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pyscf import gto

from data_tools.sources.orbital_content import OrbitalContent, multiplicity
from data_tools.sources.orbital_kinds import LARGEST
from orbdens.errors import UserError
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.order import ao_order, shell_l
from orbdens.pyscf.records import side_by_side, with_fixed_signs
from orbdens.store.records import OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import BOHR


def read_checkpoint(data: bytes, place: str) -> OrbitalContent:
    """The orbitals of a checkpoint, given as its bytes.

    Raises:
        UserError: damaged, periodic or Cartesian; ``place`` names it.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            tree = json.loads(file["mol"][()])
            parts = {name: _dataset(file["scf"][name], place) for name in ("mo_coeff", "mo_occ", "e_tot")}
        for what, wrong in (("periodic", "a" in tree), ("Cartesian", tree.get("cart"))):
            if wrong:
                raise UserError(f"{place} has {what} orbitals, which are not supported")
        mol = _molecule(tree)
        orbitals, occupations, spins = side_by_side(parts["mo_coeff"], parts["mo_occ"])
        basis = label_basis(mol)
        symbols = [mol.atom_pure_symbol(i) for i in range(mol.natm)]
        structure = Structure(
            numbers=np.array([atomic_numbers[symbol] for symbol in symbols]),
            positions=mol.atom_coords() * BOHR,
            charge=int(tree.get("charge", 0)),
            multiplicity=multiplicity(occupations, spins),
        )
        ordered = orbitals[ao_order(shell_l(basis, structure.numbers))]
        valence = dict(zip(symbols, mol.atom_charges().tolist(), strict=True))
        names = {name: _single_name(tree.get(name)) for name in ("basis", "pseudo", "ecp")}
    except (OSError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{place} is not a whole PySCF checkpoint of a molecule: {reason}") from None
    level = {"method": "unknown", "file_format": "PySCF checkpoint"} | {n: v for n, v in names.items() if v}
    energy = float(parts["e_tot"])
    record = OrbitalRecord(structure, with_fixed_signs(ordered), occupations.astype(np.float32), energy, spins=spins)
    return OrbitalContent(record, basis, level, valence)


def _dataset(dataset: Any, place: str) -> NDArray[np.float64]:
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
        raise UserError(
            f"{place} has orbitals that are complex or of another kind than one array, which is unsupported"
        )
    if dataset.nbytes > LARGEST:  # compressed, it may be far more than the file
        raise UserError(f"{place} has orbitals of more than {LARGEST >> 20} MiB")
    values: NDArray[np.float64] = dataset[()]
    return values


def _molecule(tree: Mapping[str, Any]) -> Any:
    """The molecule of a checkpoint from its tables of numbers."""
    mol = gto.Mole()
    mol._atom = [(str(symbol), None) for symbol, _ in tree["_atom"]]
    mol._atm = np.array(tree["_atm"], dtype=np.int32)
    mol._bas = np.array(tree["_bas"], dtype=np.int32)
    mol._env = np.array(tree["_env"], dtype=np.float64)
    return mol


def _single_name(text: Any) -> str | None:
    """The name in ``repr`` of a basis; None if it is no single name."""
    plain = isinstance(text, str) and len(text) > 2 and text[0] == text[-1] == "'" and text.count("'") == 2
    return text[1:-1] if plain else None
