"""Distorted copies of molecules."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from numpy.typing import NDArray

from data_tools.generation.distorting import Distortion
from orbdens.cli.main import run
from orbdens.formats.structures import read_structures
from orbdens.structure import Structure


@pytest.fixture
def methanol() -> Structure:
    return Structure.from_ase(molecule("CH3OH"))


def distances(structure: Structure) -> NDArray[np.float64]:
    return np.linalg.norm(structure.positions[:, None] - structure.positions, axis=-1)


def test_scale(methanol: Structure) -> None:
    rng = np.random.default_rng(0)
    off = ~np.eye(methanol.n_atoms, dtype=bool)
    factors = []
    for _ in range(50):
        ratios = distances(Distortion(scale=(0.92, 1.10)).copy(methanol, rng))[off] / distances(methanol)[off]
        np.testing.assert_allclose(ratios, ratios[0])
        factors.append(ratios[0])
    assert 0.92 <= min(factors) < 0.94
    assert 1.08 < max(factors) <= 1.10


def test_rattle(methanol: Structure) -> None:
    rng = np.random.default_rng(0)
    shifts = [Distortion(rattle=0.05).copy(methanol, rng).positions - methanol.positions for _ in range(200)]
    assert np.std(shifts) == pytest.approx(0.05, rel=0.05)
    assert np.mean(shifts) == pytest.approx(0, abs=0.005)


def test_xray_hydrogens_move_along_their_bonds(methanol: Structure) -> None:
    copy = Distortion(xray_hydrogens=True).copy(methanol, np.random.default_rng(0))
    carbon, oxygen = methanol.symbols.index("C"), methanol.symbols.index("O")
    np.testing.assert_array_equal(copy.positions[[carbon, oxygen]], methanol.positions[[carbon, oxygen]])
    for i in np.flatnonzero(methanol.numbers == 1):
        heavy = min(carbon, oxygen, key=lambda atom: distances(methanol)[i, atom])
        before = methanol.positions[i] - methanol.positions[heavy]
        after = copy.positions[i] - copy.positions[heavy]
        assert np.linalg.norm(after) == pytest.approx(0.95 if heavy == carbon else 0.84)
        np.testing.assert_allclose(np.cross(before, after), 0, atol=1e-12)


def test_stretch_moves_the_smaller_part_along_one_bond() -> None:
    start = Structure.from_ase(molecule("CH3CH2OCH3"))
    rng = np.random.default_rng(0)
    heavy = np.flatnonzero(start.numbers > 1)
    stretched = set()
    for _ in range(60):
        copy = Distortion(stretch=0.2).copy(start, rng)
        moved = (copy.positions != start.positions).any(axis=1)
        assert 1 <= moved.sum() <= start.n_atoms / 2
        shift = copy.positions[moved] - start.positions[moved]
        np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-12)
        longer = (distances(copy) / np.where(distances(start) == 0, 1, distances(start)))[np.ix_(moved, ~moved)]
        bond = distances(start)[np.ix_(moved, ~moved)].argmin()
        assert 1 < longer.flat[bond] <= 1.2
        stretched.add((int(moved.sum()), bool(moved[heavy].any())))
    assert (1, False) in stretched  # bonds to hydrogen
    assert any(of_heavy for _, of_heavy in stretched)


def test_rings_are_not_torn() -> None:
    ring = Structure.from_ase(Atoms("C6", molecule("C6H6").positions[:6]))
    copy = Distortion(stretch=0.2).copy(ring, np.random.default_rng(0))
    np.testing.assert_array_equal(copy.positions, ring.positions)


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ion = molecule("OH")
    ion.info = {"charge": -1, "multiplicity": 1}
    radical = molecule("CH3")
    radical.info = {"multiplicity": 2}
    ase.io.write(tmp_path / "in.xyz", [ion, radical], format="extxyz")
    call = ["data", "distort", str(tmp_path / "in.xyz")]
    change = ["--copies", "2", "--scale", "0.9,1.1", "--rattle", "0.02"]
    assert run([*call, str(tmp_path / "a.xyz"), *change], debug=False) == 0
    assert "4 structures" in capsys.readouterr().out
    assert run([*call, str(tmp_path / "b.xyz"), *change], debug=False) == 0
    assert run([*call, str(tmp_path / "c.xyz"), *change, "--seed", "1"], debug=False) == 0
    copies = read_structures(tmp_path / "a.xyz")
    states = [(copy.formula, copy.charge, copy.multiplicity) for copy in copies]
    assert states == [("HO", -1, 1)] * 2 + [("CH3", 0, 2)] * 2
    assert not np.allclose(copies[0].positions, copies[1].positions)
    assert (tmp_path / "a.xyz").read_bytes() == (tmp_path / "b.xyz").read_bytes()
    assert (tmp_path / "a.xyz").read_bytes() != (tmp_path / "c.xyz").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing would change"),
        (["--scale", "1.1,0.9"], "the smaller first, but got 1.1,0.9"),
        (["--scale", "1.1"], "expected a range as 0.92,1.10, but got '1.1'"),
        (["--scale", "nan,nan"], "from 0.5 to 2"),
        (["--rattle", "0.1"], "only molecules can be distorted"),
    ],
)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    ase.io.write(tmp_path / "in.xyz", [molecule("H2O"), bulk("Si")], format="extxyz")
    assert run(["data", "distort", str(tmp_path / "in.xyz"), str(tmp_path / "out.xyz"), *arguments], debug=False) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out.xyz").exists()
