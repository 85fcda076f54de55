"""Densities that begin with free atoms: which stores they go with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orbdens.errors import UserError
from orbdens.observables.free_atoms import free_atom
from orbdens.store import Manifest


def free_atom_facts(manifest: Manifest, symbols: Collection[str]) -> dict[str, Any]:
    """Facts of a model whose densities begin with free atoms: ``valence_electrons`` and ``density``, their kind.

    Args:
        manifest: that of the training records' store.
        symbols: the elements that the model shall know.

    Raises:
        UserError: there is no free atom of an element, or it has other electrons than in the store.
    """
    electrons = {symbol: manifest.valence_electrons[symbol] for symbol in symbols}
    for symbol, expected in electrons.items():
        free = free_atom(symbol, "all-electron" if manifest.density == "all-electron" else "valence").n_electrons
        if round(free) != expected:
            raise UserError(
                f"{symbol} brings {expected} electrons into the densities of this store, but {free:.0f} as a free atom "
                "with a GTH pseudopotential: a model that begins with free atoms cannot learn from it"
            )
    return {"valence_electrons": electrons, "density": manifest.density}
