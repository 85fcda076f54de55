"""What is in a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ase.data import chemical_symbols
from rich.console import Console
from rich.table import Table

from orbdens.density import Density, OrbitalDensity
from orbdens.labels import label_density
from orbdens.sampling import evenly_spaced
from orbdens.store import Store

ELECTRONS_CHECKED = 20
ELECTRONS_OF_PAGE = 300
RECORDS_READ = 1000
FORMULAS_SHOWN = 6


@dataclass(frozen=True)
class Summary:
    """Figures of a store.

    Attributes:
        count: records in the store.
        n_read: records that the figures below come from, spread over the store.
        kinds: number of records of each kind among them.
        elements: number of structures with an element, by symbol.
        formulas: number of structures of a formula, most frequent first.
        atom_counts: atoms of every structure.
        record_bytes: smallest, mean and largest record, as it is stored.
        disk_bytes: size of the whole folder.
        electron_errors: integral of the density minus the expected number of electrons, of a few records.
    """

    count: int
    n_read: int
    kinds: dict[str, int]
    elements: dict[str, int]
    formulas: dict[str, int]
    atom_counts: tuple[int, ...]
    record_bytes: tuple[int, float, int]
    disk_bytes: int
    electron_errors: tuple[float, ...]

    @property
    def n_atoms(self) -> tuple[int, float, int]:
        """Fewest, mean and most atoms of a structure."""
        return _span(self.atom_counts)


def summarise(store: Store, checked: int = ELECTRONS_CHECKED) -> Summary:
    """Read a sample of the records of a store (all of them up to ``RECORDS_READ``).

    Args:
        store: to look into.
        checked: electrons of about so many records are counted.

    Raises:
        UserError: the store or one of these records is damaged.
    """
    keys = store.keys()
    sample = evenly_spaced(keys, RECORDS_READ)
    counted = set(sample[:: max(1, len(sample) // checked)])
    kinds: Counter[str] = Counter()
    elements: Counter[int] = Counter()
    formulas: Counter[str] = Counter()
    atoms, sizes, errors = [], [], []
    for key in sample:
        record = store[key]
        label = label_density(record, store.manifest)
        kinds[_kind(label)] += 1
        elements.update(set(record.structure.numbers.tolist()))
        formulas[record.structure.formula] += 1
        atoms.append(record.structure.n_atoms)
        sizes.append(len(store.stored(key)))
        if key in counted:
            errors.append(label.n_electrons - store.manifest.n_electrons(record.structure))
    return Summary(
        count=len(keys),
        n_read=len(sample),
        kinds=dict(kinds),
        elements={chemical_symbols[z]: elements[z] for z in sorted(elements)},
        formulas=dict(formulas.most_common()),
        atom_counts=tuple(atoms),
        record_bytes=_span(sizes),
        disk_bytes=sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file()),
        electron_errors=tuple(errors),
    )


def print_summary(store: Store, summary: Summary, console: Console | None = None) -> None:
    """Print the facts of a store as a table."""
    table = Table(show_header=False, title=str(store.path), title_justify="left", title_style="bold")
    about, figures = facts(store, summary)
    for name, value in about:
        table.add_row(name, value)
    table.add_section()
    for name, value in figures:
        table.add_row(name, value)
    (console or Console()).print(table)


def facts(store: Store, summary: Summary) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Names and values of what the manifest says, and of figures from records (none of an empty store)."""
    manifest = store.manifest
    valence = ", ".join(f"{symbol} {n}" for symbol, n in manifest.valence_electrons.items())
    unfinished = " so far; not finished, resume its writer"
    about = [
        ("records", f"{summary.count}" + ("" if manifest.finished else unfinished)),
        ("level of theory", "\n".join(f"{name}: {value}" for name, value in manifest.level.items())),
        ("density", f"{manifest.density}; electrons of an atom: {valence}"),
    ]
    if manifest.label_basis is not None:
        shells = manifest.label_basis.elements
        orbitals = (f"{symbol} {sum(2 * s.l + 1 for s in shells[symbol])}" for symbol in manifest.label_basis.symbols)
        about.append(("orbitals of an atom", ", ".join(orbitals)))
    splits = (f"{name} {len(keys)}" for name, keys in manifest.splits.items())
    about.append(("splits", ", ".join(splits) or "none"))
    if not summary.n_read:
        return about, []
    source = "all records" if summary.n_read == summary.count else f"{summary.n_read} records"
    shown = [f"{formula} {n}" for formula, n in list(summary.formulas.items())[:FORMULAS_SHOWN]]
    if len(summary.formulas) > FORMULAS_SHOWN:
        shown.append(f"and {len(summary.formulas) - FORMULAS_SHOWN} more")
    low, mean, high = summary.record_bytes
    disk = summary.disk_bytes / 1e3
    worst = max(abs(error) for error in summary.electron_errors)
    return about, [
        ("figures from", source + f" ({', '.join(f'{n} {kind}' for kind, n in summary.kinds.items())})"),
        ("structures with", ", ".join(f"{symbol} {n}" for symbol, n in summary.elements.items())),
        ("formulas", ", ".join(shown)),
        ("atoms", f"{summary.n_atoms[0]} to {summary.n_atoms[2]}, mean {summary.n_atoms[1]:.1f}"),
        ("size of a record", f"{low / 1e3:.1f} to {high / 1e3:.1f} kB, mean {mean / 1e3:.1f} kB"),
        ("size on disk", f"{disk:.1f} kB, per structure {disk / summary.count:.1f} kB"),
        ("electron count", f"{len(summary.electron_errors)} records checked, largest error {worst:.1e} e"),
    ]


def _kind(density: Density) -> str:
    if isinstance(density, OrbitalDensity):
        return "coefficients"
    return "orbital" if not density.tabulated else "points" if density.native_grid is None else "grid"


def _span(values: list[int] | tuple[int, ...]) -> tuple[int, float, int]:
    return (min(values), sum(values) / len(values), max(values)) if values else (0, 0.0, 0)
