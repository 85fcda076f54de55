"""Formal charges in the files that have any become the charge of the molecule: SDF, MOL and PDB."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from orbdens.errors import UserError
from orbdens.formats.structures import read_structures

ATOM = "{0:10.4f}{1:10.4f}{2:10.4f} {3:<3} 0{4:3d}  0  0  0  0  0  0  0  0  0  0"
V3000 = """
  a program         3D

  0  0  0     0  0            999 V3000
M  V30 BEGIN CTAB
M  V30 COUNTS {n} 1 0 0 0
M  V30 BEGIN ATOM
{atoms}
M  V30 END ATOM
M  V30 BEGIN BOND
M  V30 1 1 1 2
M  V30 END BOND
M  V30 END CTAB
M  END
"""
PDB = "HETATM{0:5d}  {1}  UNL     1    {0:8.3f}   0.000   0.000  1.00  0.00          {2}{3}"


def v2000(symbols: str, *properties: str, codes: dict[int, int] | None = None) -> str:
    """Atoms on a line 1 Å apart, their charge codes by number, and lines of properties."""
    codes = codes or {}
    atoms = [ATOM.format(i, 0.0, 0.0, symbol, codes.get(i, 0)) for i, symbol in enumerate(symbols.split(), start=1)]
    counts = f"{len(atoms):3d}  1  0  0  0  0            999 V2000"
    return "\n".join(["a title", "  a program  3D", "", counts, *atoms, "  1  2  1  0", *properties, "M  END", ""])


def v3000(*atoms: str) -> str:
    lines = "\n".join(f"M  V30 {i} {atom}" for i, atom in enumerate(atoms, start=1))
    return V3000.format(n=len(atoms), atoms=lines)


def states(path: Path, text: str) -> list[tuple[int, int]]:
    """Charge and multiplicity of every structure in a file of this text."""
    path.write_text(text)
    return [(structure.charge, structure.multiplicity) for structure in read_structures(path)]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (v2000("N H"), (0, 1)),
        (v2000("N H", "M  CHG  1   1   1"), (1, 1)),
        (v2000("N O Ca", "M  CHG  3   1   1   2  -1   3   2"), (2, 1)),
        (v2000("N O Ca", "M  CHG  1   1   1", "M  ISO  1   1  15", "M  CHG  2   2  -1   3  -2"), (-2, 1)),
        (v2000("O H", "M  CHG  1   1   0", codes={1: 5}), (0, 1)),
        (v2000("O H", "M  RAD  1   1   2", codes={1: 5}), (0, 2)),
        (v2000("C H", "M  RAD  1   1   1"), (0, 1)),
        (v2000("O O", "M  RAD  2   1   2   2   2"), (0, 3)),
        (v2000("O H", codes={1: 5}), (-1, 1)),
        (v2000("N O Fe H", codes={1: 3, 2: 6, 3: 1, 4: 0}), (2, 1)),
        (v2000("C H", codes={1: 4}), (0, 2)),
        (v3000("N 1.0 0 0 0 CHG=1", "H 2.0 0 0 0"), (1, 1)),
        (v3000("O 1 0 0 0 MASS=18 CHG=-1", "C 2 0 0 0 CHG=0", "H 3 0 0 7"), (-1, 1)),
        (v3000("O 1 0 0 0 CHG=-\nM  V30 -1 RAD=2", "C 2 0 0 0"), (-1, 2)),
    ],
)
@pytest.mark.parametrize("ending", ["sdf", "mol"])
def test_molfiles(text: str, state: tuple[int, int], ending: str, tmp_path: Path) -> None:
    assert states(tmp_path / f"a.{ending}", text) == [state]


def test_the_geometry_of_a_molfile(tmp_path: Path) -> None:
    (tmp_path / "a.sdf").write_text(v2000("Cl D") + "$$$$\n" + v3000("Cl 1 -2.5 .5 0", "H 0.25 0 0 0"))
    first, second = read_structures(tmp_path / "a.sdf")
    assert (first.symbols, second.symbols) == (["Cl", "H"], ["Cl", "H"])
    np.testing.assert_array_equal(first.positions, [[1, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(second.positions, [[1, -2.5, 0.5], [0.25, 0, 0]])


def test_every_record_of_an_sdf_has_a_charge_of_its_own(tmp_path: Path) -> None:
    records = [
        v2000("N H", "M  CHG  1   1   1") + "> <charge of another kind>\nM  CHG  1   1   3\n\n",
        v2000("O H"),
        v3000("O 1 0 0 0 CHG=-1", "H 2 0 0 0"),
    ]
    text = "".join(f"{record}$$$$\n" for record in records) + "\n"
    assert states(tmp_path / "a.sdf", text) == [(1, 1), (0, 1), (-1, 1)]
    with gzip.open(tmp_path / "a.sdf.gz", "wt") as file:
        file.write(text)
    assert [structure.charge for structure in read_structures(tmp_path / "a.sdf.gz")] == [1, 0, -1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (v2000("N H", "M  CHG  1   1   1")[:-30], "record 1: it is broken, or cut off"),
        (v2000("N H", "M  CHG  1   3   1"), "record 1: it is broken, or cut off"),
        (v2000("N H", "M  CHG  2   1   1   2"), "record 1: it is broken, or cut off"),
        (v2000("N H") + "$$$$\nfive lines\n", "record 2: it is broken, or cut off"),
        (v3000("N 1 0 0 0", "H 2 0 0 0").replace("COUNTS 2", "COUNTS 3"), "record 1: it is broken, or cut off"),
        (v2000("C R#"), "record 1: there is no element 'R#'"),
    ],
)
def test_broken_molfiles_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.sdf").write_text(text)
    with pytest.raises(UserError, match=f"cannot read the molfile {tmp_path}/a.sdf, {reason}"):
        read_structures(tmp_path / "a.sdf")


def pdb(*atoms: tuple[str, str]) -> str:
    """The lines of atoms, each an element and its two columns of charge."""
    return "".join(f"{PDB.format(i, f'{s:<2}', f'{s:>2}', charge)}\n" for i, (s, charge) in enumerate(atoms, start=1))


@pytest.mark.parametrize(
    ("charges", "total"),
    [
        (("1+", "  ", ""), 1),
        (("2+", "1-", "1-"), 0),
        (("+2", "-1", "0 "), 1),
        (("", "", "2-"), -2),
        (("12", "34", "  "), 0),  # numbers of lines, as files of the last century have them
    ],
)
def test_pdb_files(charges: tuple[str, ...], total: int, tmp_path: Path) -> None:
    atoms = zip(("N", "Cl", "O"), charges, strict=True)
    assert states(tmp_path / "a.pdb", f"TITLE     END OF A SALT\n{pdb(*atoms)}TER\nEND\n") == [(total, 1)]


def test_every_model_of_a_pdb_file_has_a_charge_of_its_own(tmp_path: Path) -> None:
    models = [pdb(("N", "1+"), ("H", "")), pdb(("O", ""), ("H", "")), pdb(("O", "1-"), ("H", ""))]
    text = "".join(f"MODEL     {i}\n{model}ENDMDL\n" for i, model in enumerate(models, start=1))
    assert states(tmp_path / "a.pdb", text + "END\n") == [(1, 1), (0, 1), (-1, 1)]
    assert states(tmp_path / "b.pdb", models[2]) == [(-1, 1)]
