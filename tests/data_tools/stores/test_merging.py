"""Parts of stores, and stores put together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import GOLDEN

from data_tools.stores.merging import first_difference, merge, subset
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.pyscf.bases import named_basis
from orbdens.shipped import store_path
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.store.encoding import encode_record


def copy(source: Store, path: Path, manifest: Manifest, keys: list[str], splits: dict[str, list[str]]) -> Store:
    with StoreWriter(path, manifest) as writer:
        for key in keys:
            writer.put(key, source[key])
        writer.finish(splits)
    return Store(path)


@pytest.fixture
def ethanol() -> Store:
    return Store(GOLDEN / "ethanol")


def test_subset(tmp_path: Path, ethanol: Store) -> None:
    count = subset(ethanol, tmp_path / "s", split="train", n=2)
    part = Store(tmp_path / "s")
    train = ethanol.keys("train")
    assert count == 2
    assert part.keys() == [train[0], train[-1]]
    assert part.manifest.splits == {"train": [train[0], train[-1]]}
    assert part.manifest.level == ethanol.manifest.level
    assert part.manifest.label_basis == ethanol.manifest.label_basis
    assert part.manifest.provenance["chosen"] == {"split": "train", "n": 2}
    assert part.manifest.provenance["source"]["provenance"] == ethanol.manifest.provenance
    for key in part.keys():  # noqa: SIM118
        assert encode_record(part[key]) == encode_record(ethanol[key])


def test_subset_by_keys_and_elements(tmp_path: Path, ethanol: Store) -> None:
    keys = ethanol.keys()
    assert subset(ethanol, tmp_path / "s", keys=[keys[4], keys[1], keys[4]], elements=["O", "H", "C"]) == 2
    assert Store(tmp_path / "s").keys() == [keys[1], keys[4]]
    with pytest.raises(UserError, match=r"no record of .* is left to make"):
        subset(ethanol, tmp_path / "t", elements=["H", "C"])
    with pytest.raises(UserError, match="has no record 'nobody'"):
        subset(ethanol, tmp_path / "t", keys=["nobody"])
    with pytest.raises(UserError, match=r"has no record '.*' in split 'test'"):
        subset(ethanol, tmp_path / "t", split="test", keys=ethanol.keys("train"))
    with pytest.raises(UserError, match="'Xy' is not the symbol"):
        subset(ethanol, tmp_path / "t", elements=["Xy"])
    assert not (tmp_path / "t").exists()


def test_grids_in_half_precision(tmp_path: Path) -> None:
    grid = Store(GOLDEN / "grid")
    subset(grid, tmp_path / "s", float16=True)
    part = Store(tmp_path / "s")
    record, original = part["h2"], grid["h2"]
    assert isinstance(record, GridRecord)
    assert isinstance(original, GridRecord)
    assert record.values.dtype == np.float16
    error = 100 * np.abs(record.values - original.values).sum() / np.abs(original.values).sum()
    assert part.manifest.provenance["float16"]["mean_nmae_percent"] == pytest.approx(error, rel=1e-3)
    assert 0 < error < 0.05
    assert {file.name for file in (tmp_path / "s").iterdir()} == {"data.mdb", "manifest.json"}


def test_merge(tmp_path: Path, ethanol: Store) -> None:
    keys, manifest = ethanol.keys(), ethanol.manifest
    a = copy(ethanol, tmp_path / "a", manifest, keys[:2], {"train": keys[:1]})
    b = copy(ethanol, tmp_path / "b", manifest, keys[2:], {"train": keys[3:5], "test": keys[5:]})
    assert merge([a, b], tmp_path / "both") == 6
    both = Store(tmp_path / "both")
    assert both.keys() == keys
    assert both.manifest.splits == {"train": [keys[0], *keys[3:5]], "test": keys[5:]}
    for key in keys:
        assert encode_record(both[key]) == encode_record(ethanol[key])
    assert [source["store"] for source in both.manifest.provenance["sources"]] == ["a", "b"]


def test_clashing_keys(tmp_path: Path, ethanol: Store) -> None:
    keys, manifest = ethanol.keys(), ethanol.manifest
    a = copy(ethanol, tmp_path / "a", manifest, keys[:2], {})
    b = copy(ethanol, tmp_path / "b", manifest, keys[1:3], {"test": keys[1:2]})
    with pytest.raises(UserError, match=f"both have a record '{keys[1]}'; --prefix"):
        merge([a, b], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    merge([a, b], tmp_path / "both", prefix=True)
    both = Store(tmp_path / "both")
    assert both.keys() == [f"a-{keys[0]}", f"a-{keys[1]}", f"b-{keys[1]}", f"b-{keys[2]}"]
    assert both.keys("test") == [f"b-{keys[1]}"]


def test_other_elements_are_joined(tmp_path: Path, ethanol: Store) -> None:
    manifest = ethanol.manifest
    basis, valence = named_basis(["H", "N"], "gth-dzvp", "gth-pbe")
    other = replace(manifest, label_basis=basis, valence_electrons=valence)
    assert first_difference(manifest, other) is None
    with StoreWriter(tmp_path / "n2", other) as writer:
        record = ethanol[ethanol.keys()[0]]
        assert isinstance(record, OrbitalRecord)
        structure = replace(record.structure, numbers=np.array([7, 7]), positions=record.structure.positions[:2])
        writer.put("n2", replace(record, structure=structure, orbitals=record.orbitals[:26]))
        writer.finish({})
    merge([ethanol, Store(tmp_path / "n2")], tmp_path / "both")
    both = Store(tmp_path / "both")
    assert both.manifest.label_basis is not None
    assert both.manifest.label_basis.symbols == ("H", "C", "N", "O")
    assert list(both.manifest.valence_electrons) == ["H", "C", "N", "O"]
    assert len(both["n2"].structure.numbers) == 2


def test_first_difference(ethanol: Store) -> None:
    manifest = ethanol.manifest
    assert manifest.label_basis is not None
    h, c = manifest.label_basis.elements["H"], manifest.label_basis.elements["C"]
    swapped = replace(manifest.label_basis, elements={**manifest.label_basis.elements, "C": h, "H": c})
    for other, expected in (
        (replace(manifest, level={**manifest.level, "xc": "B3LYP"}), "xc (PBE and B3LYP)"),
        (replace(manifest, level={**manifest.level, "code": "another", "xc": "pbe"}), None),
        (replace(manifest, level={**manifest.level, "grid_level": 3}), "grid_level (1 and 3)"),
        (replace(manifest, level={**manifest.level, "scf_tolerance": 1e-6}), None),
        (replace(manifest, level={n: v for n, v in manifest.level.items() if n != "grid_level"}), None),
        (replace(manifest, level={n: v for n, v in manifest.level.items() if n != "xc"}), "xc (PBE and None)"),
        (replace(manifest, density="all-electron"), "density (valence and all-electron)"),
        (replace(manifest, valence_electrons={"H": 1, "C": 6, "O": 6}), "electrons of C (4 and 6)"),
        (replace(manifest, label_basis=swapped), "label basis of "),
        (replace(manifest, label_basis=None), "kind: one holds orbitals, the other grids"),
    ):
        found = first_difference(manifest, other)
        assert found == expected or (expected is not None and found is not None and found.startswith(expected))


def test_refused(tmp_path: Path, ethanol: Store) -> None:
    with pytest.raises(UserError, match="cannot be merged: they differ in"):
        merge([ethanol, Store(store_path())], tmp_path / "both")
    with pytest.raises(UserError, match="is named twice"):
        merge([ethanol, Store(GOLDEN / ".." / "golden" / "ethanol")], tmp_path / "both")
    subset(ethanol, tmp_path / "a")
    with pytest.raises(UserError, match="cannot be made of itself"):
        subset(Store(tmp_path / "a"), tmp_path / "a", overwrite=True)
    with pytest.raises(UserError, match="exists; resume or overwrite it"):
        subset(ethanol, tmp_path / "a", n=1)
    assert len(Store(tmp_path / "a")) == 6


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, both = (str(tmp_path / name) for name in ("a", "b", "both"))
    (tmp_path / "keys.txt").write_text("\n".join(Store(GOLDEN / "ethanol").keys("test")) + "\n\n")
    assert run(["data", "subset", str(GOLDEN / "ethanol"), a, "--split", "train", "--elements", "H, C,O"], False) == 0
    assert run(["data", "subset", str(GOLDEN / "ethanol"), b, "--keys", str(tmp_path / "keys.txt")], False) == 0
    assert run(["data", "merge", a, b, both], False) == 0
    assert "wrote" in capsys.readouterr().out
    assert Store(both).keys() == Store(GOLDEN / "ethanol").keys()
    assert run(["data", "merge", a, b], False) == 2
    assert run(["data", "subset", a, b, "--keys", str(tmp_path / "nothing.txt")], False) == 2
    assert "cannot read keys from" in capsys.readouterr().err
