"""Cube files and the published sets: densities made here, written as the sets are, come back."""

from __future__ import annotations

import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from importing import bring, gaussians, grids, water_cube

from data_tools.sources.importing import import_source
from data_tools.sources.kinds import kind_of, open_source
from data_tools.sources.md_sets import MOLECULES, N_AXIS, decoded, molecule_and_split
from data_tools.sources.registry import SourceKind
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.store import Store
from orbdens.units import BOHR

Array = np.ndarray[Any, Any]
ETHANE = np.array(
    [
        *([0, 0, 0.77], [0, 0, -0.77], [1.03, 0, 1.16], [-0.51, 0.89, 1.16]),
        *([-0.51, -0.89, 1.16], [-1.03, 0, -1.16], [0.51, 0.89, -1.16], [0.51, -0.89, -1.16]),
    ]
)


def encoded(density: Array) -> Array:
    """Real-packed Fourier coefficients [125000] of a density without its highest frequency, as in the MD sets."""
    half = N_AXIS // 2
    d = density.reshape(-1)[::-1].reshape(density.shape)
    for axis in (2, 1, 0):
        f = np.moveaxis(np.fft.fft(d, axis=axis), axis, 0)[:half]
        # of a real density; the two parts of each coefficient beside each other
        d = np.moveaxis(np.concatenate([2 * f.real, -2 * f.imag]), 0, axis)
    return np.asarray(d.reshape(-1))


def ethane_frames(n: int) -> tuple[Array, Array, Array]:
    """Positions in Bohr [n, 8, 3], densities in e/Bohr³ [n, 50, 50, 50] of 14 electrons, their coefficients."""
    axis = 0.4 * np.arange(1, N_AXIS + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    positions, densities = [], []
    for frame in range(n):
        centres = ETHANE / BOHR + 10 + 0.1 * np.random.default_rng(frame).standard_normal((8, 3))
        positions.append(centres)
        densities.append(gaussians(points, centres, np.array([4, 4] + 6 * [1]), 0.9))
    return np.array(positions), np.array(densities), np.array([encoded(density) for density in densities])


@pytest.fixture(scope="session")
def ethane() -> tuple[Array, Array, Array]:
    return ethane_frames(3)


def check_ethane(store: Path, ethane: tuple[Array, Array, Array]) -> None:
    positions, densities, _ = ethane
    assert Store(store).manifest.valence_electrons == {"H": 1, "C": 4}
    assert {name: list(keys) for name, keys in Store(store).manifest.splits.items()} == {
        "train": ["ethane-train-00000", "ethane-train-00001"],
        "test": ["ethane-test-00000"],
    }
    records = grids(store, "train") + grids(store, "test")
    for record, coordinates, density in zip(records, positions, densities, strict=True):
        assert record.structure.formula == "C2H6"
        np.testing.assert_allclose(record.structure.positions, coordinates * BOHR, atol=1e-6)
        np.testing.assert_allclose(record.values, density / BOHR**3, atol=1e-5)
        np.testing.assert_allclose(record.origin, 0.4 * BOHR)
        np.testing.assert_allclose(record.steps, 0.4 * BOHR * np.eye(3))
        assert record.values.sum() * (0.4 * BOHR) ** 3 == pytest.approx(14, abs=1e-3)


def test_md_arrays(tmp_path: Path, ethane: tuple[Array, Array, Array]) -> None:
    positions, _, coefficients = ethane
    for name, part in (("ethane_train", slice(0, 2)), ("ethane_test", slice(2, 3))):
        folder = tmp_path / "ethane" / name
        folder.mkdir(parents=True)
        np.save(folder / "structures.npy", positions[part])
        np.save(folder / "dft_densities.npy", coefficients[part])
    assert kind_of(tmp_path / "ethane") == "md"
    bring(tmp_path / "ethane", tmp_path / "s")
    check_ethane(tmp_path / "s", ethane)


@pytest.mark.parametrize("unit", [1.0, BOHR])
def test_md_texts(tmp_path: Path, ethane: tuple[Array, Array, Array], unit: float) -> None:
    """Layout B, with coordinates in Bohr or in Å; an interrupted import goes on."""
    positions, _, coefficients = ethane
    for name, part in (("ethane_300K", slice(0, 2)), ("ethane_300K-test", slice(2, 3))):
        folder = tmp_path / "sets" / name
        folder.mkdir(parents=True)
        np.savetxt(folder / "densities.txt", coefficients[part], fmt="%.10e")
        frames = [Atoms(MOLECULES["ethane"], frame * unit) for frame in positions[part]]
        lines = [
            "8\nframe\n" + "".join(f"{a.symbol} {a.x:.9f} {a.y:.9f} {a.z:.9f}\n" for a in atoms) for atoms in frames
        ]
        (folder / "structures.xyz").write_text("".join(lines))
    source = open_source([tmp_path / "sets"], UserStatement())
    import_source(source, tmp_path / "s", limit=1)
    import_source(open_source([tmp_path / "sets"], UserStatement()), tmp_path / "s", resume=True)
    check_ethane(tmp_path / "s", ethane)


def test_decoding_as_published() -> None:
    """Coefficients of chance, decoded step by step as the paper's code tells it."""
    coefficients = np.random.default_rng(0).standard_normal(N_AXIS**3)
    d = coefficients.astype(complex).reshape(3 * (N_AXIS,))
    for axis in range(3):
        d = np.swapaxes(d, 0, axis)
        d[:25] = (d[:25] - 1j * d[25:]) / 2
        d[25:] = np.flip(d[1:26], axis=0).conj()
        d = np.swapaxes(np.fft.ifft(d, axis=0), 0, axis)
    np.testing.assert_allclose(decoded(coefficients).reshape(-1), d.real.reshape(-1)[::-1], atol=1e-12)


def test_names_of_md_folders() -> None:
    assert molecule_and_split(Path("x/ethanol_train")) == ("ethanol", "train")
    assert molecule_and_split(Path("x/malonaldehyde_300K-test")) == ("malonaldehyde", "test")


def test_broken_md_sets(tmp_path: Path, ethane: tuple[Array, Array, Array]) -> None:
    positions, _, coefficients = ethane
    folder = tmp_path / "propane_train"
    folder.mkdir()
    np.save(folder / "structures.npy", positions)
    np.save(folder / "dft_densities.npy", coefficients[:, :1000])
    with pytest.raises(UserError, match=r"the atoms of .*propane_train are not known.*--elements C2,O,H6"):
        bring(folder, tmp_path / "s")
    with pytest.raises(UserError, match=r"structures.npy has shape \(3, 8, 3\), expected \(3, 9, 3\) for CCOHHHHHH"):
        bring(folder, tmp_path / "s", UserStatement(elements=tuple(MOLECULES["ethanol"])))
    with pytest.raises(UserError, match=r"dft_densities.npy has shape \(3, 1000\), expected \(3, 125000\)"):
        bring(folder, tmp_path / "s", UserStatement(elements=tuple(MOLECULES["ethane"])))
    bad = coefficients[:1].copy()
    bad[0, 7] = np.nan
    np.save(folder / "structures.npy", positions[:1])
    np.save(folder / "dft_densities.npy", bad)
    with pytest.raises(UserError, match=r"frame 0 of .*propane_train holds numbers that are not finite"):
        bring(folder, tmp_path / "s", UserStatement(elements=tuple(MOLECULES["ethane"])))
    (folder / "dft_densities.npy").write_bytes(pickle.dumps([1]))
    with pytest.raises(UserError, match=r"dft_densities.npy is not a whole .npy file.*pickles are never opened"):
        bring(folder, tmp_path / "s", UserStatement(elements=tuple(MOLECULES["ethane"])))
    (folder / "dft_densities.npy").unlink()
    with pytest.raises(UserError, match=r"holds no folder with structures.npy and dft_densities.npy"):
        bring(folder, tmp_path / "s", kind=SourceKind.MD)
    (folder / "structures.xyz").write_text("1\n\nC 0 0 0\n1\n\nC 0 x 0\n")
    (folder / "densities.txt").write_text("1.0 " * 10)
    with pytest.raises(UserError, match=r"densities.txt ends in line 1, after 10 values of 50 x 50 x 50"):
        bring(folder, tmp_path / "s")
    assert not (tmp_path / "s").exists()


# folders of the residual CNN


def methane_folder(folder: Path) -> Array:
    """A folder as the residual CNN's sets have them: 8 electrons in a box of 6 Å; gives e/Bohr³."""
    folder.mkdir(parents=True)
    directions = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    positions = 3 + 0.63 * directions
    axis = np.arange(20) / 20 * 6
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    density = gaussians(points, positions, np.array([4, 1, 1, 1, 1]), 0.5) * BOHR**3
    np.save(folder / "rho_22.npy", density.reshape(-1))
    np.savetxt(folder / "grid_sizes_22.dat", [20, 20, 20], fmt="%d")
    np.save(folder / "box.npy", 6 * np.eye(3))
    lines = [f"{s} {x:.8f} {y:.8f} {z:.8f}" for s, (x, y, z) in zip("CHHHH", positions, strict=True)]
    (folder / "centered.xyz").write_text("5\n\n" + "\n".join(lines) + "\n")
    return density


def test_residual_cnn(tmp_path: Path) -> None:
    densities = {name: methane_folder(tmp_path / "set" / name) for name in ("dsgdb9nsd_000001", "dsgdb9nsd_000002")}
    (tmp_path / "set" / "dsgdb9nsd_000002" / "box.npy").unlink()
    assert kind_of(tmp_path / "set") == "residual-cnn"
    bring(tmp_path / "set", tmp_path / "s")
    assert Store(tmp_path / "s").keys() == list(densities)
    for record, density in zip(grids(tmp_path / "s"), densities.values(), strict=True):
        np.testing.assert_allclose(record.values, density / BOHR**3, rtol=1e-6)
        np.testing.assert_allclose(record.steps, 0.3 * np.eye(3), atol=1e-8)
        assert record.structure.formula == "CH4"
        assert record.values.sum() * 0.027 == pytest.approx(8, abs=1e-2)
    bring(tmp_path / "set" / "dsgdb9nsd_000001", tmp_path / "one")
    assert Store(tmp_path / "one").keys() == ["dsgdb9nsd_000001"]


def test_residual_cnn_source_depends_on_its_densities(tmp_path: Path) -> None:
    density = methane_folder(tmp_path / "m")
    bring(tmp_path / "m", tmp_path / "s")
    density[-1, -1, -1] += 1e-4
    np.save(tmp_path / "m" / "rho_22.npy", density.reshape(-1))
    bring(tmp_path / "m", tmp_path / "t")
    assert Store(tmp_path / "s").manifest.source() != Store(tmp_path / "t").manifest.source()


RESIDUAL_MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "sizes": (
        lambda f: (f / "grid_sizes_22.dat").write_text("20 20 21"),
        "rho_22.npy holds 8000 values, expected 8400",
    ),
    "no sizes": (lambda f: (f / "grid_sizes_22.dat").unlink(), "grid_sizes_22.dat does not exist"),
    "words": (
        lambda f: (f / "grid_sizes_22.dat").write_text("20 x 20"),
        "line 1: expected numbers, but found '20 x 20'",
    ),
    "nan": (lambda f: (f / "grid_sizes_22.dat").write_text("20 20 nan"), "is not a table of numbers"),
    "two sizes": (lambda f: (f / "grid_sizes_22.dat").write_text("20 20"), "expected three numbers of points"),
    "box": (lambda f: np.save(f / "box.npy", np.zeros((3, 3))), "expected three lattice vectors"),
    "wrong box": (lambda f: np.save(f / "box.npy", 5 * np.eye(3)), "integrates to .* electrons, expected 8"),
    "atom missing": (
        lambda f: (f / "centered.xyz").write_text("2\n\nC 0 0 0\n"),
        "ends after line 3, before its atom 2 of 2",
    ),
    "no atoms": (lambda f: (f / "centered.xyz").write_text("\n"), "centered.xyz holds no atoms"),
    "pickle": (lambda f: (f / "rho_22.npy").write_bytes(pickle.dumps([1])), "pickles are never opened"),
    "cut": (
        lambda f: (f / "rho_22.npy").write_bytes((f / "rho_22.npy").read_bytes()[:5000]),
        "is not a whole .npy file",
    ),
    "empty": (lambda f: (f / "rho_22.npy").write_bytes(b""), "is not a whole .npy file"),
}


@pytest.mark.parametrize("name", RESIDUAL_MISTAKES)
def test_broken_residual_cnn(name: str, tmp_path: Path) -> None:
    change, message = RESIDUAL_MISTAKES[name]
    methane_folder(tmp_path / "m")
    change(tmp_path / "m")
    with pytest.raises(UserError, match=message) as caught:
        bring(tmp_path / "m", tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


# cubic crystals


def rock_salt() -> tuple[dict[str, Any], Array]:
    """A crystal's JSON, and its values in e/Å³: 7 electrons of Li and F with one value lost to stars."""
    values = np.random.default_rng(3).random((3, 4, 5))
    values[0, 0, 0] = 0
    values *= 8 * 60 / values.sum()  # density times volume
    words = [f"{value:.5f}" for value in values.transpose(2, 1, 0).reshape(-1)]
    words[0] = "*" * 11
    tree = {
        "vector": [["2.0"]],
        "lattice": [[["0.0", "1.0", "1.0"], ["1.0", "0.0", "1.0"], ["1.0", "1.0", "0.0"]]],
        "elements": [["Li", "F"]],
        "elements_number": [["1", "1"]],
        "coordinates": [[["0.0", "0.0", "0.0"], ["0.5", "0.5", "0.5"]]],
        "FFTgrid": [["3", "4", "5"]],
        "chargedensity": [[words[i : i + 10] for i in range(0, 60, 10)]],
    }
    return tree, values / 16


def test_crystals(tmp_path: Path) -> None:
    tree, values = rock_salt()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mp-1.json.xz").write_bytes(lzma.compress(json.dumps(tree).encode()))
    flat = {name: entry[0] for name, entry in tree.items()}
    flat["chargedensity"] = "\n".join(" ".join(line) for line in tree["chargedensity"][0])
    (tmp_path / "set" / "mp-2.json").write_text(json.dumps(flat))
    assert kind_of(tmp_path / "set") == "crystal-json"
    bring(tmp_path / "set", tmp_path / "s")
    assert Store(tmp_path / "s").keys() == ["mp-1", "mp-2"]
    for record in grids(tmp_path / "s"):
        np.testing.assert_allclose(record.values, values, atol=1e-5)
        np.testing.assert_allclose(record.steps[0], [0, 2 / 3, 2 / 3])
        np.testing.assert_allclose(record.structure.positions[1], [2, 2, 2])
        assert record.structure.formula == "FLi"


CRYSTAL_MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no grid": (lambda tree: tree.pop("FFTgrid"), "is not the JSON of a crystal: it has no 'FFTgrid'"),
    "wrong grid": (
        lambda tree: tree.update(FFTgrid=[["3", "4", "6"]]),
        "holds 60 values, expected a grid of 3 x 4 x 6",
    ),
    "huge grid": (lambda tree: tree.update(FFTgrid=[["9999999"] * 3]), "holds 60 values, expected a grid"),
    "too large": (lambda tree: tree["chargedensity"][0][0].__setitem__(2, "1e99"), "holds values that are not finite"),
    "atom missing": (
        lambda tree: tree.update(elements_number=[["1", "2"]]),
        "names 3 atoms of Li F, but 2 coordinates",
    ),
    "element": (lambda tree: tree.update(elements=[["Li", "Q"]]), "expected element symbols, but found 'Q'"),
    "word": (lambda tree: tree["chargedensity"][0][0].__setitem__(2, "x"), "could not convert string to float: .*'x'"),
    "nan": (lambda tree: tree["chargedensity"][0][0].__setitem__(2, "nan"), "holds values that are not finite"),
    "flat": (lambda tree: tree.update(lattice=[[["1", "0", "0"]] * 3]), "expected three lattice vectors"),
    "scale": (lambda tree: tree.update(vector=[]), "is not the JSON of a crystal"),
    "list": (lambda tree: tree.update(lattice=3), "is not the JSON of a crystal"),
}


@pytest.mark.parametrize("name", CRYSTAL_MISTAKES)
def test_broken_crystals(name: str, tmp_path: Path) -> None:
    change, message = CRYSTAL_MISTAKES[name]
    tree, _ = rock_salt()
    change(tree)
    (tmp_path / "a.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=message) as caught:
        bring(tmp_path / "a.json", tmp_path / "s")
    assert "\n" not in str(caught.value)
    (tmp_path / "a.json").write_text(json.dumps(tree)[:-9])
    with pytest.raises(UserError, match=r"a.json is not the JSON of a crystal"):
        bring(tmp_path / "a.json", tmp_path / "s")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a.json is not the JSON of a crystal"):
        bring(tmp_path / "a.json", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_kinds_told_by_content(tmp_path: Path) -> None:
    water_cube(tmp_path / "a.cube")
    (tmp_path / "density").write_bytes((tmp_path / "a.cube").read_bytes())
    assert kind_of(tmp_path / "density") == "cube"
    bring(tmp_path / "density", tmp_path / "s")
    (tmp_path / "charge").write_text("a\n1\n4 0 0\n0 4 0\n0 0 4\nC\n1\n")
    assert kind_of(tmp_path / "charge") == "chgcar"
    (tmp_path / "tree").write_text(json.dumps(rock_salt()[0]))
    assert kind_of(tmp_path / "tree") == "crystal-json"
    (tmp_path / "zip").write_bytes(b"PK\x03\x04")
    assert kind_of(tmp_path / "zip") == "npz"
    (tmp_path / "nothing").write_text("text\n")
    with pytest.raises(UserError, match=r"cannot tell what .*nothing holds"):
        kind_of(tmp_path / "nothing")
