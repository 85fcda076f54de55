"""Orbitals that programs write: PySCF checkpoints, Molden, wfn and wfx files, and Gaussian's fchk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.sources.files import Files, Member
from data_tools.sources.orbital_kinds import LARGEST, kind_of_orbitals
from data_tools.sources.record_source import Item, RecordSource
from data_tools.sources.statement import UserStatement, source_name
from orbdens.errors import UserError
from orbdens.store import Manifest
from orbdens.store.records import LabelBasis, LabelShell, OrbitalRecord

if TYPE_CHECKING:
    from data_tools.sources.orbital_content import OrbitalContent


ENDINGS = (".chk", ".chkfile", ".molden", ".molden.input", ".fchk", ".fch", ".wfn", ".wfx")


def recognises(beginning: bytes) -> bool:
    """Whether a file begins as a PySCF checkpoint, Molden, fchk, wfn or wfx file does."""
    return kind_of_orbitals(beginning) is not None


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """Files, folders and archives of such files as a source of records in one basis.

    Every file is read twice: for the basis of all elements first, then for its record.

    Args:
        paths: the files, folders and archives.
        statement: level of theory, splits, and the charge of Molden, wfn and wfx files; the rest of it is for grids.

    Raises:
        UserError: there is no such file, one cannot be read, or two do not go together in one store.
    """
    from data_tools.sources.orbital_content import density_of  # these import PySCF, which takes a second
    from data_tools.sources.orbital_reading import read_orbitals

    files = Files(paths, "orbitals", ENDINGS, without=statement.splits)
    level: dict[str, Any] = {}
    elements: dict[str, tuple[LabelShell, ...]] = {}
    valence: dict[str, int] = {}
    count = 0
    for member in files:
        file = read_orbitals(member.whole(LARGEST), member.place, statement.charge)
        level = level or file.level
        _join(file, member.place, level, elements, valence)
        count += 1
    if not count:
        raise UserError(f"{source_name(paths)} holds no PySCF checkpoint, Molden, fchk, wfn or wfx files")
    manifest = Manifest(
        level={**level, **statement.level},
        density=density_of(valence),
        valence_electrons=valence,
        label_basis=LabelBasis(elements),
        provenance={
            "importer": "orbdens data import",
            "source": {"kind": "orbitals", **files.facts()},
            "options": {"charge": statement.charge},
        },
    )
    return RecordSource(
        source_name(paths),
        manifest,
        _Items(files, statement.charge),
        count=count,
        digest=files.digest,
        splits=statement.named_splits(),
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
    from data_tools.sources.orbital_reading import read_orbitals

    return read_orbitals(member.whole(LARGEST), member.place, charge).record


def _join(
    file: OrbitalContent,
    place: str,
    level: Mapping[str, Any],
    elements: dict[str, tuple[LabelShell, ...]],
    valence: dict[str, int],
) -> None:
    """Take what a file says of its elements into the store's tables; UserError if it contradicts them."""
    from data_tools.sources.orbital_content import same_shells

    for name in level.keys() | file.level.keys():
        known, found = level.get(name), file.level.get(name)
        if _without_spin(known) != _without_spin(found):
            raise UserError(f"{place} was made with {name} {found}, files before it with {known}; make a store of each")
    for symbol, shells in file.basis.elements.items():
        if not same_shells(elements.setdefault(symbol, shells), shells):
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
