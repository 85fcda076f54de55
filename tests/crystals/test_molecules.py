"""Molecules of crystals: completed by symmetry, alternatives told apart, what is no molecule refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import places
import pytest

from orbdens.crystal import Crystal
from orbdens.crystals.molecules import molecules
from orbdens.errors import UserError
from orbdens.formats.cif import read_cif

IDENTITY = np.eye(3, dtype=np.int64)


def crystal(
    atoms: list[tuple[str, int, list[float]]],
    groups: list[int] | None = None,
    occupancies: list[float] | None = None,
    inversion: bool = True,
) -> Crystal:
    """Atoms at Cartesian places in Å in a cubic cell of 10 Å."""
    n = len(atoms)
    return Crystal(
        name="made up",
        parameters=np.array([10.0, 10, 10, 90, 90, 90]),
        rotations=np.array([IDENTITY, -IDENTITY])[: 2 if inversion else 1],
        translations=np.zeros((2, 3))[: 2 if inversion else 1],
        labels=tuple(label for label, _, _ in atoms),
        numbers=np.array([z for _, z, _ in atoms]),
        fractions=np.array([place for _, _, place in atoms]) / 10,
        occupancies=np.array(occupancies or [1.0] * n),
        groups=np.array(groups or [0] * n),
        assemblies=("",) * n,
        displacements=np.full((n, 6), 0.02),
    )


def test_a_measured_crystal_has_its_molecule() -> None:
    found, _ = read_cif(places.TESTS / "crystals" / "epoxide.cif")
    (molecule,) = molecules(found)
    assert molecule.structure.formula == "C2H4O"
    assert molecule.originals.all()


def test_a_molecule_on_an_inversion_centre_is_completed() -> None:
    half = crystal([("C1", 6, [0.6, 0, 0]), ("H1", 1, [1.2, 0.9, 0]), ("H2", 1, [1.2, -0.9, 0])])
    (molecule,) = molecules(half)
    assert molecule.structure.formula == "C2H4"
    assert molecule.originals.sum() == 3
    centred = molecule.structure.positions.mean(axis=0)
    np.testing.assert_allclose(centred, 0, atol=1e-9)


def test_an_atom_on_the_centre_stands_there_once() -> None:
    (molecule,) = molecules(crystal([("Be1", 4, [0, 0, 0]), ("H1", 1, [1.3, 0, 0])]))
    assert molecule.structure.formula == "H2Be"


def test_molecules_across_the_cells_edge_and_two_of_them() -> None:
    atoms = [
        ("O1", 8, [0.2, 5.0, 5.0]),
        ("H1", 1, [9.4, 5.4, 5.0]),
        ("H2", 1, [0.9, 5.5, 5.0]),
        ("Ne1", 10, [3.0, 3, 3]),
    ]
    found = molecules(crystal(atoms, inversion=False))
    assert sorted(m.structure.formula for m in found) == ["H2O", "H2O", "Ne"]  # H1 is bound in the next cell
    assert sum(m.originals.sum() for m in found) == 4


def test_alternatives_are_told_apart() -> None:
    parts = crystal(
        [("C1", 6, [5, 5, 5]), ("O1", 8, [6.2, 5, 5]), ("O2", 8, [5.2, 6.2, 5]), ("F1", 9, [2, 2, 2])],
        groups=[0, 1, 2, 0],
        occupancies=[1, 0.7, 0.3, 1],
        inversion=False,
    )
    found = {tuple(parts.labels[i] for i in m.atoms): m.weight for m in molecules(parts)}
    assert found == {("C1", "O1"): pytest.approx(0.7), ("C1", "O2"): pytest.approx(0.3), ("F1",): pytest.approx(1.0)}


def test_alternatives_of_a_negative_number_ignore_their_images() -> None:
    around = crystal([("C1", 6, [0.3, 0.2, 0]), ("F1", 9, [1.4, 0.9, 0])], groups=[-1, -1], occupancies=[0.5, 0.5])
    (molecule,) = molecules(around)
    assert molecule.structure.formula == "CF"
    with pytest.raises(UserError, match="C1 and C1"):
        molecules(replace(around, groups=np.array([0, 0])))


def test_overlapping_atoms_without_groups_are_refused() -> None:
    with pytest.raises(UserError, match=r"O1 and O2 are 0\.50 Å apart"):
        molecules(crystal([("O1", 8, [5, 5, 5]), ("O2", 8, [5.5, 5, 5])], inversion=False))


def test_bonds_through_the_whole_crystal_are_refused() -> None:
    chain = [(f"C{i}", 6, [1.0 + 1.4286 * i, 5.0, 5.0]) for i in range(7)]
    with pytest.raises(UserError, match="run through the whole crystal"):
        molecules(crystal(chain, inversion=False))


def test_charges_go_to_the_molecule_of_the_label() -> None:
    ions = crystal([("Na1", 11, [2, 2, 2]), ("F1", 9, [6, 6, 6])], inversion=False)
    found = {m.structure.formula: m.structure for m in molecules(ions, {"Na1": 1, "F1": -1})}
    assert (found["Na"].charge, found["F"].charge, found["F"].multiplicity) == (1, -1, 1)
    with pytest.raises(UserError, match="no atom called Zz"):
        molecules(ions, {"Zz": 1})


H3 = [[0.95, 0.0, 0.3], [-0.48, 0.82, 0.3], [-0.48, -0.82, 0.3]]


def ion(name: str, centre: list[float]) -> list[tuple[str, int, list[float]]]:
    """Atoms of a small ion about a place in Å, with labels that end in its name."""
    nh3: list[tuple[str, int, list[float]]] = [("N", 7, [0, 0, 0]), *((f"H{i}", 1, h) for i, h in enumerate(H3))]
    nh2: list[tuple[str, int, list[float]]] = [
        ("N1", 7, [0, 0, 0]),
        ("Ha", 1, [-0.5, 0.8, 0]),
        ("Hb", 1, [-0.5, -0.8, 0]),
    ]
    acetate: list[tuple[str, int, list[float]]] = [
        ("C1", 6, [0, 0, -1.45]),
        ("Ha", 1, [0.9, 0.4, -1.9]),
        ("Hb", 1, [-0.9, 0.4, -1.9]),
        ("C2", 6, [0, -1.3, -2.2]),
        ("O1", 8, [0, -2.4, -1.6]),
        ("O2", 8, [0, -1.3, -3.45]),
    ]
    known = {
        "ammonium": [*nh3, ("H4", 1, [0, 0, -1.0])],
        "formate": [("C", 6, [0, 0, 0]), ("O1", 8, [1.1, 0.6, 0]), ("O2", 8, [-1.1, 0.6, 0]), ("H", 1, [0, -1.08, 0])],
        "hydrazinium": [*nh2, ("N2", 7, [1.3, 0, 0]), ("Hc", 1, [1.8, 0.8, 0])],
        "hydrazine": [*nh2, ("N2", 7, [1.3, 0, 0]), ("Hc", 1, [1.8, 0.8, 0]), ("Hd", 1, [1.8, -0.8, 0])],
        "formyl": [("C", 6, [0, 0, 0]), ("O1", 8, [1.2, 0, 0]), ("H", 1, [-0.5, 0.95, 0])],
        "glycine": [*nh3, *acetate],
        "chloride": [("Cl", 17, [0, 0, 0])],
    }
    end = f"{name[:4]}{centre[0]:g}"
    return [(label + end, z, [a + b for a, b in zip(place, centre, strict=True)]) for label, z, place in known[name]]


@pytest.mark.parametrize(
    ("names", "charges"),
    [
        (["ammonium", "formate"], [1, -1]),
        (["ammonium", "chloride"], [1, -1]),
        (["hydrazinium", "formate"], [1, -1]),  # the hydrazinium by what makes the crystal neutral
        (["hydrazinium", "formyl"], [1, -1]),  # neither is told by its groups: N-H is the cation
        (["glycine"], [0]),
        (["chloride", "hydrazine", "chloride"], [-1, 2, -1]),  # of a dication without a group, as of two rings
        (["formyl"], [0]),
    ],
)
def test_salts_have_charges_that_nobody_gave(names: list[str], charges: list[int]) -> None:
    atoms = [
        atom
        for i, name in enumerate(names)
        for atom in ion(name, [3.0 + (3.6 if len(names) > 2 else 4.8) * i, 5.0, 6.0])
    ]
    found = molecules(crystal(atoms, inversion=False))
    assert [m.structure.charge for m in found] == charges
    assert [m.structure.multiplicity for m in found] == [2 if names == ["formyl"] else 1] * len(found)


def test_given_charges_stand() -> None:
    atoms = [*ion("ammonium", [3.0, 5, 6]), *ion("formate", [7.0, 5, 6])]
    found = molecules(crystal(atoms, inversion=False), {"Nammo3": 0, "Cform7": 0})
    assert [m.structure.charge for m in found] == [0, 0]


def test_equivalents_hold_every_image_once() -> None:
    found, _ = read_cif(Path(places.TESTS) / "crystals" / "epoxide.cif")
    images = {tuple(h) for h in found.equivalents(np.array([[1, 2, 3], [1, -2, 3]])).tolist()}
    assert images == {(1, 2, 3), (-1, -2, -3), (-1, 2, -3), (1, -2, 3)}
    all_of_them = found.reflections(1.0)
    assert found.spacings(all_of_them).min() >= 1.0
    assert {tuple(h) for h in found.equivalents(all_of_them).tolist()} == {tuple(h) for h in all_of_them.tolist()}
