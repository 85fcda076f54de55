"""Named splits of a store: at random, by size, by composition, or from a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.choices import SplitWay
from data_tools.stores.split_files import read_split_file
from orbdens.errors import UserError
from orbdens.progress import Progress, silent
from orbdens.store import Store
from orbdens.store.checks import check_splits

Splits = dict[str, list[str]]


def split_store(
    store: Store,
    shares: Mapping[str, float],
    by: SplitWay = "random",
    seed: int = 0,
    progress: Progress = silent,
) -> Splits:
    """Choose named splits; every split has its keys in the order of the store, and no key is in two.

    Args:
        store: to split.
        shares: shares of the named splits, adding up to at most 1; splits of share 0 are left out.
        by: ``random``; ``size``: the structures with most atoms go to ``test`` (equals at random), the
            others at random; ``composition``: all structures of one formula go to one split, so that the shares hold
            only about.
        seed: seed of the random splits.
        progress: told of the work.

    Raises:
        UserError: impossible shares, or a split would be empty.
    """
    shares = {name: share for name, share in shares.items() if share != 0}
    total = sum(shares.values())
    if not shares or min(shares.values()) < 0 or not total <= 1 + 1e-9:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise UserError(
            f"the shares of the splits must be positive and add up to at most 1, but got {listed or 'none'}"
        )
    keys = store.keys()
    rng = np.random.default_rng(seed)
    if by == "composition":
        parts = _by_composition(_of_each(store, keys, lambda s: s.formula, progress), shares, rng)
    else:
        order = rng.permutation(len(keys))
        names = list(shares)
        if by == "size":
            sizes = np.array(_of_each(store, keys, lambda s: s.n_atoms, progress))
            # test is cut off the end of the order, and what is left out of all splits comes from the others
            order = order[np.argsort(sizes[order], kind="stable")]
            if "test" in shares:
                n_test = round(shares["test"] * len(keys))
                order = np.concatenate([order[len(order) - n_test :], rng.permutation(order[: len(order) - n_test])])
                names = ["test", *(name for name in names if name != "test")]
        parts = _cut(order, {name: shares[name] for name in names})
    for name, share in shares.items():
        if not parts[name]:
            raise UserError(
                f"split '{name}' of share {share:g} would have none of the {len(keys)} records of {store.path}, "
                f"split by {by}"
            )
    return {name: [keys[i] for i in sorted(parts[name])] for name in shares}


def random_splits(keys: Sequence[str], shares: Mapping[str, float], seed: int) -> Splits:
    """Splits of given shares drawn at random, each in the order of the keys; any may be empty."""
    parts = _cut(np.random.default_rng(seed).permutation(len(keys)), shares)
    return {name: [keys[i] for i in sorted(part)] for name, part in parts.items()}


def _cut(order: NDArray[np.int64], shares: Mapping[str, float]) -> dict[str, list[int]]:
    cuts = np.round(np.cumsum([0.0, *shares.values()]) * len(order) - 1e-9).astype(int)
    return {name: order[a:b].tolist() for name, (a, b) in zip(shares, pairwise(cuts), strict=True)}


def splits_of_file(file: Path, store: Store) -> Splits:
    """Splits of a store from a file of keys, or of places among all keys in byte order, see ``read_split_file``.

    Raises:
        UserError: the file cannot be read, it names a record that the store does not have, or one in two splits.
    """
    keys = store.keys()
    splits: Splits = {}
    for name, entries in read_split_file(file).items():
        outside = [entry for entry in entries if isinstance(entry, int) and entry >= len(keys)]
        if outside:
            raise UserError(f"split '{name}' of {file} names place {outside[0]}, {store.path} has {len(keys)} records")
        splits[name] = [keys[entry] if isinstance(entry, int) else entry for entry in entries]
    check_splits(splits, set(keys).__contains__, store.path)
    return splits


def write_splits(store: Store, splits: Splits, overwrite: bool = False) -> None:
    """Put splits into the manifest of a store, in place of those it has.

    Raises:
        UserError: the store is not finished, or has splits already and ``overwrite`` is off, or cannot be written.
    """
    manifest = store.manifest
    check_finished(store)
    if manifest.splits and not overwrite:
        raise UserError(f"{store.path} has the splits {', '.join(manifest.splits)}; --force replaces them")
    store.manifest = replace(manifest, splits=splits)
    try:
        store.manifest.write(store.path)
    except OSError as error:
        raise UserError(f"{store.path} cannot be written: {error.strerror}") from None


def check_finished(store: Store) -> None:
    """Raise UserError if a writer has not finished a store."""
    if not store.manifest.finished:
        raise UserError(
            f"{store.path} is not finished: resume what made it, or keep what it has with orbdens data verify --repair"
        )


def _of_each(store: Store, keys: Sequence[str], figure: Callable[[Any], Any], progress: Progress) -> list[Any]:
    """A figure of the structure of every record."""
    figures = []
    for done, key in enumerate(keys, start=1):
        figures.append(figure(store.structure(key)))
        progress("reading", done, len(keys))
    return figures


def _by_composition(
    formulas: Sequence[str], shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, list[int]]:
    """Places by split: formulas with most structures first, each to the split that lacks most of its share."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, formula in enumerate(formulas):
        groups[formula].append(place)
    names = [*shares, ""]
    lacking: NDArray[np.float64] = np.array([*shares.values(), max(0.0, 1 - sum(shares.values()))]) * len(formulas)
    parts: dict[str, list[int]] = {name: [] for name in names}
    ordered = [list(groups)[i] for i in rng.permutation(len(groups))]
    for n_before, formula in enumerate(sorted(ordered, key=lambda formula: -len(groups[formula]))):
        # the last formulas go to splits that have nothing yet
        empty = [i for i, name in enumerate(shares) if not parts[name]]
        allowed = empty if len(groups) - n_before <= len(empty) else range(len(names))
        chosen = max(allowed, key=lambda i: float(lacking[i]))
        parts[names[chosen]] += groups[formula]
        lacking[chosen] -= len(groups[formula])
    return parts
