"""The store: an LMDB (or a folder of shards) of safetensors records beside a JSON manifest. No pickle, no torch.

What other packages use is here; ``orbdens.store.cache`` alone imports torch.
"""

from pathlib import Path

from orbdens import shipped
from orbdens.store.checks import check_record, check_splits
from orbdens.store.manifest import Manifest
from orbdens.store.reader import Store
from orbdens.store.records import (
    CoefficientRecord,
    GridRecord,
    LabelBasis,
    LabelShell,
    OrbitalRecord,
    PointsRecord,
    Record,
    SiteOrbitals,
)
from orbdens.store.salvage import FoundRecord, Salvage, write_anew
from orbdens.store.writer import StoreWriter

__all__ = [
    "CoefficientRecord",
    "FoundRecord",
    "GridRecord",
    "LabelBasis",
    "LabelShell",
    "Manifest",
    "OrbitalRecord",
    "PointsRecord",
    "Record",
    "Salvage",
    "SiteOrbitals",
    "Store",
    "StoreWriter",
    "check_record",
    "check_splits",
    "open_store",
    "write_anew",
]


def open_store(path: Path | str) -> Store:
    """Open a store by its path or by the name of the shipped one; UserError as ``Store``."""
    return Store(shipped.store_path() if str(path) == shipped.STORE else path)
