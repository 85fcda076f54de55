"""Orbitals that programs write: PySCF checkpoints, Molden files and Gaussian's formatted checkpoints (fchk)."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from pyscf import gto
from scipy.special import gamma

from data_tools.sources.files import Files, Member
from data_tools.sources.importing import Item, Source
from data_tools.sources.reading import Reading, source_name
from orbdens.errors import UserError
from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.integrals import dipole, electron_count
from orbdens.pyscf.order import ao_order, shell_l
from orbdens.pyscf.records import both_spins, side_by_side, with_fixed_signs
from orbdens.store import Manifest
from orbdens.store.records import LabelBasis, LabelShell, OrbitalRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

ENDINGS = (".chk", ".chkfile", ".molden", ".molden.input", ".fchk", ".fch")

HDF5 = b"\x89HDF\r\n\x1a\n"
LARGEST = 1 << 28
"""Bytes of one file."""

LOST_ELECTRONS = 1e-3
"""The integral of a density may be off by so much: Molden files have few digits."""

MOST_CHARGED = 6
"""A molecule of more charge is taken for one with core potentials of which the file does not tell."""

SAME = 1e-6
"""Relative difference of exponents and weights that are the same in other digits."""

M_OF_P = {"x": 1, "y": -1, "z": 0}


class OrbitalFile(NamedTuple):
    """What a file of orbitals holds.

    Attributes:
        record: structure, occupied orbitals and, where the file has it, the energy.
        basis: of the elements of this molecule.
        level: as much of the level of theory as the file tells.
        valence_electrons: that an atom brings into the density, by symbol.
    """

    record: OrbitalRecord
    basis: LabelBasis
    level: dict[str, Any]
    valence_electrons: dict[str, int]


def read_orbital_file(path: Path, charge: int | None = None) -> OrbitalFile:
    """Read a PySCF checkpoint, Molden or fchk file; which of them is told by its content.

    Args:
        path: of the file.
        charge: that a Molden file must have, which does not tell it; without it one that lacks some of its orbitals
            may pass for an ion.

    Raises:
        UserError: no such file, none of these, damaged, Cartesian or periodic orbitals, orbitals that do not hold
            their electrons, or a package is missing.
    """
    try:
        return read_orbitals(path.read_bytes(), str(path), charge)
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def read_orbitals(data: bytes, place: str, charge: int | None = None) -> OrbitalFile:
    """As ``read_orbital_file``, of the bytes of a file that messages call ``place``."""
    head = data[:4096]
    if data.startswith(HDF5):
        file = _read_checkpoint(data, place)
    elif head.lstrip().lower().startswith(b"[molden format]"):
        file = _read_text(data, place, "molden", charge)
    elif b"Number of electrons" in head:
        file = _read_text(data, place, "fchk", None)
    elif not data:
        raise UserError(f"{place} is empty")
    else:
        hint = "; formchk makes a formatted one of a Gaussian checkpoint" if place.endswith(".chk") else ""
        raise UserError(f"{place} is no PySCF checkpoint, Molden or fchk file{hint}")
    return _checked(file, place)


def orbital_source(paths: Sequence[Path], reading: Reading | None = None) -> Source:
    """Files, folders and archives of such files as a source of records in one basis.

    Every file is read twice: for the basis of all elements first, then for its record.

    Args:
        paths: of these.
        reading: level of theory, splits, and the charge of Molden files; the rest of it is for grids.

    Raises:
        UserError: there is no such file, one cannot be read, or two do not go together in one store.
    """
    reading = reading or Reading()
    files = Files(paths, "orbitals", ENDINGS, without=reading.splits)
    level: dict[str, Any] = {}
    elements: dict[str, tuple[LabelShell, ...]] = {}
    valence: dict[str, int] = {}
    count = 0
    for member in files:
        file = read_orbitals(member.whole(LARGEST), member.place, reading.charge)
        level = level or file.level
        _join(file, member.place, level, elements, valence)
        count += 1
    if not count:
        raise UserError(f"{source_name(paths)} holds no PySCF checkpoint, Molden or fchk files")
    manifest = Manifest(
        level={**level, **reading.level},
        density=_density(valence),
        valence_electrons=valence,
        label_basis=LabelBasis(elements),
        provenance={
            "importer": "orbdens data import",
            "source": {"kind": "orbitals", **files.facts()},
            "options": {"charge": reading.charge},
        },
    )
    return Source(
        source_name(paths), manifest, _Items(files, reading.charge), count=count, splits=reading.named_splits()
    )


class _Items:
    """The records of files, read one by one."""

    def __init__(self, files: Files, charge: int) -> None:
        self.files = files
        self.charge = charge

    def __iter__(self) -> Iterator[Item]:
        for member in self.files:
            yield Item(member.key, member.place, partial(_record, member, self.charge))


def _record(member: Member, charge: int) -> OrbitalRecord:
    return read_orbitals(member.whole(LARGEST), member.place, charge).record


def _join(
    file: OrbitalFile,
    place: str,
    level: Mapping[str, Any],
    elements: dict[str, tuple[LabelShell, ...]],
    valence: dict[str, int],
) -> None:
    """Take what a file says of its elements into the store's tables; UserError if it contradicts them."""
    for name in level.keys() | file.level.keys():
        known, ours = level.get(name), file.level.get(name)
        if _without_spin(known) != _without_spin(ours):
            raise UserError(f"{place} was made with {name} {ours}, files before it with {known}; make a store of each")
    for symbol, shells in file.basis.elements.items():
        if not _alike(elements.setdefault(symbol, shells), shells):
            raise UserError(f"{place} has another basis for {symbol} than files before it; make a store of each")
        n = file.valence_electrons[symbol]
        if valence.setdefault(symbol, n) != n:
            raise UserError(
                f"{place} has {n} electrons for {symbol}, files before it {valence[symbol]}; make a store of each"
            )


def _without_spin(value: Any) -> Any:
    """Gaussian writes methods with R, U or RO before them: the same method for closed and open shells."""
    if not isinstance(value, str):
        return value
    return value.removeprefix("ro") if value.startswith("ro") else value[value.startswith(("r", "u")) :]


def _alike(a: tuple[LabelShell, ...], b: tuple[LabelShell, ...]) -> bool:
    return len(a) == len(b) and all(
        x.l == y.l
        and len(x.exponents) == len(y.exponents)
        and np.allclose(x.exponents, y.exponents, rtol=SAME, atol=0)
        and np.allclose(x.weights, y.weights, rtol=SAME, atol=SAME)
        for x, y in zip(a, b, strict=True)
    )


def _density(valence: Mapping[str, int]) -> str:
    all_electrons = all(n == atomic_numbers[symbol] for symbol, n in valence.items())
    return "all-electron" if all_electrons else "valence"


def _checked(file: OrbitalFile, place: str) -> OrbitalFile:
    """The file, with the dipole of its density; UserError if that does not hold the electrons it should."""
    record = file.record
    record.structure.check(place)
    if not np.isfinite(record.orbitals).all():
        raise UserError(f"{place} holds orbitals that are not finite")
    manifest = Manifest(file.level, _density(file.valence_electrons), file.valence_electrons, file.basis)
    count, expected = electron_count(record, file.basis), manifest.n_electrons(record.structure)
    if not abs(count - expected) < LOST_ELECTRONS:
        raise UserError(f"the orbitals of {place} hold {count:.4f} electrons, expected {expected}")
    return file._replace(record=_with_dipole(record, manifest))


def _with_dipole(record: OrbitalRecord, manifest: Manifest) -> OrbitalRecord:
    return OrbitalRecord(
        structure=record.structure,
        orbitals=record.orbitals,
        occupations=record.occupations,
        energy=record.energy,
        dipole=dipole(record, manifest),
        spins=record.spins,
    )


def _read_checkpoint(data: bytes, place: str) -> OrbitalFile:
    """A PySCF checkpoint of a molecule."""
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
            multiplicity=_multiplicity(occupations, spins),
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
    return OrbitalFile(record, basis, level, valence)


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
    """The molecule of a checkpoint from its tables of numbers: PySCF's own reader would evaluate text as code."""
    mol = gto.Mole()
    mol._atom = [(str(symbol), None) for symbol, _ in tree["_atom"]]
    mol._atm = np.array(tree["_atm"], dtype=np.int32)
    mol._bas = np.array(tree["_bas"], dtype=np.int32)
    mol._env = np.array(tree["_env"], dtype=np.float64)
    return mol


def _multiplicity(occupations: NDArray[np.float64], spins: NDArray[np.int8] | None) -> int:
    return 1 if spins is None else 1 + round(abs(float(spins @ occupations)))


def _single_name(text: Any) -> str | None:
    """The name in ``repr`` of a basis; None if it is no single name."""
    plain = isinstance(text, str) and len(text) > 2 and text[0] == text[-1] == "'" and text.count("'") == 2
    return text[1:-1] if plain else None


def _read_text(data: bytes, place: str, kind: str, stated: int | None) -> OrbitalFile:
    """A Molden or fchk file through iodata, which knows the mistakes of the programs that write them."""
    found = _load(data, place, kind)
    symbols = [chemical_symbols[z] for z in found.atnums]
    cores = _core_charges(found, data if kind == "molden" else b"")
    basis, order, signs = _spherical(found.obasis, symbols, place)
    mo = found.mo
    if mo is None or mo.kind == "generalized" or mo.occs is None:
        raise UserError(f"{place} has no orbitals of spin up and down with occupations")
    coefficients, n = mo.coeffs[order] * signs[:, None], mo.norba
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
    if charge % 1 or abs(charge) > MOST_CHARGED or n_electrons <= 0 or stated not in (None, charge):
        raise UserError(
            f"the orbitals of {place} hold {n_electrons:g} electrons, its atoms bring {cores.sum():g}: it lacks "
            "orbitals or core potentials, or is an ion whose --charge must be given"
        )
    structure = Structure(
        found.atnums, found.atcoords * BOHR, charge=int(charge), multiplicity=_multiplicity(occupations, spins)
    )
    level = {"method": "unknown", "file_format": "Molden"}
    if kind == "fchk":
        # after MP2, CI and the like the orbitals are still those of the Hartree-Fock before
        level = {"method": found.lot, "orbitals": "SCF", "basis": found.obasis_name, "file_format": "fchk"}
    record = OrbitalRecord(
        structure, with_fixed_signs(orbitals), occupations.astype(np.float32), found.energy, spins=spins
    )
    return OrbitalFile(record, basis, level, dict(zip(symbols, cores.astype(int).tolist(), strict=True)))


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


def _spherical(
    obasis: Any, symbols: Sequence[str], place: str
) -> tuple[LabelBasis, NDArray[np.int64], NDArray[np.float64]]:
    """iodata's basis as ours, and how its rows [n_ao] become ours: ``ours = signs * theirs[order]``.

    Raises:
        UserError: Cartesian shells, or atoms of one element with different bases.
    """
    shells_of: list[list[LabelShell]] = [[] for _ in symbols]
    rows_of: list[list[int]] = [[] for _ in symbols]
    signs: list[float] = []
    for shell in obasis.shells:
        for l, kind, column in zip(shell.angmoms.tolist(), shell.kinds.tolist(), shell.coeffs.T, strict=True):
            if l > 1 and kind == "c":
                raise UserError(
                    f"{place} has Cartesian {'spdfghik'[l]} shells; only spherical ones are supported (5D 7F)"
                )
            first = len(signs)
            rows = [0] * (2 * l + 1)
            for row, label in enumerate(obasis.conventions[l, kind]):
                name = label.lstrip("-")
                m = 0 if l == 0 else M_OF_P[name] if l == 1 else int(name[1:]) * (1 if name[0] == "c" else -1)
                rows[m + l] = first + row
                signs.append(-1.0 if label.startswith("-") else 1.0)
            rows_of[shell.icenter] += rows
            # of a normalised primitive: ∫ (N r^l exp(−a r²))² r² dr = 1
            norms = np.sqrt(2 * (2 * shell.exponents) ** (l + 1.5) / gamma(l + 1.5))
            weights = column * norms * BOHR ** (-l - 1.5)
            exponents = shell.exponents / BOHR**2
            shells_of[shell.icenter].append(LabelShell(l, tuple(exponents.tolist()), tuple(weights.tolist())))
    elements: dict[str, tuple[LabelShell, ...]] = {}
    for symbol, shells in zip(symbols, shells_of, strict=True):
        if not _alike(elements.setdefault(symbol, tuple(shells)), tuple(shells)):
            raise UserError(f"the {symbol} atoms of {place} have different bases; a store needs one per element")
    order = np.array([row for rows in rows_of for row in rows], dtype=np.int64)
    return LabelBasis(elements), order, np.array(signs)[order]
