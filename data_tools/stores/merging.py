"""Stores made of the records of others: a part of one, or several of one level of theory together."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from data_tools.stores.rounding import Rounding
from data_tools.stores.splitting import check_finished
from orbdens.errors import UserError
from orbdens.progress import Progress, silent
from orbdens.sampling import evenly_spaced
from orbdens.store import LabelBasis, Manifest, Store, StoreWriter

LEVEL = {"method", "xc", "basis", "pseudo"}
"""What makes a level of theory: a store that does not state one of these is merged only with others that do not."""


def subset(
    store: Store,
    out: Path,
    *,
    split: str | None = None,
    keys: Sequence[str] | None = None,
    elements: Collection[str] | None = None,
    n: int | None = None,
    float16: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Make a store of some records of another; the named splits keep what is left of them.

    Args:
        store: to take from.
        out: folder of the new store.
        split: only records of this named split.
        keys: only these.
        elements: only structures with no other elements than these.
        n: at most so many of all that, evenly spaced.
        float16: round the values of grids to half precision; the error it makes goes into the provenance.
        overwrite: replace a store at ``out``.
        progress: told of the work.

    Returns:
        Number of records.

    Raises:
        UserError: no such split, key or element, nothing is left, ``out`` exists, or a record cannot be read.
    """
    check_finished(store)
    _check_places(out, [store])
    chosen = store.keys(split)
    if keys is not None:
        # a dictionary keeps the order of the file and drops repetitions
        wanted, known = dict.fromkeys(keys), set(chosen)
        missing = [key for key in wanted if key not in known]
        if missing:
            raise UserError(f"{store.path} has no record '{missing[0]}'" + (f" in split '{split}'" if split else ""))
        chosen = list(wanted)
    if elements is not None:
        unknown = [symbol for symbol in elements if symbol not in atomic_numbers]
        if unknown:
            raise UserError(f"'{unknown[0]}' is not the symbol of an element")
        allowed = [int(atomic_numbers[symbol]) for symbol in elements]
        chosen = [key for key in chosen if np.isin(store.structure(key).numbers, allowed).all()]
    if n is not None:
        chosen = evenly_spaced(chosen, n)
    if not chosen:
        raise UserError(f"no record of {store.path} is left to make {out} of")
    recipe = {"split": split, "elements": sorted(elements) if elements else None, "n": n}
    provenance = {
        "command": "orbdens data subset",
        "chosen": {name: value for name, value in recipe.items() if value is not None},
        "source": _source(store),
    }
    left = set(chosen)
    splits = {name: [key for key in members if key in left] for name, members in store.manifest.splits.items()}
    with StoreWriter(out, replace(store.manifest, provenance=provenance), overwrite=overwrite) as writer:
        rounding = Rounding(out)
        rounding.forget()
        for done, key in enumerate(chosen, start=1):
            record = store[key]
            if float16:
                record = rounding.round(key, record, f"record '{key}' of {store.path}")
                rounding.write()
            writer.put(key, record)
            progress("writing", done, len(chosen))
        writer.manifest = replace(writer.manifest, provenance={**provenance, **rounding.provenance()})
        writer.finish({name: members for name, members in splits.items() if members})
        rounding.forget()
    return len(chosen)


def merge(
    stores: Sequence[Store],
    out: Path,
    *,
    prefix: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Make a store of all records of several; splits of one name are joined.

    Args:
        stores: stores of one level of theory and label basis; an element may be missing in some.
        out: folder of the new store.
        prefix: put the name of its store before every key, where keys clash otherwise.
        overwrite: replace a store at ``out``.
        progress: told of the work.

    Returns:
        Number of records.

    Raises:
        UserError: two stores differ in their level of theory or basis, two records have one key, ``out`` exists, or a
            record cannot be read.
    """
    for store in stores:
        check_finished(store)
    _check_places(out, stores)
    manifest = _joined(stores)
    names = [f"{store.path.resolve().name}-" if prefix else "" for store in stores]
    taken: dict[str, Path] = {}
    splits: dict[str, list[str]] = {}
    for store, name in zip(stores, names, strict=True):
        for key in store.keys():  # noqa: SIM118
            if name + key in taken:
                cure = "rename the folders" if prefix else "--prefix puts the store's name before every key"
                raise UserError(f"{taken[name + key]} and {store.path} both have a record '{name + key}'; {cure}")
            taken[name + key] = store.path
        for split, members in store.manifest.splits.items():
            splits.setdefault(split, []).extend(name + key for key in members)
    done = 0
    with StoreWriter(out, manifest, overwrite=overwrite) as writer:
        for store, name in zip(stores, names, strict=True):
            for key in store.keys():  # noqa: SIM118
                writer.put(name + key, store[key])
                done += 1
                progress("writing", done, len(taken))
        writer.finish(splits)
    return done


def first_difference(a: Manifest, b: Manifest) -> str | None:
    """What keeps the records of two stores from being in one; None if nothing does.

    The program (``code``) may differ in its version; an element that only one of them has does not matter, nor does a
    setting of the calculation (grid, tolerance, ...) that only one of them states.
    """
    stated_by_both = a.level.keys() & b.level.keys()
    for name in sorted((stated_by_both | LEVEL & {*a.level, *b.level}) - {"code"}):
        if _plain(a.level.get(name)) != _plain(b.level.get(name)):
            return f"{name} ({a.level.get(name)} and {b.level.get(name)})"
    if a.density != b.density:
        return f"density ({a.density} and {b.density})"
    if (a.label_basis is None) != (b.label_basis is None):
        return "kind: one holds orbitals, the other grids"
    if a.site_orbitals != b.site_orbitals:
        return "orbitals of sites"
    for symbol in a.valence_electrons:
        if a.valence_electrons[symbol] != b.valence_electrons.get(symbol, a.valence_electrons[symbol]):
            return f"electrons of {symbol} ({a.valence_electrons[symbol]} and {b.valence_electrons[symbol]})"
    if a.label_basis is not None and b.label_basis is not None:
        shells, others = a.label_basis.elements, b.label_basis.elements
        for symbol in shells:
            if shells[symbol] != others.get(symbol, shells[symbol]):
                return f"label basis of {symbol}"
    return None


def _joined(stores: Sequence[Store]) -> Manifest:
    first = stores[0].manifest
    elements: dict[str, Any] = {}
    electrons: dict[str, int] = {}
    programs: list[str] = []
    for a, b in combinations(stores, 2):
        difference = first_difference(a.manifest, b.manifest)
        if difference is not None:
            raise UserError(f"{a.path} and {b.path} cannot be merged: they differ in {difference}")
    for store in stores:
        elements |= store.manifest.label_basis.elements if store.manifest.label_basis else {}
        electrons |= store.manifest.valence_electrons
        programs.append(str(store.manifest.level.get("code")))
    level = dict(first.level)
    if len(set(programs)) > 1:
        level["code"] = ", ".join(dict.fromkeys(programs))
    return replace(
        first,
        level=level,
        provenance={"command": "orbdens data merge", "sources": [_source(store) for store in stores]},
        label_basis=LabelBasis(elements) if first.label_basis else None,
        valence_electrons={symbol: electrons[symbol] for symbol in sorted(electrons, key=atomic_numbers.__getitem__)},
    )


def _source(store: Store) -> dict[str, Any]:
    """Where records were taken from, for the provenance of where they go."""
    manifest = store.manifest
    return {
        "store": store.path.resolve().name,
        "count": manifest.count,
        "code": manifest.level.get("code"),
        "provenance": dict(manifest.provenance),
    }


def _check_places(out: Path, stores: Sequence[Store]) -> None:
    """Raise UserError if a store comes twice, or would be replaced by what is made of it."""
    places = [store.path.resolve() for store in stores]
    for place, store in zip(places, stores, strict=True):
        if place == out.resolve():
            raise UserError(f"{store.path} cannot be made of itself; choose another folder")
        if places.count(place) > 1:
            raise UserError(f"{store.path} is named twice")


def _plain(value: Any) -> Any:
    """As it comes back from the manifest; names of functionals and bases are written in either case."""
    return json.loads(json.dumps(value).lower())
