"""CIF, HKLF 4 and tsc: what is read is what stands there, and other formats get one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import places
import pytest

from orbdens.errors import UserError
from orbdens.formats.cif import read_cif, read_reflections, write_cif
from orbdens.formats.hkl import parse_hkl
from orbdens.formats.tsc import write_tsc

CIF = places.TESTS / "crystals" / "epoxide.cif"
HKL = places.TESTS / "crystals" / "epoxide.hkl"


def changed(folder: Path, old: str, new: str) -> Path:
    text = CIF.read_text()
    assert old in text
    path = folder / "changed.cif"
    path.write_text(text.replace(old, new))
    return path


def test_cif() -> None:
    crystal, reflections = read_cif(CIF)
    assert reflections is None
    assert crystal.labels == ("O1", "C2", "H2a", "H2b", "C3", "H3a", "H3b")
    assert crystal.numbers.tolist() == [8, 6, 1, 1, 6, 1, 1]
    assert crystal.wavelength == 0.71068
    np.testing.assert_allclose(crystal.fractions[0], [0.11697, 0.83091, 0.12413])
    np.testing.assert_allclose(crystal.displacements[0], [0.03465, 0.0265, 0.03007, 0.00253, 0.01034, -0.00485])
    assert crystal.isotropic.tolist() == [False, False, True, True, False, True, True]
    assert abs(np.linalg.det(crystal.cell)) == pytest.approx(251.8, abs=0.1)
    np.testing.assert_allclose(crystal.translations[1], 0.5)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    crystal, _ = read_cif(CIF)
    write_cif(tmp_path / "epoxide.cif", crystal, {"_refine_ls_R_factor_gt": 0.03})
    again, _ = read_cif(tmp_path / "epoxide.cif")
    assert again.labels == crystal.labels
    for name in ("parameters", "rotations", "translations", "fractions", "displacements", "numbers", "groups"):
        np.testing.assert_allclose(getattr(again, name), getattr(crystal, name), atol=1e-6)


def test_deuterium_is_hydrogen(tmp_path: Path) -> None:
    crystal, _ = read_cif(changed(tmp_path, " H2a H ", " H2a D "))
    assert crystal.numbers[2] == 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("_cell_length_a ", "_cell_gone ", "has no cell"),
        (" O1 O ", " O1 Qq ", "no element is called Qq"),
        ("0.11697(8)", "x", "the coordinates are not all numbers"),
        (" C2 C ", " C3 C ", "several atoms called C3"),
        ("_atom_site_fract_x", "_atom_site_gone", "holds no atoms"),
        ("_atom_site_label", "_atom_site_gone", "the atoms have no labels"),
    ],
)
def test_bad_cif(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_cif(changed(tmp_path, old, new))


def test_hklf4() -> None:
    found = read_reflections(HKL)
    assert len(found.indices) == 2143
    assert found.measured.sum() == 2081
    assert found.indices[0].tolist() == [-9, 0, 1]
    assert (found.intensities[0], found.sigmas[0]) == (0.15, 0.23)


def test_columns_that_touch() -> None:
    found = parse_hkl(
        "  -2   0   017931.98   97.99\n-100-100-10012345.6712345.67   1\n   0   0   0    0.00    0.00\nrest", "x"
    )
    assert found.indices.tolist() == [[-2, 0, 0], [-100, -100, -100]]
    assert found.intensities.tolist() == [17931.98, 12345.67]


def test_blanks_of_an_embedded_text_count(tmp_path: Path) -> None:
    """Without those at its beginning, the first of these lines would read as l = 17 and F² = 931.98."""
    lines = "  -2   0   017931.98   97.99\n   1   1  -138976.97  222.72  22\n   0   0   3-5.76448 28.3280   1\n"
    (tmp_path / "a.cif").write_text(f"{CIF.read_text()}\n_shelx_hkl_file\n;\n{lines}   0   0   0    0.00\n;\n")
    found = read_cif(tmp_path / "a.cif")[1]
    assert found is not None
    assert found.indices.tolist() == [[-2, 0, 0], [1, 1, -1], [0, 0, 3]]
    assert found.intensities.tolist() == [17931.98, 38976.97, -5.76448]


def test_wider_columns() -> None:
    """What other programs write: by the fixed columns it would be F² = 1 and an uncertainty of 23.45."""
    found = parse_hkl("   1   0   0       123.45          1.20\n 1 -2 3 4. 0.5 1\n", "x")
    assert found.indices.tolist() == [[1, 0, 0], [1, -2, 3]]
    assert (found.intensities.tolist(), found.sigmas.tolist()) == ([123.45, 4.0], [1.2, 0.5])


def test_only_the_first_crystal_of_a_twin_counts_as_measured() -> None:
    rows = [(1, 0, 0, 5.0, -2), (1, 0, 1, 5.0, 1), (2, 0, 0, 7.0, 1), (3, 0, 0, 8.0, 2)]
    text = "".join(f"{h:4d}{k:4d}{l:4d}{f:8.2f}{0.5:8.2f}{batch:4d}\n" for h, k, l, f, batch in rows)
    found = parse_hkl(text, "x")
    assert len(found.indices) == 4
    assert found.measured.tolist() == [False, False, True, False]
    batches = parse_hkl(text.replace("  -2\n", "   2\n"), "x")  # of one crystal, in several batches
    assert batches.measured.all()


def test_names_of_cif_2(tmp_path: Path) -> None:
    """As QCrBox and dictionaries of the second version have them: a dot after the category."""
    text = CIF.read_text()
    for category in ("_atom_site_aniso", "_atom_site", "_cell", "_space_group_symop", "_symmetry_equiv"):
        text = text.replace(f"{category}_", f"{category}.")
    text = text.replace("_diffrn_radiation_wavelength ", "_diffrn_radiation_wavelength.value ")
    (tmp_path / "a.cif").write_text(text.replace("_atom_site.aniso_", "_atom_site_aniso."))
    found, _ = read_cif(tmp_path / "a.cif")
    expected, _ = read_cif(CIF)
    assert (found.labels, found.wavelength) == (expected.labels, expected.wavelength)
    np.testing.assert_array_equal(found.displacements, expected.displacements)


@pytest.mark.parametrize("text", ["h k l F\n", "1.5 2 3 4.0 5.0\n", "1 2 3\n", "\n"])
def test_other_formats_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"x, line 1: expected h, k, l|x holds no reflections"):
        parse_hkl(text, "x")


def test_reflections_in_cif(tmp_path: Path) -> None:
    loop = "loop_\n_refln_index_h\n_refln_index_k\n_refln_index_l\n_refln_F_squared_meas\n_refln_F_squared_sigma\n"
    (tmp_path / "a.fcf").write_text(f"data_a\n{loop}1 2 3 4.5 0.5\n-1 0 2 3.0 0.1\n")
    assert read_reflections(tmp_path / "a.fcf").indices.tolist() == [[1, 2, 3], [-1, 0, 2]]
    embedded = CIF.read_text() + "\n_shelx_hkl_file\n;\n   1   2   3    4.50    0.50\n   0   0   0    0.00    0.00\n;\n"
    (tmp_path / "b.cif").write_text(embedded)
    found = read_cif(tmp_path / "b.cif")[1]
    assert found is not None
    assert (found.indices.tolist(), found.sigmas.tolist()) == ([[1, 2, 3]], [0.5])
    (tmp_path / "c.cif").write_text("data_c\n_cell_length_a 4\n")
    with pytest.raises(UserError, match="no measured intensities"):
        read_reflections(tmp_path / "c.cif")


def test_tsc(tmp_path: Path) -> None:
    write_tsc(tmp_path / "a.tsc", ["C1", "H1"], np.array([[1, -2, 3]]), np.array([[2.5 - 0.25j], [1e-9 + 0j]]), "a")
    lines = (tmp_path / "a.tsc").read_text().splitlines()
    assert lines == [
        "TITLE: a",
        "SYMM: expanded",
        "AD: FALSE",
        "SCATTERERS: C1 H1",
        "DATA:",
        "1 -2 3 2.500000,-0.250000 0.000000,0.000000",
    ]
