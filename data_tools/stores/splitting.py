"""Named splits of a store: at random, by size, by composition, or from a file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.store import Store
from orbdens.store.checks import check_splits

Splits = dict[str, list[str]]
Progress = Callable[[int, int], None]

WAYS = ("random", "size", "composition")


def split_store(
    store: Store,
    shares: Mapping[str, float],
    by: str = "random",
    seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Splits:
    """Choose named splits; every split has its keys in the order of the store, and no key is in two.

    Args:
        store: to split.
        shares: of the named splits, adding up to at most 1; splits of share 0 are left out.
        by: ``random``; ``size``: the structures with most atoms go to ``test`` (chance decides between equals), the
            others at random; ``composition``: all structures of one formula go to one split, so that the shares hold
            only about.
        seed: of all chance.
        on_progress: called with records read and in all.

    Raises:
        UserError: unknown way, impossible shares, or a split would be empty.
    """
    shares = {name: share for name, share in shares.items() if share != 0}
    total = sum(shares.values())
    if by not in WAYS:
        raise UserError(f"a store is split by {', '.join(WAYS[:-1])} or {WAYS[-1]}, not by '{by}'")
    if not shares or min(shares.values()) < 0 or not total <= 1 + 1e-9:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise UserError(
            f"the shares of the splits must be positive and add up to at most 1, but got {listed or 'none'}"
        )
    keys = store.keys()
    rng = np.random.default_rng(seed)
    if by == "composition":
        parts = _by_composition(_of_each(store, keys, lambda s: s.formula, on_progress), shares, rng)
    else:
        order = rng.permutation(len(keys))
        names = list(shares)
        if by == "size":
            sizes = np.array(_of_each(store, keys, lambda s: s.n_atoms, on_progress))
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


def read_splits(file: Path, store: Store) -> Splits:
    """Splits from a JSON file ``{name: [keys, or places among all keys in byte order, from 0]}``.

    Raises:
        UserError: no such file, not of that form, a record that the store does not have, or one in two splits.
    """
    try:
        tree: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from None
    if not isinstance(tree, dict) or not all(isinstance(members, list) for members in tree.values()):
        raise UserError(f"{file} should hold {{name of a split: [keys or places]}}")
    keys = store.keys()
    splits: Splits = {}
    for name, members in tree.items():
        chosen = splits[name] = []
        for member in members:
            if isinstance(member, int) and not isinstance(member, bool):
                if not 0 <= member < len(keys):
                    raise UserError(
                        f"split '{name}' of {file} names place {member}, {store.path} has {len(keys)} records"
                    )
                chosen.append(keys[member])
            elif isinstance(member, str):
                chosen.append(member)
            else:
                raise UserError(f"split '{name}' of {file} holds {member!r}, expected a key or a place")
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


def _of_each(store: Store, keys: Sequence[str], figure: Callable[[Any], Any], on_progress: Progress) -> list[Any]:
    """A figure of the structure of every record."""
    figures = []
    for done, key in enumerate(keys, start=1):
        figures.append(figure(store[key].structure))
        on_progress(done, len(keys))
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
