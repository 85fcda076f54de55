"""The list of molecules of the general weights, and the structures made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.data.vdw import vdw_radii

from data_tools.recipes.general import LARGEST_DISTORTED, MOLECULES, pair, pairs, write
from orbdens.formats.structures import read_structures
from orbdens.structure import Structure


@pytest.mark.parametrize("gap", [-0.5, 0.0, 3.0])
def test_a_pair_has_the_gap_asked_for(gap: float) -> None:
    water, methane = (Structure.from_ase(molecule(name)) for name in ("H2O", "CH4"))
    rng = np.random.default_rng(0)
    for _ in range(10):
        made = pair(water, methane, gap, rng)
        one, other = made.positions[:3], made.positions[3:]
        distances = np.linalg.norm(one[:, None] - other, axis=-1)
        radii = vdw_radii[water.numbers][:, None] + vdw_radii[methane.numbers]
        assert (distances - radii).min() == pytest.approx(gap, abs=1e-9)
        for part, whole in ((one, water), (other, methane)):
            for i in range(len(part)):
                np.testing.assert_allclose(
                    np.linalg.norm(part - part[i], axis=1), np.linalg.norm(whole.positions - whole.positions[i], axis=1)
                )


def test_pairs_hold_ions_of_all_kinds() -> None:
    water = Structure.from_ase(molecule("H2O"))
    ions = [Structure(np.array([z]), np.zeros((1, 3)), charge=charge) for z, charge in ((9, -1), (11, 1))]
    found = list(pairs([water, *ions], 200, np.random.default_rng(0)))
    kinds = [(made.formula, made.charge) for made in found]
    assert set(kinds) == {("H4O2", 0), ("H2FO", -1), ("H2NaO", 1), ("FNa", 0)}
    assert kinds.count(("H4O2", 0)) == pytest.approx(100, abs=25)


def test_the_list_holds_closed_shell_molecules_of_the_elements_once() -> None:
    pytest.importorskip("rdkit")
    from rdkit import Chem

    text = MOLECULES.read_text(encoding="utf-8").splitlines()
    lines = [line.split() for line in text if not line.startswith("#")]
    assert all(len(line) == 2 for line in lines)
    molecules = [Chem.MolFromSmiles(smiles) for smiles, _ in lines]
    assert len({Chem.MolToSmiles(found) for found in molecules}) == len(lines) > 800
    for found in molecules:
        assert {atom.GetSymbol() for atom in found.GetAtoms()} <= {"H", "C", "N", "O", "F", "P", "S", "Cl"}
        assert not any(atom.GetNumRadicalElectrons() for atom in found.GetAtoms())


def test_write(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    smiles = tmp_path / "few.smi"
    smiles.write_text("O\n[F-] ion\n[NH4+] ion\n" + "C" * (LARGEST_DISTORTED + 1) + " chain\n")
    write(tmp_path / "out", smiles, n_pairs=5)
    minima, distorted, made = (read_structures(tmp_path / "out" / f"{n}.xyz") for n in ("minima", "distorted", "pairs"))
    assert [structure.charge for structure in minima] == [0, -1, 1, 0]
    assert [structure.formula for structure in distorted] == ["H2O", "H4N"]
    assert [structure.charge for structure in distorted] == [0, 1]
    assert len(made) == 5
