"""Variants of known molecules, their minima, and the choice of those a model knows least."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed, Calculator
from scipy.sparse.csgraph import connected_components

from data_tools.choices import ForceProgram
from data_tools.generation import forces, minima
from data_tools.generation.selecting import select
from data_tools.generation.settings import Settings
from orbdens.checkpoint import load_model
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.formats.structures import read_structures
from orbdens.structure import Structure

KNOWN = ["CCO", "C1CC1N", "CC(=O)F", "c1ccoc1", "C[CH]CO", "C[N+](=O)[O-]"]


def test_variants_are_new_closed_shell_molecules() -> None:
    pytest.importorskip("rdkit")
    from rdkit import Chem

    from data_tools.generation.variants import canonical, variants

    found = list(islice(variants(KNOWN, 6, seed=1), 300))
    assert len(found) == len(set(found)) == 300
    assert not set(found) & {canonical(smiles) for smiles in KNOWN}
    assert found == list(islice(variants(reversed(KNOWN), 6, seed=1), 300))
    assert found != list(islice(variants(KNOWN, 6, seed=2), 300))
    for smiles in found:
        molecule = Chem.MolFromSmiles(smiles)
        assert molecule.GetNumHeavyAtoms() <= 6
        assert {atom.GetSymbol() for atom in molecule.GetAtoms()} <= set("CNOF")
        assert sum(atom.GetAtomicNum() + atom.GetTotalNumHs() for atom in molecule.GetAtoms()) % 2 == 0
        assert all(atom.GetNumRadicalElectrons() == atom.GetFormalCharge() == 0 for atom in molecule.GetAtoms())


def test_variants_of_more_elements_and_ions() -> None:
    pytest.importorskip("rdkit")
    from rdkit import Chem

    from data_tools.generation.variants import canonical, variants

    known = ["CS(C)(=O)=O", "COP(=O)(O)O", "c1ccsc1", "CCCl", "CC(=O)[O-]", "CC[NH3+]"]
    elements = ("C", "N", "O", "P", "S", "Cl")
    found = list(islice(variants(known, 7, seed=3, elements=elements, charges=(-1, 0, 1)), 400))
    molecules = [Chem.MolFromSmiles(smiles) for smiles in found]
    assert {atom.GetSymbol() for molecule in molecules for atom in molecule.GetAtoms()} == set(elements)
    charges = [Chem.GetFormalCharge(molecule) for molecule in molecules]
    assert set(charges) == {-1, 0, 1}
    assert min(charges.count(charge) for charge in (-1, 1)) > 20
    for charge, molecule in zip(charges, molecules, strict=True):
        assert sum(abs(atom.GetFormalCharge()) for atom in molecule.GetAtoms()) == abs(charge)
        assert all(atom.GetNumRadicalElectrons() == 0 for atom in molecule.GetAtoms())
    for pattern in ("[S;v4,v6;!H0]", "[#6;+,-]", "[Cl;!D1;!D0]", "S#*"):
        assert not any(molecule.HasSubstructMatch(Chem.MolFromSmarts(pattern)) for molecule in molecules)
    anions = list(islice(variants(["CCO", "CS"], 3, seed=1, charges=(-1,)), 20))
    assert canonical("CC[O-]") in anions
    assert all("-" in smiles for smiles in anions)


def test_skeletons_of_ions_and_stereoisomers_are_equal() -> None:
    pytest.importorskip("rdkit")
    from data_tools.generation.variants import skeleton

    assert skeleton("CC(=O)[O-]") == skeleton("CC(=O)O") != skeleton("COC=O")
    assert skeleton("[NH2-]") == skeleton("N") == skeleton("[NH4+]")
    assert skeleton("C[C@H](N)C(=O)O") == skeleton("C[C@@H]([NH3+])C(=O)[O-]")
    assert skeleton("Cc1c[nH]cn1") == skeleton("Cc1cnc[nH]1")
    with pytest.raises(UserError, match="'C\\(' is no SMILES"):
        skeleton("C(")


def test_variants_end() -> None:
    pytest.importorskip("rdkit")
    from data_tools.generation.variants import variants

    assert set(variants(["C"], 1)) == {"N", "O", "F"}


def test_molecules_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    known, hidden, out = tmp_path / "known.smi", tmp_path / "hidden.smi", tmp_path / "new.xyz"
    known.write_text("C methane\nO\n\n")
    hidden.write_text("N\n")
    assert run(["data", "molecules", str(known), str(out)], debug=False) == 0
    methane, water = ase.io.read(out, ":")
    assert (methane.info["smiles"], water.info["smiles"]) == ("C", "O")
    assert water.get_angle(1, 0, 2) == pytest.approx(107, abs=2)  # GFN2-xTB
    assert run(["data", "molecules", str(known), str(out)], debug=False) == 2
    assert "--force replaces it" in capsys.readouterr().err
    arguments = [str(known), str(out), "--force", "--variants", "5", "--largest", "1", "--exclude", str(hidden)]
    assert run(["data", "molecules", *arguments], debug=False) == 0
    frames = ase.io.read(out, ":")
    assert [(str(frame.symbols), frame.info["smiles"]) for frame in frames] == [("FH", "F")]


def test_ions_and_pairs(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    known, hidden, out = tmp_path / "known.smi", tmp_path / "hidden.smi", tmp_path / "new.xyz"
    known.write_text("[NH4+] ion\nF.[F-] pair\n[O-]Cl\n")
    assert run(["data", "molecules", str(known), str(out)], debug=False) == 0
    assert [structure.charge for structure in read_structures(out)] == [1, -1, -1]
    assert ase.io.read(out, 1).get_all_distances()[np.triu_indices(3, 1)].min() == pytest.approx(0.93, abs=0.05)
    known.write_text("C\n")
    hidden.write_text("N\n")  # and so its ions
    wide = ["--force", "--variants", "9", "--largest", "1", "--elements", "N,O,S", "--charges", "-1,1"]
    assert run(["data", "molecules", str(known), str(out), *wide, "--exclude", str(hidden)], debug=False) == 0
    assert {(s.formula, s.charge) for s in read_structures(out)} == {("HO", -1), ("HS", -1), ("H3S", 1)}


def test_molecules_of_one_smiles_lie_side_by_side() -> None:
    pytest.importorskip("rdkit")
    from orbdens.formats.smiles import from_smiles

    for smiles in ("O.O", "CCO.c1ccccc1", "O.O.[OH3+]"):
        positions = from_smiles(smiles).positions
        near = np.linalg.norm(positions[:, None] - positions, axis=-1) < 1.8
        assert connected_components(near)[0] == len(smiles.split("."))


def test_hydrogen_fluoride_keeps_its_smiles(tmp_path: Path) -> None:
    """Its SMILES is F, which ASE would read as False."""
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    (tmp_path / "hf.smi").write_text("F\n")
    assert run(["data", "molecules", str(tmp_path / "hf.smi"), str(tmp_path / "hf.xyz")], debug=False) == 0
    assert ase.io.read(tmp_path / "hf.xyz").info["smiles"] == "F"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", [], "holds no SMILES"),
        ("C(\n", ["--variants", "3"], "'C(' is no SMILES"),
        ("C\n", ["--exclude", "x"], "--exclude goes with"),
        ("C\n", ["--variants", "3", "--charges", "one"], "expected charges as -1,0,1, but got 'one'"),
        ("C\n", ["--variants", "3", "--elements", "Xx"], "expected elements as C,O,H"),
    ],
)
def test_bad_smiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, arguments: list[str], message: str
) -> None:
    pytest.importorskip("rdkit")
    (tmp_path / "known.smi").write_text(content)
    assert (
        run(["data", "molecules", str(tmp_path / "known.smi"), str(tmp_path / "new.xyz"), *arguments], debug=False) == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new.xyz").exists()


def test_molecules_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    (tmp_path / "some.smi").write_text("O\nnonsense\n")
    assert run(["data", "molecules", str(tmp_path / "some.smi"), str(tmp_path / "some.xyz")], debug=False) == 0
    assert "1 left out; 'nonsense' is no SMILES" in capsys.readouterr().err
    assert len(read_structures(tmp_path / "some.xyz")) == 1


def test_forces_that_do_not_converge_leave_one_molecule_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")

    class Unconverged(Calculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

        def calculate(self, *args: object, **kwargs: object) -> None:
            raise CalculationFailed("SCF not converged")

    def calculator(program: ForceProgram, structure: Structure, settings: Settings) -> Calculator:
        return Unconverged() if structure.formula == "CH4" else forces.calculator(program, structure, settings)

    monkeypatch.setattr(minima, "calculator", calculator)
    skipped = minima.write_minima(["C", "O"], tmp_path / "out.xyz", "tblite")
    assert skipped == {"C": "no forces on CH4 from tblite: SCF not converged"}
    assert [structure.formula for structure in read_structures(tmp_path / "out.xyz")] == ["H2O"]


def test_nothing_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    known, out = tmp_path / "known.smi", tmp_path / "new.xyz"
    known.write_text("nonsense\n")
    assert run(["data", "molecules", str(known), str(out)], debug=False) == 2
    assert "no molecule could be relaxed; 'nonsense' is no SMILES" in capsys.readouterr().err
    known.write_text("C\n")
    assert run(["data", "molecules", str(known), str(out), "--forces", "mopac"], debug=False) == 2
    assert "'mopac' is not one of 'pyscf', 'tblite'" in capsys.readouterr().err
    assert run(["data", "molecules", str(tmp_path / "none.smi"), str(out)], debug=False) == 2
    assert "none.smi: no such file or directory" in capsys.readouterr().err.replace("\n", "")
    assert not out.exists()


def test_select(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("organics").mkdir()  # whatever is called so here, no model was named
    rng = np.random.default_rng(0)
    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    frames = []
    for i in range(6):
        frames.append(water.copy())
        frames[-1].positions += (0.02 if i % 2 else 0.15) * rng.standard_normal((3, 3))
    ase.io.write(tmp_path / "a.xyz", frames[:4])
    ase.io.write(tmp_path / "b.xyz", frames[4:])
    files = [tmp_path / "a.xyz", tmp_path / "b.xyz"]
    fields = load_model().predict([s for file in files for s in read_structures(file)])
    errors = np.array([field.expected_error for field in fields])
    chosen = sorted(np.argsort(errors)[-2:])
    assert run(["data", "select", *map(str, files), str(tmp_path / "next.xyz"), "--n", "2"], debug=False) == 0
    assert "2 structures of expected NMAE from" in capsys.readouterr().out
    taken = ase.io.read(tmp_path / "next.xyz", ":")
    np.testing.assert_allclose([frame.info["expected_nmae"] for frame in taken], errors[chosen], atol=1e-4)
    for frame, i in zip(taken, chosen, strict=True):
        np.testing.assert_allclose(frame.positions, frames[i].positions, atol=1e-7)
    with pytest.raises(UserError, match="7 structures cannot be chosen from 6"):
        select(None, files, tmp_path / "more.xyz", 7)
    assert not (tmp_path / "more.xyz").exists()
