"""The structures of the exam: molecules that people really have, and none that a model of ours was trained on for it.

Every group becomes a store of its own. A structure has a name, and in ``info`` its charge (e) and multiplicity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import ase
import numpy as np
from ase.build import molecule
from ase.collections import g2

from data_tools.generation.minima import find_minimum
from data_tools.generation.sampling import LEVEL_OF_FORCES
from data_tools.recipes.general import DISTORTIONS, pairs
from orbdens.formats.smiles import from_smiles
from orbdens.sites import bonds_of
from orbdens.structure import Structure

Named = tuple[str, ase.Atoms]

ELEMENTS = {"H", "C", "N", "O", "F", "P", "S", "Cl"}

# fmt: off
LEFT_OUT = frozenset((
    "P2", "CS", "OCHCHO", "CH3COF", "CH2NHCH2", "bicyclobutane", "ClNO", "methylenecyclopropane", "cyclobutene",
    "CH3ONO", "CH2OCH2", "H2CCHCN", "C5H5N", "CH2_s1A1d", "C4H4O", "H2CCHF", "O3", "COF2", "N2O", "F2O", "CF3CN",
    "C2F4", "NF3", "CH3COCl", "C5H8", "CH2SCH2", "C3H4_C2v", "ClF3",
))
# fmt: on
"""Closed-shell molecules of G2 that stay out of all training."""

SEED = 42
"""Of the coordinates that RDKit makes of a SMILES."""

X_RAY_CH = 0.97
"""Å; how long C-H bonds are where X-rays tell."""

SMILES = {
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "acetate": "CC(=O)[O-]",
    "formate": "[O-]C=O",
    "ethoxide": "CC[O-]",
    "ammonium": "[NH4+]",
    "methyl radical": "[CH3]",
}
"""What a chemist tries first."""

DRUGS = {
    "sulfamethoxazole": "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1",
    "chlorpromazine cation": "C[NH+](C)CCCN1c2ccccc2Sc2ccc(Cl)cc21",
    "clopidogrel": "COC(=O)[C@H](c1ccccc1Cl)N1CCc2sccc2C1",
    "aspartame zwitterion": "COC(=O)[C@H](Cc1ccccc1)NC(=O)[C@@H]([NH3+])CC(=O)[O-]",
    "diclofenac anion": "O=C([O-])Cc1ccccc1Nc1c(Cl)cccc1Cl",
    "celecoxib": "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "indomethacin anion": "COc1ccc2c(c1)c(CC(=O)[O-])c(C)n2C(=O)c1ccc(Cl)cc1",
}
"""Drug molecules of 17 to 26 heavy atoms that stay out of all training."""


FRESH = Path(__file__).parent.parent / "data" / "exam" / "fresh.smi"
"""A SMILES a line, and a name for some: molecules and ions that no training and no choice ever saw."""

N_PAIRS = 20
"""Of fresh molecules."""


def small_molecules() -> Iterator[Named]:
    """The closed-shell molecules of G2, in the geometries of that collection."""
    yield from (one for one in _g2() if one[1].info["multiplicity"] == 1)


def open_shells() -> Iterator[Named]:
    """The radicals and triplets of G2, likewise."""
    yield from (one for one in _g2() if one[1].info["multiplicity"] > 1)


def scaled() -> Iterator[Named]:
    """Ethylene oxide and ethanol, stretched and pressed, and with the C-H bonds of X-rays."""
    for label, name, factors in (
        ("ethylene oxide", "CH2OCH2", (0.95, 1.05, 1.1)),
        ("ethanol", "CH3CH2OH", (0.95, 1.05, 1.1, 1.2)),
    ):
        for factor in factors:
            atoms = molecule(name)
            atoms.positions *= factor
            yield f"{label} x {factor:g}", atoms
    atoms = molecule("CH2OCH2")
    carbons = np.flatnonzero(atoms.numbers == 6)
    for hydrogen in np.flatnonzero(atoms.numbers == 1):
        carbon = carbons[atoms.get_distances(hydrogen, carbons).argmin()]
        atoms.set_distance(carbon, hydrogen, X_RAY_CH, fix=0)
    yield f"ethylene oxide, C-H {X_RAY_CH:g} Å", atoms


def tried_first() -> Iterator[Named]:
    """The molecules of ``SMILES`` in the geometries of MMFF94, the small ones also at the minimum of GFN2-xTB."""
    for name, smiles in SMILES.items():
        start = from_smiles(smiles, SEED)
        yield f"{name}, MMFF94", start.to_ase()
        if start.n_atoms < 10:
            yield f"{name}, GFN2-xTB", _relaxed(start)


def drugs() -> Iterator[Named]:
    """The molecules of ``DRUGS`` at minima of GFN2-xTB; where a proton would leave for another atom, of MMFF94."""
    for name, smiles in DRUGS.items():
        start = from_smiles(smiles, SEED)
        atoms = _relaxed(start)
        kept = _same_bonds(Structure.from_ase(atoms), start)
        atoms = atoms if kept else start.to_ase()
        atoms.info["geometry"] = "GFN2-xTB" if kept else "MMFF94"
        atoms.info["smiles"] = smiles
        yield name, atoms


def fresh() -> Iterator[Named]:
    """Minima of GFN2-xTB of the molecules of ``FRESH``, distorted copies of every second one, and pairs of them."""
    minima = []
    for line in FRESH.read_text(encoding="utf-8").splitlines():
        smiles, _, name = line.partition(" ")
        if not line.startswith("#"):
            start = from_smiles(smiles, SEED)
            atoms = _relaxed(start)
            if _same_bonds(Structure.from_ase(atoms), start):  # no proton left, nothing fell apart
                atoms.info |= {"kind": "minimum", "smiles": smiles}
                minima.append((name or smiles, atoms))
    yield from minima
    rng = np.random.default_rng(SEED)
    for (name, atoms), distortion in zip(minima[::2], cycle(DISTORTIONS), strict=False):
        changed = distortion.copy(Structure.from_ase(atoms), rng).to_ase()
        changed.info["kind"] = "distorted"
        yield f"{name}, distorted", changed
    for number, structure in enumerate(
        pairs([Structure.from_ase(atoms) for _, atoms in minima], N_PAIRS, rng), start=1
    ):
        both = structure.to_ase()
        both.info["kind"] = "pair"
        yield f"pair {number}, {both.symbols}", both


def far_pairs() -> Iterator[tuple[str, ase.Atoms, ase.Atoms]]:
    """Two molecules each that have nothing to do with one another; no density of DFT is needed to say so."""
    yield "CH4 + H2O", molecule("CH4"), molecule("H2O")
    yield "C6H6 + NH3", molecule("C6H6"), molecule("NH3")
    yield "ethanol twice", molecule("CH3CH2OH"), molecule("CH3CH2OH")


GROUPS: dict[str, Callable[[], Iterator[Named]]] = {
    "g2": small_molecules,
    "scaled": scaled,
    "first": tried_first,
    "radicals": open_shells,
    "drugs": drugs,
    "fresh": fresh,
}
"""Groups by the names of their stores, the cheap ones first."""


def _g2() -> Iterator[Named]:
    for name in g2.names:
        atoms = molecule(name)
        if len(atoms) > 1 and set(atoms.symbols) <= ELEMENTS:
            atoms.info["multiplicity"] = 1 + round(abs(atoms.get_initial_magnetic_moments().sum()))
            yield name, atoms


def _relaxed(start: Structure) -> ase.Atoms:
    atoms = find_minimum(start, "tblite", LEVEL_OF_FORCES)
    atoms.info |= {"charge": start.charge, "multiplicity": start.multiplicity}
    return atoms


def _same_bonds(first: Structure, second: Structure) -> bool:
    def pairs_of(structure: Structure) -> set[tuple[int, int]]:
        bonds = bonds_of(structure)
        return set(zip(bonds.first.tolist(), bonds.second.tolist(), strict=True))

    return pairs_of(first) == pairs_of(second)
