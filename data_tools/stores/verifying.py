"""Check every byte of a store that matters, and keep what is whole of a damaged one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyscf import lib

from orbdens.errors import UserError
from orbdens.labels import label_density, spin_density
from orbdens.progress import Progress, silent
from orbdens.store import Manifest, Record, Salvage, check_record, write_anew

ORBITAL_TOLERANCE = 2e-3
"""e; integrals of float32 orbitals are analytic."""

GRID_TOLERANCE = (0.1, 0.02)
"""e, and share of the electrons; sums over grids of 0.2 Å are within 0.1 %, tails outside a small box take more."""

UNREADABLE, WRONG, MISCOUNTED = "cannot be read", "has wrong contents", "has a wrong number of electrons"
BROKEN = (UNREADABLE, WRONG, MISCOUNTED)
"""Kinds of damage that cost a record."""

LOST, NAMED, REPEATED = "is not found under its key", "is not there but in a split", "is in several splits"


@dataclass
class Findings:
    """What is wrong with a store.

    Attributes:
        n_records: records that are whole and right.
        files: damage of files, in words.
        records: reason (or nothing) by key, for each kind of damage.
        manifest: what the manifest says wrongly, in words.
        tolerance: electrons by which the sum over a grid was allowed to miss; None is ``GRID_TOLERANCE``.
    """

    n_records: int = 0
    files: list[str] = field(default_factory=list)
    records: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    manifest: list[str] = field(default_factory=list)
    tolerance: float | None = None

    @property
    def fine(self) -> bool:
        return not (self.files or self.records or self.manifest)

    @property
    def broken(self) -> dict[str, dict[str, str]]:
        """Reason by key of the kinds of damage that cost a record."""
        return {kind: self.records[kind] for kind in BROKEN if kind in self.records}

    def lines(self, most: int = 20) -> list[str]:
        """A line for each kind of damage, with at most so many keys."""
        lines = list(self.files)
        for kind, reasons in self.records.items():
            shown = [f"{key} ({reason})" if reason else key for key, reason in list(reasons.items())[:most]]
            more = f" and {len(reasons) - most} more" if len(reasons) > most else ""
            lines.append(f"{kind} ({len(reasons)}): {', '.join(shown)}{more}")
        return lines + self.manifest


def verify(path: Path, progress: Progress = silent, tolerance: float | None = None) -> Findings:
    """Check a store that no writer is changing: files, records, splits, count.

    Every record must be found under its key, agree with its checksum, have the shapes of the label basis and finite
    values, and hold as many electrons (and unpaired ones) as its structure has.

    Args:
        path: folder of the store.
        progress: told of the work.
        tolerance: electrons by which the sum over a grid may miss; None is ``GRID_TOLERANCE``.

    Raises:
        UserError: there is no store at ``path``, or its manifest cannot be read.
    """
    manifest = Manifest.read(path)
    findings = Findings(tolerance=tolerance)
    keys = {key for key, _ in _whole_records(Salvage(path, manifest), manifest, findings, progress)}
    findings.n_records = len(keys)
    held = keys.union(*findings.broken.values())
    splits_of: defaultdict[str, list[str]] = defaultdict(list)
    for name, members in manifest.splits.items():
        for key in members:
            splits_of[key].append(name)
    for key, names in splits_of.items():
        if key not in held:
            findings.records[NAMED][key] = ", ".join(names)
        elif len(names) > 1:
            findings.records[REPEATED][key] = ", ".join(names)
    if not manifest.finished:
        findings.manifest.append(f"the store is not finished: its writer was stopped after {len(held)} records")
    elif len(held) != manifest.count:
        findings.manifest.append(f"the manifest counts {manifest.count} records, but {len(held)} are there")
    return findings


def repair(path: Path, findings: Findings) -> dict[str, str]:
    """Keep the whole records of a store and leave out what is broken, so that ``verify`` finds nothing any more.

    Files with damage are written anew, with what can still be found in any of their pages; the old ones stay beside
    them, named ``damaged``. The provenance tells under ``repaired`` what was wrong and which records are gone. Splits
    lose those, and a key of several splits stays in the first. A kill at any time leaves a store to repair again.

    Args:
        path: folder of the store.
        findings: what ``verify`` found.

    Returns:
        The known keys of records that are gone, and why.

    Raises:
        UserError: there is no store at ``path``, its manifest cannot be read, or it cannot be written.
    """
    manifest = replace(Manifest.read(path), finished=False)
    kinds = {*BROKEN, LOST, NAMED}
    rewrite = bool(findings.files or kinds & findings.records.keys() or findings.n_records < manifest.count)
    manifest.write(path)
    again = Findings(tolerance=findings.tolerance)
    records = _whole_records(Salvage(path, manifest, everywhere=rewrite), manifest, again)
    keys = write_anew(path, manifest, records) if rewrite else {key for key, _ in records}
    reasons = {key: kind for kind in findings.records for key in findings.records[kind]}
    reasons |= {key: f"{kind}: {reason}" for kind, found in findings.broken.items() for key, reason in found.items()}
    gone = {key: reason for key, reason in sorted(reasons.items()) if key not in keys}
    note = {"files": findings.files, "records": gone, "manifest": findings.manifest}
    splits: dict[str, list[str]] = {}
    free = set(keys)
    for name, members in manifest.splits.items():
        splits[name] = [key for key in dict.fromkeys(members) if key in free]
        free -= set(splits[name])
    replace(
        Manifest.read(path),
        splits={name: members for name, members in splits.items() if members},
        provenance={**manifest.provenance, "repaired": [*manifest.provenance.get("repaired", []), note]},
        count=len(keys),
        finished=True,
    ).write(path)
    return gone


def _whole_records(
    salvage: Salvage,
    manifest: Manifest,
    findings: Findings,
    progress: Progress = silent,
) -> Iterator[tuple[str, Record]]:
    """The records that are right; what is wrong with the files and with others goes to ``findings``."""
    findings.files += salvage.damage
    total = len(salvage)
    for done, found in enumerate(salvage, start=1):
        progress("checking", done, total)
        if found.record is None:
            findings.records[UNREADABLE][found.key] = found.problem
            continue
        try:
            check_record(found.record, manifest.label_basis, manifest.site_orbitals)
        except UserError as error:
            findings.records[WRONG][found.key] = str(error)
            continue
        with lib.with_omp_threads(1):  # integrals of one record are too few to share
            wrong = wrong_electrons(found.record, manifest, findings.tolerance)
        if wrong:
            findings.records[MISCOUNTED][found.key] = wrong
            continue
        if not found.in_place:
            findings.records[LOST][found.key] = ""
        yield found.key, found.record


def wrong_electrons(record: Record, manifest: Manifest, tolerance: float | None = None) -> str | None:
    """What is wrong with the number of electrons or of unpaired ones, in words; None if they are right.

    Args:
        record: a record of one structure.
        manifest: says how many electrons an atom brings.
        tolerance: electrons by which the sum over a grid may miss; None is ``GRID_TOLERANCE``.
    """
    try:
        expected = manifest.n_electrons(record.structure)
    except UserError as error:
        return str(error)
    label, spin = label_density(record, manifest), spin_density(record, manifest)
    if label.tabulated:
        if tolerance is None:
            tolerance = max(GRID_TOLERANCE[0], GRID_TOLERANCE[1] * expected)
    else:
        tolerance = ORBITAL_TOLERANCE
        unpaired = None if spin is None else spin.n_electrons
        if unpaired is not None and not abs(unpaired - (record.structure.multiplicity - 1)) <= tolerance:
            return f"{unpaired:.4f} unpaired instead of {record.structure.multiplicity - 1}"
    count = label.n_electrons
    return None if abs(count - expected) <= tolerance else f"{count:.4f} instead of {expected}"
