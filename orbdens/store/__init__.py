"""The store: an LMDB (or a folder of shards) of safetensors records beside a JSON manifest. No pickle, no torch."""

from pathlib import Path

from orbdens import shipped
from orbdens.store.manifest import Manifest
from orbdens.store.reader import Store
from orbdens.store.records import GridRecord, LabelBasis, LabelShell, OrbitalRecord, Record
from orbdens.store.writer import StoreWriter

__all__ = [
    "GridRecord",
    "LabelBasis",
    "LabelShell",
    "Manifest",
    "OrbitalRecord",
    "Record",
    "Store",
    "StoreWriter",
    "open_store",
]


def open_store(path: Path | str) -> Store:
    """Open a store by its path or by the name of the shipped one; UserError as ``Store``."""
    return Store(shipped.store_path() if str(path) == shipped.STORE else path)
