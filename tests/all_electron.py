"""Records with cores, small enough for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyscf import gto, scf

from orbdens.pyscf.bases import label_basis
from orbdens.pyscf.records import orbital_record, without_checkpoint
from orbdens.store import Manifest, OrbitalRecord, StoreWriter
from orbdens.structure import Structure

ELECTRONS = {"H": 1, "O": 8}
CENTRED = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.47], [0.0, -0.757, -0.47]])


def hartree_fock(positions: NDArray[np.float64]) -> tuple[OrbitalRecord, Manifest]:
    """The RHF/6-31G density of a water with its atoms O, H, H at positions in Å, and the manifest that it needs."""
    mol = gto.M(atom=list(zip("OHH", positions, strict=True)), basis="6-31g", verbose=0)
    mf = without_checkpoint(scf.RHF(mol))
    mf.kernel()
    record = orbital_record(mf, Structure(np.array([8, 1, 1]), positions))
    return record, Manifest({}, "all-electron", ELECTRONS, label_basis(mol))


def all_electron_store(folder: Path) -> Path:
    """A store of four distorted waters with all electrons, three in the split ``train`` and one in ``test``."""
    rng = np.random.default_rng(0)
    records = [hartree_fock(CENTRED + 0.05 * rng.normal(size=(3, 3))) for _ in range(4)]
    with StoreWriter(folder / "cores.store", records[0][1]) as writer:
        for i, (record, _) in enumerate(records):
            writer.put(f"water-{i}", record)
        writer.finish({"train": [f"water-{i}" for i in range(3)], "test": ["water-3"]})
    return folder / "cores.store"
