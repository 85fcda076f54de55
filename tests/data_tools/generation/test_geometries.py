"""Sampled geometries: reproducible, resumable, of the right temperature, and ready for ``generate``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.morse import MorsePotential

from data_tools.generation.forces import PySCFForces
from data_tools.generation.geometries import write_geometries
from data_tools.generation.normal_modes import SOFTEST, normal_mode_spread
from data_tools.generation.rdkit_bridge import find_molecule
from data_tools.generation.sampling import Sampling
from data_tools.generation.settings import Settings
from data_tools.generation.structures import Structures
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.structure import Structure

QUICK = Settings(basis="sto-3g", pseudo=None, grid_level=0, conv_tol=1e-8)
HYDROGEN = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0.1, 0.2, 0.72]]))
MD = Sampling(frames=4, every=1.0, equilibration=1.0, settings=QUICK)
MODES = Sampling(method="normal-modes", frames=200, settings=QUICK)


def test_forces_are_derivatives() -> None:
    radical = Structure(np.array([8, 1]), np.array([[0.0, 0, 0], [0.1, 0.2, 0.95]]), multiplicity=2)
    atoms = ase.Atoms(radical.numbers, radical.positions, calculator=PySCFForces(radical, replace(QUICK, grid_level=1)))
    forces = atoms.get_forces()
    energies = []
    for step in (0.005, -0.005):
        atoms.positions = radical.positions
        atoms.positions[1, 2] += step
        energies.append(atoms.get_potential_energy())
    assert forces[1, 2] == pytest.approx((energies[1] - energies[0]) / 0.01, abs=0.02)


def test_dynamics_resume_bit_for_bit(tmp_path: Path) -> None:
    whole, again = tmp_path / "whole.xyz", tmp_path / "again.xyz"
    write_geometries(HYDROGEN, whole, MD)
    lines = whole.read_text().splitlines(keepends=True)
    # killed within the third frame
    part = tmp_path / "again.xyz.part"
    part.write_text("".join(lines[:8]) + lines[8][:5])
    assert write_geometries(HYDROGEN, again, MD, resume=True) == 2
    assert again.read_text() == whole.read_text()
    assert not part.exists()
    frames = ase.io.read(whole, ":")
    assert len(frames) == 4
    assert len({frame.positions.tobytes() for frame in frames}) == 4
    assert abs(np.stack([frame.get_momenta().sum(axis=0) for frame in frames])).max() < 1e-6
    source = Structures.read([whole])
    assert [(s.charge, s.multiplicity, s.periodic) for s in source.structures] == [(0, 1, False)] * 4


def test_resume_refuses_another_run(tmp_path: Path) -> None:
    frame = f"2\nsampling={MD.name(HYDROGEN)}\nH 0 0 0\nH 0 0 1\n"
    part = tmp_path / "a.xyz.part"
    part.write_text(frame)
    with pytest.raises(UserError, match="of another molecule or was begun with other options"):
        write_geometries(HYDROGEN, tmp_path / "a.xyz", replace(MD, temperature=200.0), resume=True)
    assert part.read_text() == frame
    (tmp_path / "a.xyz").write_text(frame)
    with pytest.raises(UserError, match="exists; --force replaces it"):
        write_geometries(HYDROGEN, tmp_path / "a.xyz", MD)


def test_frames_of_an_interrupted_run_are_not_lost_without_resume(tmp_path: Path) -> None:
    frame = f"2\nsampling={MD.name(HYDROGEN)}\nH 0 0 0\nH 0 0 1\n"
    part = tmp_path / "a.xyz.part"
    part.write_text(frame)
    with pytest.raises(UserError, match=r"a\.xyz\.part holds frames of an interrupted run: --resume continues it"):
        write_geometries(HYDROGEN, tmp_path / "a.xyz", MD)
    assert part.read_text() == frame
    write_geometries(HYDROGEN, tmp_path / "a.xyz", MD, overwrite=True)
    assert len(ase.io.read(tmp_path / "a.xyz", ":")) == MD.frames


def test_normal_modes_of_a_diatomic(tmp_path: Path) -> None:
    out = tmp_path / "modes.xyz"
    write_geometries(HYDROGEN, out, MODES)
    frames = ase.io.read(out, ":")
    lengths = np.array([frame.get_distance(0, 1) for frame in frames])
    # the spread of a classical spring of H2, about 4900 cm⁻¹ in this basis, is 0.021 Å at 300 K
    assert lengths.std() == pytest.approx(0.021, abs=0.003)
    assert lengths.mean() == pytest.approx(0.73, abs=0.03)


def test_spread_of_a_known_spring() -> None:
    # Morse: force constant 2 ε (ρ0 / r0)²
    potential = MorsePotential(epsilon=2.0, rho0=3.0, r0=1.0, rcut1=5.0, rcut2=6.0)
    atoms = ase.Atoms("HLi", [[0, 0, 0], [0, 0, 1.0]], calculator=potential)
    spread = normal_mode_spread(atoms, 300.0)
    assert spread.shape == (6, 1)
    stretch = abs(spread[5, 0] - spread[2, 0])
    assert stretch**2 == pytest.approx(units.kB * 300.0 / (2 * 2.0 * 9.0), rel=2e-3)
    heavy, light = atoms.get_masses()[[1, 0]]
    assert abs(spread[2, 0] / spread[5, 0]) == pytest.approx(heavy / light, rel=1e-4)


def test_soft_modes_do_not_run_away() -> None:
    # a minimum so flat that a harmonic sample at 300 K would move the atoms by Ångströms
    potential = MorsePotential(epsilon=1e-6, rho0=3.0, r0=1.0, rcut1=5.0, rcut2=6.0)
    atoms = ase.Atoms("HH", [[0, 0, 0], [0, 0, 1.0]], calculator=potential)
    spread = normal_mode_spread(atoms, 300.0)
    omega = SOFTEST * units.invcm / (units._hbar * 1e10 / np.sqrt(units._e * units._amu))
    assert np.linalg.norm(spread) == pytest.approx(np.sqrt(units.kB * 300.0) / omega / np.sqrt(1.008), rel=1e-3)


def test_not_a_minimum() -> None:
    potential = MorsePotential(epsilon=2.0, rho0=3.0, r0=1.0, rcut1=5.0, rcut2=6.0)
    atoms = ase.Atoms("HH", [[0, 0, 0], [0, 0, 1.4]], calculator=potential)
    with pytest.raises(UserError, match="H2 is not at a minimum: a mode has"):
        normal_mode_spread(atoms, 300.0)


def test_smiles(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    water, ammonium, radical = (find_molecule(smiles) for smiles in ("O", "[NH4+]", "[OH]"))
    assert (water.formula, water.charge, water.multiplicity) == ("H2O", 0, 1)
    assert (ammonium.formula, ammonium.charge, ammonium.multiplicity) == ("H4N", 1, 1)
    assert (radical.formula, radical.charge, radical.multiplicity) == ("HO", 0, 2)
    np.testing.assert_array_equal(find_molecule("CCO").positions, find_molecule("CCO").positions)
    assert find_molecule("O", charge=1, multiplicity=2).charge == 1
    with pytest.raises(UserError, match=r"'nofile.xyz' is neither a file nor a SMILES"):
        find_molecule("nofile.xyz")


def test_without_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(UserError, match=r"no file CCO, and to read a SMILES takes RDKit: pip install 'orbdens\[geo"):
        find_molecule("CCO")


def test_tblite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tblite")
    ase.io.write(tmp_path / "oh.xyz", ase.Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"multiplicity": 2}), "extxyz")
    arguments = ["--forces", "tblite", "--frames", "3", "--every", "2", "--equilibration", "5"]
    out = tmp_path / "frames.xyz"
    assert run(["data", "geometries", str(tmp_path / "oh.xyz"), str(out), *arguments], debug=False) == 0
    assert "orbdens data generate" in capsys.readouterr().out.replace("\n", " ")
    assert [frame.info["multiplicity"] for frame in ase.io.read(out, ":")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "magic"], "'magic' is not one of 'md', 'normal-modes'"),
        (["--forces", "magic"], "'magic' is not one of 'pyscf', 'tblite'"),
        (["--every", "0.7"], "frames every 0.7 fs are not a multiple of the step of 0.5 fs"),
        (["--xc", "magic"], "PySCF has no functional 'magic'"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write(tmp_path / "h2.xyz", ase.Atoms("HH", HYDROGEN.positions))
    out = tmp_path / "frames.xyz"
    assert run(["data", "geometries", str(tmp_path / "h2.xyz"), str(out), *flags], debug=False) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("frames*"))


def test_one_molecule_only(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "two.xyz", [ase.Atoms("H"), ase.Atoms("H")])
    with pytest.raises(UserError, match=r"expected one molecule in .*two.xyz, but it holds 2 structures"):
        find_molecule(str(tmp_path / "two.xyz"))
    ase.io.write(tmp_path / "cell.xyz", ase.Atoms("H", cell=[3, 3, 3], pbc=True))
    with pytest.raises(UserError, match="but it holds a crystal"):
        find_molecule(str(tmp_path / "cell.xyz"))
