"""What is in a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from rich.console import Console
from rich.table import Table

from data_tools.pyscf_bridge import electron_count
from orbdens.data.store import GridRecord, Manifest, OrbitalRecord, Store, evenly_spaced

ELECTRONS_CHECKED = 20
RECORDS_READ = 1000


@dataclass(frozen=True)
class Summary:
    """Figures of a store.

    Attributes:
        count: records in the store.
        n_read: records that the figures below come from, spread over the store.
        kinds: number of orbital and grid records among them.
        elements: number of structures with an element, by symbol.
        n_atoms: fewest, mean and most atoms of a structure.
        record_bytes: smallest, mean and largest record.
        disk_bytes: size of the whole folder.
        electron_errors: integral of the density minus the expected number of electrons, of a few records.
    """

    count: int
    n_read: int
    kinds: dict[str, int]
    elements: dict[str, int]
    n_atoms: tuple[int, float, int]
    record_bytes: tuple[int, float, int]
    disk_bytes: int
    electron_errors: tuple[float, ...]


def summarise(store: Store) -> Summary:
    """Read a sample of the records of a store (all of them up to ``RECORDS_READ``).

    Raises:
        UserError: the store or one of these records is damaged.
    """
    keys = store.keys()
    sample = evenly_spaced(keys, RECORDS_READ)
    counted = set(sample[:: max(1, len(sample) // ELECTRONS_CHECKED)])
    kinds: Counter[str] = Counter()
    elements: Counter[int] = Counter()
    atoms, sizes, errors = [], [], []
    for key in sample:
        record = store[key]
        kinds["grid" if isinstance(record, GridRecord) else "orbital"] += 1
        elements.update(set(record.structure.numbers.tolist()))
        atoms.append(record.structure.n_atoms)
        sizes.append(len(store.value(key)))
        if key in counted:
            errors.append(_electron_error(record, store.manifest))
    return Summary(
        count=len(keys),
        n_read=len(sample),
        kinds=dict(kinds),
        elements={chemical_symbols[z]: elements[z] for z in sorted(elements)},
        n_atoms=_span(atoms),
        record_bytes=_span(sizes),
        disk_bytes=sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file()),
        electron_errors=tuple(errors),
    )


def inspect_store(path: Path, console: Console | None = None) -> None:
    """Print what is in a store: level of theory, counts, elements, sizes, splits, electron counts of a sample.

    Args:
        path: folder of the store.
        console: where to print; standard output by default.

    Raises:
        UserError: there is no store at ``path``, or it is damaged.
    """
    with Store(path) as store:
        summary, manifest = summarise(store), store.manifest
    table = Table(show_header=False, title=str(path), title_justify="left", title_style="bold")
    table.add_row(
        "records", f"{summary.count}" + ("" if manifest.finished else " so far; not finished, resume its writer")
    )
    table.add_row("level of theory", "\n".join(f"{name}: {value}" for name, value in manifest.level.items()))
    valence = ", ".join(f"{symbol} {n}" for symbol, n in manifest.valence_electrons.items())
    table.add_row("density", f"{manifest.density}; electrons of an atom: {valence}")
    if manifest.label_basis is not None:
        shells = manifest.label_basis.elements
        orbitals = (f"{symbol} {sum(2 * s.l + 1 for s in shells[symbol])}" for symbol in manifest.label_basis.symbols)
        table.add_row("orbitals of an atom", ", ".join(orbitals))
    splits = (f"{name} {len(keys)}" for name, keys in manifest.splits.items())
    table.add_row("splits", ", ".join(splits) or "none")
    if summary.n_read:
        source = "all records" if summary.n_read == summary.count else f"{summary.n_read} records"
        table.add_section()
        table.add_row("figures from", source + f" ({', '.join(f'{n} {kind}' for kind, n in summary.kinds.items())})")
        table.add_row("structures with", ", ".join(f"{symbol} {n}" for symbol, n in summary.elements.items()))
        table.add_row("atoms", f"{summary.n_atoms[0]} to {summary.n_atoms[2]}, mean {summary.n_atoms[1]:.1f}")
        low, mean, high = summary.record_bytes
        table.add_row("size of a record", f"{low / 1e3:.1f} to {high / 1e3:.1f} kB, mean {mean / 1e3:.1f} kB")
        disk = summary.disk_bytes / 1e3
        table.add_row("size on disk", f"{disk:.1f} kB, per structure {disk / summary.count:.1f} kB")
        worst = max(abs(error) for error in summary.electron_errors)
        table.add_row("electron count", f"{len(summary.electron_errors)} records checked, largest error {worst:.1e} e")
    (console or Console()).print(table)


def _electron_error(record: OrbitalRecord | GridRecord, manifest: Manifest) -> float:
    expected = manifest.n_electrons(record.structure)
    if isinstance(record, GridRecord):
        return float(record.values.sum(dtype=np.float64) * abs(np.linalg.det(record.steps)) - expected)
    assert manifest.label_basis is not None
    return electron_count(record, manifest.label_basis) - expected


def _span(values: list[int]) -> tuple[int, float, int]:
    return (min(values), sum(values) / len(values), max(values)) if values else (0, 0.0, 0)
