"""What ships inside the package, and the names by which users ask for it: weights, a store, free atoms, configs."""

from __future__ import annotations

from pathlib import Path

MODEL = "organics"
"""Weights for molecules of H, C, N, O and F."""

STORE = "lithium-oxide"
"""A store of 625 configurations of Li-O-Li, RKS/PBE, splits ``train`` and ``test``."""

HOME = Path(__file__).parent


def model_path() -> Path:
    """Folder of the weights called ``MODEL``."""
    return HOME / "organics"


def store_path() -> Path:
    """Folder of the store called ``STORE``."""
    return HOME / "lithium_oxide"


def free_atoms_path() -> Path:
    """Densities of free atoms, as ``data_tools/recipes/free_atoms.py`` writes them."""
    return HOME / "free_atoms.json"


def config_path(name: str) -> Path:
    """The config of a file name, which need not exist: from the installed package or, in a checkout, from beside it."""
    installed, checkout = HOME.parent / "configs", HOME.parent.parent / "configs"
    return (installed if installed.is_dir() else checkout) / name
