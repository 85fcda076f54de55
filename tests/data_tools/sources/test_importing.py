"""The way from a source to a store: splits, resuming, kills, broken records, and what an archive must not do."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
from importing import bring, chgcar, tar

import orbdens
from data_tools.cli.parsing import parse_elements, parse_valence
from data_tools.sources.files import record_key
from data_tools.sources.importing import import_source
from data_tools.sources.kinds import kind_of, open_source
from data_tools.sources.record_source import Item, RecordSource
from data_tools.sources.statement import UserStatement
from data_tools.stores.rounding import JOURNAL
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.store import GridRecord, Manifest, Store
from orbdens.structure import Structure

ROOT = Path(orbdens.__file__).parents[1]
ENDINGS = (".chgcar", "_chgcar")


def same(one: Path, other: Path) -> None:
    """Two stores hold the same records and say the same of themselves."""
    a, b = Store(one), Store(other)
    assert a.manifest.to_json() == b.manifest.to_json()
    assert a.keys() == b.keys()
    for key in a.keys():  # noqa: SIM118
        assert a.stored(key) == b.stored(key)
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())


@pytest.fixture
def qm9(tmp_path: Path) -> list[Path]:
    """Two archives as QM9-VASP has them, and its split file beside them."""
    packed = {f"{i:06d}.CHGCAR.lz4": lz4.frame.compress(chgcar(i)) for i in range(1, 6)}
    names = list(packed)
    first = tar(tmp_path / "a.tar", {"README": b"not a density", **{name: packed[name] for name in names[:3]}})
    second = tar(tmp_path / "b.tar.gz", {name: packed[name] for name in names[3:]}, "w:gz")
    (tmp_path / "datasplits.json").write_text(json.dumps({"train": [3, 0, 1], "validation": [4], "test": [2, 9]}))
    return [first, second]


def test_archives_with_their_split_file(qm9: list[Path], tmp_path: Path) -> None:
    done = bring(qm9, tmp_path / "s", UserStatement(splits=tmp_path / "datasplits.json", level={"xc": "PBE"}))
    store = Store(tmp_path / "s")
    assert (done.count, done.skipped, done.not_found) == (5, {}, 1)
    assert store.keys() == [f"{i:06d}" for i in range(1, 6)]
    assert store.manifest.splits == {
        "train": ["000004", "000001", "000002"],
        "validation": ["000005"],
        "test": ["000003"],
    }
    assert store.manifest.valence_electrons == {"C": 4, "O": 6}
    assert store.manifest.density == "valence"
    assert store.manifest.level == {"code": "VASP", "potential": "PAW", "xc": "PBE"}
    assert store.manifest.provenance["source"]["names"] == ["a.tar", "b.tar.gz"]
    assert store.manifest.finished
    record = store["000004"]
    assert isinstance(record, GridRecord)
    alone = tmp_path / "000004.CHGCAR"
    alone.write_bytes(chgcar(4))
    bring(alone, tmp_path / "alone")
    again = Store(tmp_path / "alone")["000004"]
    assert isinstance(again, GridRecord)
    np.testing.assert_array_equal(again.values, record.values)


def test_a_folder_of_everything(qm9: list[Path], tmp_path: Path) -> None:
    """Archives, files and the split file in one folder; CHGCARs are named after their folders."""
    for name in ("run-1/CHGCAR", "run-2/CHGCAR.gz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(gzip.compress(chgcar(8)) if name.endswith(".gz") else chgcar(7))
    assert kind_of(tmp_path) == "chgcar"
    bring(tmp_path, tmp_path / "s", UserStatement(splits=None))
    assert Store(tmp_path / "s").keys()[-3:] == ["000005", "run-1", "run-2"]


def test_resuming(qm9: list[Path], tmp_path: Path) -> None:
    bring(qm9, tmp_path / "whole")
    bring(qm9, tmp_path / "s", limit=2)
    assert len(Store(tmp_path / "s")) == 2
    with pytest.raises(UserError, match="exists; resume or overwrite it"):
        bring(qm9, tmp_path / "s")
    source = open_source(qm9, UserStatement())
    read: list[str] = []

    def watched(items: Any) -> Iterator[Item]:
        for item in items:
            yield replace(item, read=partial(lambda it: (read.append(it.key), it.read())[1], item))

    import_source(replace(source, items=watched(source.items)), tmp_path / "s", resume=True)
    assert read == ["000003", "000004", "000005"]
    same(tmp_path / "s", tmp_path / "whole")
    bring(qm9, tmp_path / "s", resume=True)
    same(tmp_path / "s", tmp_path / "whole")
    with pytest.raises(UserError, match="cannot be resumed: it was made from other options"):
        bring(qm9, tmp_path / "s", UserStatement(charge=1), resume=True)
    with pytest.raises(UserError, match="cannot be resumed: it was made from another file"):
        bring(qm9[0], tmp_path / "s", resume=True)
    same(tmp_path / "s", tmp_path / "whole")
    bring(qm9[0], tmp_path / "s", overwrite=True)
    assert len(Store(tmp_path / "s")) == 3


def test_changed_files_make_another_store(tmp_path: Path) -> None:
    """Targets computed from a store are cached under ``Manifest.source``: it depends on all that the files hold."""
    atoms = "".join(f" 6 4. {i % 9}. {i // 9 % 9}. {i // 81}.\n" for i in range(400))
    head = f"a\nb\n 400 0 0 0\n 4 2 0 0\n 4 0 2 0\n 4 0 0 2\n{atoms}"
    assert len(head) > 4096  # the first bytes of such a file do not tell its density
    path = tmp_path / "a.cube"

    def write(last: float) -> None:
        path.write_text(head + 63 * f"{1600 / 64 / 8:.8f}\n" + f"{1600 / 64 / 8 + last:.8f}\n")

    write(0)
    bring(path, tmp_path / "s")
    before = Manifest.read(tmp_path / "s").source()
    write(1e-4)
    with pytest.raises(UserError, match=r"cannot be resumed: it was made from another file than .* has changed"):
        bring(path, tmp_path / "s", resume=True)
    bring(path, tmp_path / "s", overwrite=True)
    assert Manifest.read(tmp_path / "s").source() != before
    write(0)
    bring(path, tmp_path / "s", overwrite=True)
    assert Manifest.read(tmp_path / "s").source() == before


KILLED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from data_tools.sources.importing import import_source
from data_tools.sources.record_source import Item, RecordSource
from data_tools.stores.rounding import JOURNAL
import numpy as np
from orbdens.store import GridRecord, Manifest
from orbdens.structure import Structure

def record(i):
    time.sleep(float(sys.argv[2]))
    values = np.random.default_rng(i).random((20, 20, 20), dtype=np.float32)
    values *= np.float32(8 / values.sum(dtype=float))
    numbers = np.array([6, 1, 1, 1, 1] if i % 2 else [8, 1, 1])
    structure = Structure(numbers, np.random.default_rng(i).random((len(numbers), 3)))
    return GridRecord(structure, np.zeros(3), np.eye(3), values)

provenance = {"source": "test", "options": "none"}
manifest = Manifest({}, "valence", {"H": 1, "C": 4, "O": 6}, None, provenance)
items = (Item(f"r{i:03d}", f"record {i}", lambda i=i: record(i), "train" if i % 3 else "test") for i in range(60))
print("started", flush=True)
import_source(RecordSource("test", manifest, items, 60, dtype="float16"), Path(sys.argv[1]), resume=True)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """The store opens after each kill with whole records; in the end it is that of an import left alone."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(store: str, pause: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / store), str(pause)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    with start("whole", 0) as alone:
        assert alone.wait(100) == 0
    chance = random.Random(2)
    seen = 0
    for _ in range(5):
        with start("killed", 0.02) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
        if (tmp_path / "killed").exists() and (tmp_path / "killed" / "manifest.json").exists():
            with Store(tmp_path / "killed") as store:
                keys = store.keys()
                assert keys == [f"r{i:03d}" for i in range(len(keys))]
                assert len(keys) >= seen
                seen = len(keys)
                symbols = {"C", "H", "O"} if seen > 1 else set()
                assert symbols <= store.manifest.valence_electrons.keys()
                assert all(isinstance(store[key], GridRecord) for key in keys)
                assert not store.manifest.finished
    with start("killed", 0) as process:
        assert process.wait(100) == 0
    same(tmp_path / "killed", tmp_path / "whole")
    error = Store(tmp_path / "whole").manifest.provenance["float16"]
    assert (error["records"], error["points"]) == (60, 60 * 8000)
    assert 0 < error["mean_error"] < error["largest_error"] < 1e-3


def test_float16_and_its_error(qm9: list[Path], tmp_path: Path) -> None:
    bring(qm9, tmp_path / "32")
    bring(qm9, tmp_path / "16", UserStatement(dtype="float16"), limit=3)
    bring(qm9, tmp_path / "16", UserStatement(dtype="float16"), resume=True)
    bring(qm9, tmp_path / "16", UserStatement(dtype="float16"), resume=True)
    errors = []
    for key in Store(tmp_path / "32").keys():  # noqa: SIM118
        full, half = Store(tmp_path / "32")[key], Store(tmp_path / "16")[key]
        assert isinstance(full, GridRecord) and isinstance(half, GridRecord)
        assert half.values.dtype == np.float16
        errors.append(np.abs(full.values - half.values.astype(np.float32)))
    said = Store(tmp_path / "16").manifest.provenance["float16"]
    assert said["records"] == 5
    assert said["largest_error"] == pytest.approx(np.max(errors))
    assert said["mean_error"] == pytest.approx(np.mean(errors), rel=1e-6)
    assert not (tmp_path / "16" / JOURNAL).exists()


def test_broken_records(tmp_path: Path) -> None:
    members = {f"{i}.CHGCAR": chgcar(i) for i in range(4)}
    members["1.CHGCAR"] = members["1.CHGCAR"].replace(b"E+00", b"****", 1)
    members["3.CHGCAR"] = chgcar(3, electrons=9.9)
    path = tar(tmp_path / "a.tar", members)
    place = f"{path}, member 1.CHGCAR"
    with pytest.raises(UserError, match=r"a.tar, member 1.CHGCAR, line 13: expected value . of 3 x 3 x 3"):
        bring(path, tmp_path / "s")
    assert Store(tmp_path / "s").keys() == ["0"]  # what was finished stays
    (tmp_path / "splits.json").write_text('{"train": [0, 1], "test": [2, 3]}')
    done = bring(path, tmp_path / "s", UserStatement(splits=tmp_path / "splits.json"), resume=True, skip_broken=True)
    store = Store(tmp_path / "s")
    assert (done.count, done.not_found, store.manifest.finished) == (2, 2, True)
    skipped = store.manifest.provenance["skipped"]
    assert list(skipped) == ["1", "3"]
    assert skipped["1"].startswith(place)
    assert "integrates to 9.9000 electrons, expected 10 (C 4, O 6)" in skipped["3"]
    assert store.manifest.splits == {"train": ["0"], "test": ["2"]}
    bring(path, tmp_path / "s", resume=True, skip_broken=True, tolerance=0.2)
    assert list(Store(tmp_path / "s").manifest.provenance["skipped"]) == ["1"]


def test_valence_electrons(tmp_path: Path) -> None:
    (tmp_path / "a.CHGCAR").write_bytes(chgcar(1, 16, "Ti"))
    with pytest.raises(UserError, match=r"a.CHGCAR integrates to 16.0000 electrons, expected 8 \(C 4, Ti 4\)"):
        bring(tmp_path / "a.CHGCAR", tmp_path / "s")
    assert not (tmp_path / "s").exists()
    bring(tmp_path / "a.CHGCAR", tmp_path / "s", UserStatement(valence=parse_valence("Ti=12")))
    assert Store(tmp_path / "s").manifest.valence_electrons == {"C": 4, "Ti": 12}
    (tmp_path / "b.CHGCAR").write_bytes(chgcar(1, 10, "U"))
    with pytest.raises(UserError, match=r"b\.CHGCAR holds U, whose valence electrons are not known; --valence U=n"):
        bring(tmp_path / "b.CHGCAR", tmp_path / "t")
    bring(tmp_path / "b.CHGCAR", tmp_path / "t", UserStatement(density="all-electron"), tolerance=100)
    assert Store(tmp_path / "t").manifest.valence_electrons == {"C": 6, "U": 92}
    assert parse_elements("C2,O,H3") == ("C", "C", "O", "H", "H", "H")


def test_two_records_of_one_name(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"x.CHGCAR": chgcar(1), "x.CHGCAR.gz": gzip.compress(chgcar(2))})
    with pytest.raises(UserError, match=r"a\.tar holds two records that would be named 'x'"):
        bring(path, tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("000001.CHGCAR.lz4", "000001"),
        ("./set/000001.CHGCAR.lz4", "set/000001"),
        ("mp-1/CHGCAR.gz", "mp-1"),
        ("CHGCAR", "CHGCAR"),
        ("odd.name", "odd.name"),
        ("v1.2_CHGCAR", "v1.2"),
    ],
)
def test_keys(name: str, key: str) -> None:
    assert record_key(name, ENDINGS) == key


SPLIT_FILES = {
    "[1, 2]": "expected named lists",
    '{"train": 3}': "expected named lists",
    "{": "is not JSON",
    "": "is empty",
    '{"train": [0, 0]}': "names 0, which split 'train' names as well",
    '{"train": ["1"], "test": ["1"]}': "names '1', which split 'train' names as well",
    '{"train": [-1]}': "holds -1, neither a key nor a place",
    '{"train": [true]}': "holds True, neither a key nor a place",
    '{"train": ["nobody"]}': "the splits name none of the records, which are named like '1'",
}


@pytest.mark.parametrize("text", SPLIT_FILES)
def test_broken_split_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "1.CHGCAR").write_bytes(chgcar(1))
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(UserError, match=SPLIT_FILES[text]):
        bring(tmp_path / "1.CHGCAR", tmp_path / "s", UserStatement(splits=tmp_path / "splits.json"))


def test_sources_of_nothing(tmp_path: Path) -> None:
    manifest = Manifest({}, "valence", {"H": 1}, None, {})
    with pytest.raises(UserError, match="nothing holds no records"):
        import_source(RecordSource("nothing", manifest, []), tmp_path / "s")

    def broken() -> GridRecord:
        raise UserError("it is broken")

    with pytest.raises(UserError, match="none of the 1 records of nothing can be read: it is broken"):
        import_source(RecordSource("nothing", manifest, [Item("a", "a", broken)]), tmp_path / "s", skip_broken=True)
    holed = GridRecord(Structure(np.array([1]), np.zeros((1, 3))), np.zeros(3), np.eye(3), np.full((2, 2, 2), np.nan))
    with pytest.raises(UserError, match="place: values holds numbers that are not finite"):
        import_source(RecordSource("nothing", manifest, [Item("a", "place", lambda: holed)]), tmp_path / "s")
    assert not (tmp_path / "s").exists()


MISTAKES = {
    "data import empty.CHGCAR s": "empty.CHGCAR is empty",
    "data import pickle.CHGCAR s": "pickle.CHGCAR is a Python pickle, and pickles are never opened",
    "data import cut.CHGCAR.gz s": "cut.CHGCAR.gz is truncated: its gzip data ends after",
    "data import garbage.CHGCAR s": "garbage.CHGCAR, line",
    "data import garbage s": "cannot tell what garbage holds; --format names one of",
    "data import empty s": "cannot tell what empty holds",
    "data import none.CHGCAR s": "none.CHGCAR does not exist",
    "data import stars.CHGCAR s": r"stars.CHGCAR, line 13: expected value . of 3 x 3 x 3, but found '.*\*\*\*\*'",
    "data import good.CHGCAR s --format fchk": "'fchk' is not one of 'points', 'npz', ",
    "data import good.CHGCAR s --dtype float8": "'float8' is not one of 'float32', 'float16'",
    "data import good.CHGCAR s --density core": "'core' is not one of 'valence', 'all-electron'",
    "data import good.CHGCAR s --valence C4": "expected valence electrons as C=4,O=6, but got 'C4'",
    "data import good.CHGCAR s --elements c": "expected elements as C,O,H or C2,O,H6, but got 'c'",
    "data import good.CHGCAR s --level PBE": "expected a level of theory as xc=PBE",
    "data import good.CHGCAR s --charge 1": "integrates to 10.0000 electrons, expected 9",
    "data import good.CHGCAR s --resume --force": "--resume and --force exclude each other",
    "data import good.CHGCAR s --splits none.json": "there is no split file none.json",
    "data import good.CHGCAR good.CHGCAR": "good.CHGCAR exists",
    "data import good.CHGCAR lmdb --resume": "lmdb is not a store",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_end_in_one_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.CHGCAR").write_bytes(chgcar(1))
    Path("stars.CHGCAR").write_bytes(chgcar(1).replace(b"E+00", b"****", 1))
    Path("cut.CHGCAR.gz").write_bytes(gzip.compress(chgcar(1))[:-200])
    Path("pickle.CHGCAR").write_bytes(pickle.dumps({"a": 1}))
    Path("garbage.CHGCAR").write_bytes(random.Random(0).randbytes(5000))
    Path("garbage").write_bytes(random.Random(0).randbytes(5000))
    Path("empty.CHGCAR").touch()
    Path("empty").mkdir()
    Path("lmdb").mkdir()
    Path("lmdb/data.mdb").write_bytes(pickle.dumps(3))
    before = sorted(tmp_path.rglob("*"))
    assert run(command.split(), debug=False) == 2
    output = capsys.readouterr()
    assert re.search(MISTAKES[command], output.err), output.err
    assert len(output.err.strip().splitlines()) == 1
    assert output.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tar(tmp_path / "a.tar", {"0.CHGCAR": chgcar(0), "1.CHGCAR": b"", "2.CHGCAR": chgcar(2)})
    Path("splits.json").write_text('{"train": ["0", "1"]}')
    command = "data import a.tar s --skip-broken --splits splits.json --level xc=PBE"
    assert run(command.split(), debug=False) == 0
    output = capsys.readouterr()
    assert output.out.startswith("wrote s, 2 records")
    assert "1 left out (reasons in s/manifest.json): a.tar, member 1.CHGCAR is empty" in output.err
    assert "1 entries of splits.json are not in the store" in output.err
