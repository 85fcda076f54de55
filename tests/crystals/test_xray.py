"""The verb ``xray``: tables with all equivalents, nothing left after a mistake, and refinement where cctbx is there.

``epoxide.cif`` and ``epoxide.hkl``: ethylene oxide, measured, from the tests of NoSpherA2 (AK-Kleemiss/NoSpherA2, BSD-2
licence); reflections with an uncertainty of -1 were not measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import places
import pytest

from orbdens.crystals.refinement import hydrogen_bond_lengths, refine
from orbdens.crystals.xray import Request, xray
from orbdens.errors import UserError
from orbdens.formats.cif import read_cif, read_reflections
from orbdens.formats.hkl import Reflections
from orbdens.formats.tsc import write_tsc

CIF = places.TESTS / "crystals" / "epoxide.cif"
HKL = places.TESTS / "crystals" / "epoxide.hkl"
SCRIPT = places.TESTS / "crystals" / "spherical_script.py"

with_cctbx = pytest.mark.skipif(find_spec("smtbx") is None, reason="cctbx is not installed")


def read_table(path: Path) -> dict[tuple[int, ...], list[complex]]:
    rows = path.read_text().split("DATA:\n")[1].splitlines()
    return {
        tuple(int(word) for word in row.split()[:3]): [
            complex(*(float(part) for part in word.split(","))) for word in row.split()[3:]
        ]
        for row in rows
    }


def test_table_of_a_crystal(tmp_path: Path) -> None:
    result = xray(Request(CIF, d_min=1.2, out=tmp_path / "a.tsc"))
    table = read_table(result.table)
    assert len(table) == result.n_reflections
    for (h, k, l), row in table.items():
        np.testing.assert_allclose(table[-h, -k, -l], np.conj(row), atol=2e-6)
        assert (-h, k, -l) in table
    lowest = np.array(table[0, 1, 1])
    assert 7 < lowest[0].real < 8
    assert (lowest[2:4].real > 0.7).all() and (lowest[2:4].real < 1).all()
    assert abs(lowest.imag).max() > 0.01
    assert result.refined is None


def test_mistakes_leave_no_file(tmp_path: Path) -> None:
    out = tmp_path / "a.tsc"
    for request, sentence in (
        (Request(CIF, out=out), "holds no reflections"),
        (Request(CIF, CIF, out=out), "no measured intensities"),
        (Request(CIF, SCRIPT, out=out), "expected h, k, l"),
        (Request(CIF, HKL, out=out, charges={"Zz": 1}), "no atom called Zz"),
        (Request(CIF, d_min=1.0, passes=1, out=out), "no reflections to refine against"),
    ):
        with pytest.raises(UserError, match=sentence):
            xray(request)
    assert not list(tmp_path.iterdir())


def test_refinement_without_cctbx_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbdens.crystals.refinement.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install"):
        xray(Request(CIF, HKL, passes=1, out=tmp_path / "a.tsc"))


@with_cctbx
def test_a_table_of_spherical_atoms_is_cctbxs_own_refinement(tmp_path: Path) -> None:
    crystal, _ = read_cif(CIF)
    reflections = read_reflections(HKL)
    indices = crystal.equivalents(reflections.indices)
    (tmp_path / "hkl.json").write_text(json.dumps(indices.tolist()))
    command = [sys.executable, str(SCRIPT), str(CIF), str(tmp_path / "hkl.json")]
    factors = np.array(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    write_tsc(tmp_path / "spherical.tsc", crystal.labels, indices, factors.astype(np.complex128))
    for cycles in (0, 10):
        expected = refine(crystal, reflections, None, cycles)
        found = refine(crystal, reflections, tmp_path / "spherical.tsc", cycles)
        assert found.r1 == pytest.approx(expected.r1, abs=1e-2 * 1e-2)  # in %
        np.testing.assert_allclose(found.crystal.fractions, expected.crystal.fractions, atol=2e-5)


@with_cctbx
def test_hydrogen_rides_where_reflections_are_few() -> None:
    crystal, _ = read_cif(CIF)
    measured = read_reflections(HKL)
    for spacing, rides in ((0.95, True), (0.6, False)):
        kept = crystal.spacings(measured.indices) > spacing
        few = Reflections(measured.indices[kept], measured.intensities[kept], measured.sigmas[kept])
        found = refine(crystal, few)
        assert found.n_parameters == (27 if rides else 43)
        before, after = ({h: x for _, h, x in hydrogen_bond_lengths(c)} for c in (crystal, found.crystal))
        assert (after == pytest.approx(before, abs=1e-6)) == rides
    kept = crystal.spacings(measured.indices) > 1.6
    few = Reflections(measured.indices[kept], measured.intensities[kept], measured.sigmas[kept])
    with pytest.raises(UserError, match="too few to refine 27 parameters"):
        refine(crystal, few)


@with_cctbx
def test_two_passes_on_a_measured_crystal(tmp_path: Path) -> None:
    out = tmp_path / "epoxide.tsc"
    result = xray(Request(CIF, HKL, passes=2, out=out, json=tmp_path / "epoxide.json"))
    spherical, _, last = json.loads((tmp_path / "epoxide.json").read_text())["stages"]
    assert spherical["r1_percent"] == pytest.approx(3.60, abs=0.01)
    assert spherical["mean_ch_angstrom"] < 1.0
    assert last["r1_percent"] <= 3.20
    assert last["goodness_of_fit"] <= 1.40
    assert last["mean_ch_angstrom"] == pytest.approx(1.08, abs=0.03)
    assert result.refined is not None
    refined, _ = read_cif(result.refined)
    np.testing.assert_allclose(refined.fractions, result.stages[-1].refinement.crystal.fractions, atol=1e-6)
