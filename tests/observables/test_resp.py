"""Charges from potentials: published examples, charges that are known, and which atoms are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from places import TESTS
from records import exact_pair

from orbdens.errors import UserError
from orbdens.formats.esp import read_esp, write_esp
from orbdens.formats.structures import read_structures
from orbdens.observables.resp import PotentialAtPoints, equivalent_atoms, esp_charges, resp_charges
from orbdens.observables.surfaces import merz_kollman_points
from orbdens.structure import Structure

PUBLISHED = TESTS / "published"
METHANOL = [-0.6498, 0.4215, 0.1166, 0.0372, 0.0372, 0.0372]
CARBON, HYDROGEN, SULPHUR, OXYGEN = -0.280769, 0.125518, 0.316252, -0.507822
DMSO = [CARBON, HYDROGEN, HYDROGEN, HYDROGEN, SULPHUR, OXYGEN, CARBON, HYDROGEN, HYDROGEN, HYDROGEN]


def published(name: str) -> PotentialAtPoints:
    structure = next(iter(read_structures(PUBLISHED / f"{name}.xyz")))
    return PotentialAtPoints(structure, *read_esp(PUBLISHED / f"{name}.esp"))


def test_published_charges_of_methanol() -> None:
    np.testing.assert_allclose(resp_charges([published("methanol")]).charges, METHANOL, atol=1e-4)


def test_published_charges_of_two_orientations_of_dimethyl_sulphoxide() -> None:
    found = resp_charges([published("dmso_1"), published("dmso_2")])
    np.testing.assert_allclose(found.charges, DMSO, atol=1e-3)
    assert 0.15 < found.relative_rms < 0.18
    free = esp_charges([published("dmso_1"), published("dmso_2")])
    assert free.rms < found.rms
    assert free.relative_rms < found.relative_rms


def test_charges_that_make_a_potential_are_found_again() -> None:
    structure = exact_pair()[0].structure
    charges = np.array([-0.8, 0.5, 0.3])
    points = merz_kollman_points(structure)
    empty = PotentialAtPoints(structure, points, np.zeros(len(points)))
    given = PotentialAtPoints(structure, points, empty.of_charges(charges))
    found = esp_charges([given])
    np.testing.assert_allclose(found.charges, charges, atol=1e-9)
    assert found.rms < 1e-6
    restrained = resp_charges([given]).charges
    assert restrained[1] == pytest.approx(restrained[2], abs=1e-9)  # both hydrogens are alike
    assert restrained.sum() == pytest.approx(0, abs=1e-9)
    assert abs(restrained[0]) < 0.8  # the restraint pulls it in


def test_which_atoms_are_alike() -> None:
    structure = published("dmso_1").structure
    assert len(set(equivalent_atoms(structure)[[0, 6]])) == 1
    assert len(set(equivalent_atoms(structure)[[1, 2, 3, 7, 8, 9]])) == 1
    assert len(set(equivalent_atoms(structure))) == 4
    # the hydrogen on oxygen is none of those on carbon
    assert len(set(equivalent_atoms(published("methanol").structure))) == 4


def test_a_potential_is_written_as_it_is_read(tmp_path: Path) -> None:
    one = published("methanol")
    write_esp(tmp_path / "methanol.esp", one.structure, one.points, one.values)
    points, values = read_esp(tmp_path / "methanol.esp")
    np.testing.assert_allclose(points, one.points, atol=1e-6)
    np.testing.assert_allclose(values, one.values, atol=1e-8)
    head = (tmp_path / "methanol.esp").read_text().splitlines()[:2]
    assert head[0].split() == ["6", "427", "0"]
    np.testing.assert_allclose([float(x) * 0.529177 for x in head[1].split()], one.structure.positions[0], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("1 2 3 4\n1 2 x 4\n", "line 2"), ("", "0 points"), ("1 3\n0 0 0\n0.1 1 1 1\n", "1 points, expected 3")],
)
def test_files_that_are_no_potential(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "f.esp").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_esp(tmp_path / "f.esp")


def test_conformers_that_do_not_go_together() -> None:
    with pytest.raises(UserError, match="one order"):
        resp_charges([published("methanol"), published("dmso_1")])
    with pytest.raises(UserError, match="at least one"):
        resp_charges([])
    few = Structure(np.array([1]), np.zeros((1, 3)))
    with pytest.raises(UserError, match="only 0 points"):
        resp_charges([PotentialAtPoints(few, np.zeros((0, 3)), np.zeros(0))])
