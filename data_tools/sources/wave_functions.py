"""Molden, wfn and wfx files and formatted checkpoints, through iodata, which knows the mistakes of who writes them."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from data_tools.sources.iodata_basis import our_basis
from data_tools.sources.orbital_content import OrbitalContent, multiplicity
from data_tools.sources.orbital_kinds import OfIodata
from orbdens.errors import UserError
from orbdens.pyscf.records import both_spins, side_by_side, with_fixed_signs
from orbdens.store.records import OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

MOST_CHARGED = 6
"""A molecule of more charge is taken for one with core potentials of which the file does not tell."""


def read_wave_function(data: bytes, place: str, kind: OfIodata, stated: int | None) -> OrbitalContent:
    """The orbitals of a file, given as its bytes.

    Args:
        data: the file.
        place: names it in messages.
        kind: kind of the file.
        stated: charge of the molecule, if the user says it.

    Raises:
        UserError: iodata is missing or cannot read the file, or electrons are missing.
    """
    found = _load(data, place, kind)
    symbols = [chemical_symbols[z] for z in found.atnums]
    cores = _core_charges(found, data if kind == "molden" else b"")
    basis, rows = our_basis(found.obasis, symbols, place)
    mo = found.mo
    if mo is None or mo.kind == "generalized" or mo.occs is None:
        raise UserError(f"{place} has no orbitals of spin up and down with occupations")
    coefficients, n = rows @ mo.coeffs, mo.norba
    spins: NDArray[np.int8] | None
    if mo.kind == "unrestricted":
        parts = [coefficients[:, :n], coefficients[:, n:]], [mo.occs[:n], mo.occs[n:]]
        orbitals, occupations, spins = both_spins(*parts)
    else:
        orbitals, occupations, spins = side_by_side(coefficients, mo.occs)
    n_electrons = round(float(occupations.sum()), 3)
    if len(set(zip(symbols, cores, strict=True))) > len(set(symbols)):
        raise UserError(f"{place} has atoms of one element with different charges (ghosts?), which are not supported")
    charge = cores.sum() - n_electrons
    unlikely = abs(charge) > MOST_CHARGED if stated is None else stated != charge
    if charge % 1 or n_electrons <= 0 or unlikely:
        raise UserError(
            f"the orbitals of {place} hold {n_electrons:g} electrons, its atoms bring {cores.sum():g}: it lacks "
            "orbitals or core potentials, or is an ion whose --charge must be given"
        )
    structure = Structure(
        found.atnums, found.atcoords * BOHR, charge=int(charge), multiplicity=multiplicity(occupations, spins)
    )
    level = {"method": "unknown", "file_format": "Molden" if kind == "molden" else kind}
    if kind == "fchk":
        # after MP2, CI and the like the orbitals are still those of the Hartree-Fock before
        level = {"method": found.lot, "orbitals": "SCF", "basis": found.obasis_name, "file_format": "fchk"}
    record = OrbitalRecord(
        structure, with_fixed_signs(orbitals), occupations.astype(np.float32), found.energy, spins=spins
    )
    return OrbitalContent(record, basis, level, dict(zip(symbols, cores.astype(int).tolist(), strict=True)))


def _load(data: bytes, place: str, kind: str) -> Any:
    try:
        from iodata import load_one
        from iodata.utils import LoadError
    except ImportError:
        raise UserError(f"{place} is read by the package qc-iodata: pip install 'orbdens[import]'") from None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what iodata has mended is checked below
        path = Path(folder) / "file"
        path.write_bytes(data)
        try:
            return load_one(str(path), fmt=kind)
        except (LoadError, ValueError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None)
            where = f" at line {line}" if line else ""
            raise UserError(f"{place} is no whole {kind} file{where}: {_reason(error, path)}") from None


def _reason(error: Exception, path: Path) -> str:
    """What iodata found wrong, without its name of the file and its wish for a bug report."""
    cause = error.__cause__
    if isinstance(cause, KeyError):
        return f"it lacks {cause}"
    if "inhomogeneous" in str(cause):
        return "one orbital has fewer numbers than others"
    return " ".join(str(cause or error).partition(f" ({path}")[0].partition(". ")[0].split())


def _core_charges(found: Any, molden: bytes) -> NDArray[np.float64]:
    """Nuclear charges less the electrons of core potentials [n_atoms], of a Molden file also by its [core] part."""
    cores = np.array(found.atcorenums, dtype=np.float64)
    lines = iter(molden.decode("utf-8", "replace").splitlines())
    for line in lines:
        if line.strip().lower().startswith("[core]"):
            for entry in lines:
                atom, colon, n = entry.partition(":")
                if not colon or not atom.strip().isdigit() or not n.strip().isdigit():
                    break
                i = int(atom) - 1
                # some programs write the charge without the core among the atoms already
                if i < len(cores) and cores[i] == found.atnums[i]:
                    cores[i] -= int(n)
            break
    return cores
