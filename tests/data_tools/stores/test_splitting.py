"""Named splits: shares, sizes, compositions and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.stores.splitting import split_store, splits_of_file, write_splits
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.store import GridRecord, Manifest, Store, StoreWriter
from orbdens.structure import Structure

ATOMS = {"H": 1, "C": 6, "O": 8}
FORMULAS = ["H", "HH", "CO", "CHHHH", "OHH", "CHHO", "CCO"]


def make_store(path: Path, n: int) -> Path:
    """A store of n tiny grids whose atoms go through ``FORMULAS``."""
    with StoreWriter(path, Manifest({"xc": "PBE"}, "valence", {"H": 1, "C": 4, "O": 6})) as writer:
        for i in range(n):
            numbers = np.array([ATOMS[symbol] for symbol in FORMULAS[i % len(FORMULAS)]])
            structure = Structure(numbers, np.random.default_rng(i).normal(size=(len(numbers), 3)))
            writer.put(f"r{i:03d}", GridRecord(structure, np.zeros(3), np.eye(3), np.ones((1, 1, 2), dtype=np.float32)))
        writer.finish({})
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(make_store(tmp_path_factory.mktemp("splitting") / "s", 70))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*3 * [st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0])]),
    st.sampled_from(["random", "size", "composition"]),
    st.integers(0, 5),
)
def test_every_split(store: Store, three: tuple[float, ...], by: str, seed: int) -> None:
    shares = dict(zip(("train", "validation", "test"), three, strict=True))
    if sum(three) > 1 + 1e-9 or sum(three) == 0:
        with pytest.raises(UserError, match="add up to at most 1"):
            split_store(store, shares, by, seed)
        return
    splits = split_store(store, shares, by, seed)
    assert splits == split_store(store, shares, by, seed)
    assert list(splits) == [name for name, share in shares.items() if share]
    together = [key for keys in splits.values() for key in keys]
    assert len(set(together)) == len(together)
    for name, keys in splits.items():
        assert keys == sorted(keys)
        assert abs(len(keys) - 70 * shares[name]) <= (1 if by != "composition" else 10)
    structures = {key: store[key].structure for key in store.keys()}  # noqa: SIM118
    if by == "composition":
        formulas = [{structures[key].formula for key in keys} for keys in splits.values()]
        assert sum(map(len, formulas)) == len(set().union(*formulas))
    if by == "size" and "test" in splits:
        smallest = min(structures[key].n_atoms for key in splits["test"])
        others = set(structures) - set(splits["test"])
        assert all(structures[key].n_atoms <= smallest for key in others)


def test_seeds_differ(store: Store) -> None:
    first, second = (split_store(store, {"train": 0.5}, seed=seed) for seed in (0, 1))
    assert first != second


def test_empty_splits_are_refused(store: Store) -> None:
    with pytest.raises(UserError, match=r"split 'test' of share 0.001 would have none of the 70 records"):
        split_store(store, {"train": 0.9, "test": 0.001})


def test_one_composition_cannot_be_divided(tmp_path: Path) -> None:
    one = Store(make_store(tmp_path / "s", 1))
    with pytest.raises(UserError, match=r"'test' of share 0.5 would have none .* split by composition"):
        split_store(one, {"train": 0.5, "test": 0.5}, by="composition")


def test_from_a_file(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "splits.json"
    file.write_text(json.dumps({"fit": [3, "r001", 69], "rest": []}))
    assert splits_of_file(file, store) == {"fit": ["r003", "r001", "r069"], "rest": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "expected named lists in the split file"),
        ('{"a": 1}', "expected named lists in the split file"),
        ('{"a": [70]}', "split 'a' of .* names place 70, .* has 70 records"),
        ('{"a": [-1]}', "split 'a' of .* holds -1, neither a key nor a place"),
        ('{"a": [true]}', "holds True, neither a key nor a place"),
        ('{"a": ["nobody"]}', "split 'a' names a record 'nobody'"),
        ('{"a": [1], "b": ["r001"]}', "record 'r001' is in split 'a' and again in split 'b'"),
    ],
)
def test_broken_files(tmp_path: Path, store: Store, content: str, message: str) -> None:
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(UserError, match=message):
        splits_of_file(tmp_path / "f.json", store)
    with pytest.raises(UserError, match="there is no split file"):
        splits_of_file(tmp_path / "g.json", store)


def test_written_into_the_manifest(tmp_path: Path) -> None:
    path = make_store(tmp_path / "s", 10)
    before = Manifest.read(path)
    write_splits(Store(path), {"train": ["r001"]})
    assert Store(path).keys("train") == ["r001"]
    # caches of fits belong to level and provenance, which a split does not touch
    assert Manifest.read(path).source() == before.source()
    with pytest.raises(UserError, match="has the splits train; --force replaces them"):
        write_splits(Store(path), {"test": ["r002"]})
    write_splits(Store(path), {"test": ["r002"]}, overwrite=True)
    assert Manifest.read(path).splits == {"test": ["r002"]}


def test_an_unfinished_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    StoreWriter(path, Manifest({}, "valence", {"H": 1})).close()
    with pytest.raises(UserError, match="is not finished"):
        write_splits(Store(path), {})


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_store(tmp_path / "s", 20)
    assert run(["data", "split", str(path), "--by", "size"], debug=False) == 0
    assert "train 16, validation 2, test 2" in capsys.readouterr().out
    assert run(["data", "split", str(path), "--train", "2"], debug=False) == 2
    assert run(["data", "split", str(path), "--by", "magic"], debug=False) == 2
    assert "'magic' is not one of 'random', 'size', 'composition'" in capsys.readouterr().err
    assert len(Store(path).keys("test")) == 2
    (tmp_path / "f.json").write_text('{"one": [0], "other": ["r007"]}')
    assert run(["data", "split", str(path), "--force", "--from", str(tmp_path / "f.json")], debug=False) == 0
    assert Store(path).keys("other") == ["r007"]
