"""CHGCAR files give the values, cells and electrons that other readers find; broken ones give one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
from ase.calculators.vasp import VaspChargeDensity
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.sources.chgcar import chgcar_record
from orbdens.errors import UserError
from orbdens.formats.chgcar import TAIL, TAIL_OF_ATOM
from orbdens.formats.streams import chunks
from orbdens.formats.text import Text
from orbdens.store import GridRecord

SHAPE = (5, 4, 6)
CELL = np.array([[4.0, 0.1, 0.0], [-0.3, 5.0, 0.2], [0.4, 0.0, 6.0]])
ATOMS = "CO\n1\n 4.0 0.1 0.0\n -0.3 5.0 0.2\n 0.4 0.0 6.0\n C O\n 1 1\nDirect\n 0.1 0.2 0.3\n 0.1 0.2 0.5\n"
OCCUPANCIES = "augmentation occupancies   1   7\n  0.1E+01  0.2E+01  0.3E+01  0.4E+01  0.5E+01\n  0.6E+01  0.7E+01\n"


def values(seed: int = 0) -> np.ndarray[Any, Any]:
    """Values as VASP has them, density times volume, that sum to ten electrons [5, 4, 6]."""
    drawn = np.random.default_rng(seed).lognormal(size=SHAPE)
    return np.asarray(drawn * 10 * drawn.size / drawn.sum())


def block(grid: np.ndarray[Any, Any], columns: int = 5, form: str = " {:.11E}") -> str:
    """The lines of a grid, x fastest."""
    words = [form.format(value) for value in grid.transpose(2, 1, 0).reshape(-1)]
    lines = ["".join(words[i : i + columns]) for i in range(0, len(words), columns)]
    return "{} {} {}\n".format(*grid.shape) + "\n".join(lines) + "\n"


def read(content: bytes | str, name: str = "CHGCAR", **options: Any) -> GridRecord:
    file = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return chgcar_record(Text(chunks(file.read, name, name), name), **options)


PLAIN = ATOMS + "\n" + block(values()) + OCCUPANCIES
SPIN = PLAIN + "  0.1E+01  -0.1E+01\n" + block(2 * values() / 10) + OCCUPANCIES
LIKE_IT = {
    "plain": PLAIN,
    "no occupancies, ten columns": ATOMS + "\n" + block(values(), 10),
    "scaled": ATOMS.replace("CO\n1\n 4.0 0.1 0.0\n -0.3 5.0 0.2\n 0.4 0.0 6.0", "CO\n2\n2 .05 0\n-.15 2.5 .1\n.2 0 3")
    + "\n"
    + block(values()),
    "negative scale": ATOMS.replace("CO\n1\n", f"CO\n{-abs(np.linalg.det(CELL)):.12f}\n") + "\n" + block(values()),
    "selective": ATOMS.replace("Direct", "Selective dynamics\nDirect")
    .replace("0.3\n", "0.3 T T F\n")
    .replace("0.5\n", "0.5 T T F\n")
    + "\n"
    + block(values()),
    "cartesian": ATOMS.split("Direct")[0]
    + "Cartesian\n"
    + "".join(" {:.10f} {:.10f} {:.10f}\n".format(*(np.array([0.1, 0.2, z]) @ CELL)) for z in (0.3, 0.5))
    + "\n"
    + block(values()),
    "spin": SPIN,
    "spin, CHG": ATOMS + "\n" + block(values(), 10) + block(2 * values() / 10, 10),
    "windows": PLAIN.replace("\n", "\r\n"),
    "no blank line": ATOMS + block(values()),
    "potentials": PLAIN.replace(" C O\n", " C_s/0123abcd O\n"),
}


@pytest.mark.parametrize("name", LIKE_IT)
def test_as_ase_reads_it(name: str, tmp_path: Path) -> None:
    record = read(LIKE_IT[name])
    if name == "no blank line":  # ASE needs one
        name = "plain"
    (tmp_path / "CHGCAR").write_text(LIKE_IT[name].replace("C_s/0123abcd", "C"))
    theirs = VaspChargeDensity(str(tmp_path / "CHGCAR"))
    atoms = theirs.atoms[0]
    assert record.structure.cell is not None
    np.testing.assert_allclose(record.structure.cell, atoms.cell, atol=1e-9)
    np.testing.assert_allclose(record.structure.positions, atoms.positions, atol=1e-9)
    np.testing.assert_array_equal(record.structure.numbers, atoms.numbers)
    assert record.structure.pbc == (True, True, True)
    np.testing.assert_allclose(record.steps * np.array(SHAPE)[:, None], CELL, atol=1e-8)
    assert not record.origin.any()
    assert record.values.dtype == np.float32
    assert record.values.flags.c_contiguous
    np.testing.assert_allclose(record.values, theirs.chg[0], rtol=1e-7)
    count = record.values.sum(dtype=np.float64) * abs(np.linalg.det(record.steps))
    assert count == pytest.approx(10, abs=1e-6)
    assert (record.spin_values is not None) == name.startswith("spin") == bool(theirs.chgdiff)
    if record.spin_values is not None:
        np.testing.assert_allclose(record.spin_values, theirs.chgdiff[0], rtol=1e-7)
        assert record.structure.multiplicity == 3


@pytest.mark.filterwarnings("ignore")
def test_as_pymatgen_reads_it(tmp_path: Path) -> None:
    outputs = pytest.importorskip("pymatgen.io.vasp.outputs")
    (tmp_path / "CHGCAR").write_text(SPIN)
    theirs = outputs.Chgcar.from_file(str(tmp_path / "CHGCAR"))
    record = read(SPIN)
    volume = theirs.structure.volume
    np.testing.assert_allclose(record.values, theirs.data["total"] / volume, rtol=1e-7)
    np.testing.assert_allclose(record.spin_values, theirs.data["diff"] / volume, rtol=1e-7)  # type: ignore[arg-type]
    np.testing.assert_allclose(record.structure.positions, theirs.structure.cart_coords, atol=1e-9)


def test_as_ase_writes_it(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(SPIN)
    density = VaspChargeDensity(str(tmp_path / "in"))
    for form in ("chg", "chgcar"):
        density.write(str(tmp_path / "out"), format=form)
        record = read((tmp_path / "out").read_bytes())
        np.testing.assert_allclose(record.values, density.chg[0], rtol=1e-4)
        np.testing.assert_allclose(record.spin_values, density.chgdiff[0], rtol=1e-4)  # type: ignore[arg-type]


def test_elements_of_vasp_4_and_charge() -> None:
    old = PLAIN.replace(" C O\n", "")
    with pytest.raises(UserError, match=r"line 6: expected element symbols.*VASP 4.*--elements"):
        read(old)
    record = read(old, elements=("C", "O"), charge=1)
    assert record.structure.numbers.tolist() == [6, 8]
    assert record.structure.charge == 1
    with pytest.raises(UserError, match="as many numbers of atoms as elements"):
        read(old, elements=("C",))


def test_non_collinear_has_no_spin_density() -> None:
    assert read(SPIN + 2 * (block(values()) + OCCUPANCIES)).spin_values is None


def test_touching_numbers() -> None:
    signed = values() * np.where(np.random.default_rng(1).random(SHAPE) < 0.5, -1, 1)
    touching = ATOMS + "\n" + block(signed, form="{:+.11E}")
    np.testing.assert_array_equal(read(touching).values, read(ATOMS + "\n" + block(signed)).values)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".lz4": lz4.frame.compress,
    ".zz": zlib.compress,
}


@pytest.mark.parametrize("ending", PACKED)
def test_compressed(ending: str) -> None:
    data, name = PACKED[ending](SPIN.encode()), "a.CHGCAR" + ending
    np.testing.assert_array_equal(read(data, name).values, read(SPIN).values)
    halves = PACKED[ending](SPIN[:1000].encode()) + PACKED[ending](SPIN[1000:].encode())
    np.testing.assert_array_equal(read(halves, name).values, read(SPIN).values)
    rng = np.random.default_rng(5)
    for end in [*rng.integers(3, len(data), 12), len(data) - 1]:
        with pytest.raises(UserError, match=f"^{name} is (truncated|damaged|named)") as caught:
            read(data[:end], name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"is (damaged|truncated)"):
        read(data + b"more", name)
    with pytest.raises(UserError, match=r"is named .* but is not compressed that way"):
        read(SPIN, name)


BROKEN = {
    "stars": (PLAIN.replace(" 3.", " ****", 1), r"line 13: expected value \d+ of 5 x 4 x 6, but found '\*\*\*\*"),
    "nan": (PLAIN.replace("E-01", " nan", 1), "expected value .* but found 'nan'"),
    "words": (PLAIN.replace("E+00", "E+", 1), r"expected value \d+ of 5 x 4 x 6, but found '\d\.\d+E\+'"),
    "atom missing": (
        PLAIN.replace(" 0.1 0.2 0.5\n", ""),
        "line 10: expected the coordinates of atom 2 of 2.*empty line",
    ),
    "atom too many": (PLAIN.replace(" 1 1\n", " 1 2\n"), "line 11: expected the coordinates of atom 3 of 3"),
    "no atoms": (PLAIN.replace(" 1 1\n", "\n"), "line 7: expected the number of atoms of each element"),
    "no element": (PLAIN.replace(" C O\n", " C Oo\n"), "line 6: expected element symbols, but found 'C Oo'"),
    "wrong mode": (
        PLAIN.replace("Direct", "Fractional"),
        "line 8: expected Direct or Cartesian, but found 'Fractional'",
    ),
    "half a grid line": (PLAIN.replace("5 4 6\n", "5 4\n"), "line 12: expected three numbers of grid points"),
    "grid too large": (
        PLAIN.replace("5 4 6\n", "5 5 6\n"),
        r"expected value 121 of 5 x 5 x 6, but found 'augmentation'",
    ),
    "grid too small": (PLAIN.replace("5 4 6\n", "5 3 6\n"), "expected the end of the grid, but found"),
    "another number left": (PLAIN.replace("5 4 6\n", "119 1 1\n"), "expected the end of the grid, but found"),
    "huge grid": (PLAIN.replace("5 4 6\n", "99999 99999 99999\n"), "expected a grid of 1 to"),
    "no grid": (ATOMS, "ends after line 10, before its numbers of grid points"),
    "no values": (ATOMS + "\n5 4 6\n", "ends in line .*, after 0 values of 5 x 4 x 6"),
    "cut": (PLAIN[:1000], r"ends in line \d+, after \d+ values of 5 x 4 x 6"),
    "cut in spin": (SPIN[: len(PLAIN) + 100], r"ends in line \d+, after \d+ values"),
    "flat cell": (PLAIN.replace(" 0.4 0.0 6.0", " 4.0 0.1 0.0"), "span no volume"),
    "scale of zero": (PLAIN.replace("CO\n1\n", "CO\n0\n"), "expected one scale that is not zero"),
    "scale of nan": (PLAIN.replace("CO\n1\n", "CO\nnan\n"), "line 2: expected the scale of the cell"),
    "one spot": (PLAIN.replace("0.5\n", "0.3\n"), "atoms 1 and 2 are on one spot"),
    "second grid differs": (
        SPIN.replace("\n5 4 6\n", "\n4 5 6\n").replace("\n4 5 6\n", "\n5 4 6\n", 1),
        "further grid",
    ),
    "empty": ("", "CHGCAR is empty"),
    "garbage": (bytes(range(256)) * 2000, "line 2: expected the scale of the cell"),
    "endless line": (b"a" * 100_000, "line 1: expected text, but the line"),
    "pickle": (b"\x80\x04N.", "is a Python pickle, and pickles are never opened"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    content, message = BROKEN[name]
    with pytest.raises(UserError, match=message) as caught:
        read(content)
    assert str(caught.value).startswith("CHGCAR")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_endless_files_are_not_read_to_their_end() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield PLAIN.encode()
        while True:
            taken += 1 << 16
            yield b"0.1 0.2 0.3 0.4 0.5 0.6 0.7\n" * 2340

    with pytest.raises(UserError, match="expected the end of the file within"):
        chgcar_record(Text(endless(), "endless"))
    assert taken <= TAIL + 2 * TAIL_OF_ATOM + (2 << 16)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SPIN)), st.integers(0, 40), st.binary(max_size=12))
def test_a_changed_file_is_read_or_refused(start: int, cut: int, put: bytes) -> None:
    data = SPIN.encode()
    try:
        record = read(data[:start] + put + data[start + cut :])
    except UserError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    assert np.isfinite(record.values).all()
