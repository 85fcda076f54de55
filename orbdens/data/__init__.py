"""Stores of densities, and what training reads from them."""

from pathlib import Path


def lithium_oxide_path() -> Path:
    """The store that ships with the package: 625 configurations of Li-O-Li, RKS/PBE, splits ``train`` and ``test``."""
    return Path(__file__).parent / "lithium_oxide"
