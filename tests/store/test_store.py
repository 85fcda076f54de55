"""Stores: what is put in comes out, in every process, after every kill; everything else is one sentence."""

from __future__ import annotations

import json
import multiprocessing
import operator
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
from comparing import assert_same
from places import GOLDEN, ROOT

from orbdens.errors import UserError
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Record, Store, StoreWriter
from orbdens.store.lmdb_values import block_key, decode_entry
from orbdens.store.packing import unpack

MakeRecord = Callable[[int], OrbitalRecord]


@pytest.fixture
def store(tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord) -> Path:
    """A finished store of ten records."""
    path = tmp_path / "store"
    with StoreWriter(path, manifest) as writer:
        for i in range(10):
            writer.put(f"w{i}", orbital_record(i))
        writer.finish({"train": ["w3", "w1"], "test": ["w2"]})
    return path


@pytest.mark.parametrize("shards", [1, 3])
def test_round_trip(tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord, shards: int) -> None:
    records = {f"w{i}": orbital_record(i) for i in range(20)}
    with StoreWriter(tmp_path / "s", replace(manifest, shards=shards)) as writer:
        for key, record in records.items():
            writer.put(key, record)
        assert len(writer) == 20
        writer.finish({"train": ["w3", "w1"]})
    with Store(tmp_path / "s") as store:
        assert len(store) == 20
        assert store.keys() == sorted(records)
        assert store.keys("train") == ["w3", "w1"]
        assert "w3" in store
        assert "nobody" not in store
        assert "" not in store
        assert "x" * 600 not in store
        assert "\0\0\0\0\0" not in store  # where the first block is
        assert store.manifest == replace(writer.manifest, finished=True, count=20)
        for key, record in records.items():
            assert_same(store[key], record)
    assert not list((tmp_path / "s").rglob("lock.mdb"))


def test_arrays_may_be_written_to(store: Path) -> None:
    record = Store(store)["w0"]
    assert isinstance(record, OrbitalRecord)
    assert record.orbitals.flags.writeable


def test_grid_record(tmp_path: Path, manifest: Manifest, grid_record: GridRecord) -> None:
    with StoreWriter(tmp_path / "s", replace(manifest, label_basis=None)) as writer:
        writer.put("a", grid_record)
        writer.finish({})
    assert_same(Store(tmp_path / "s")["a"], grid_record)


def test_float32_positions_take_half_the_room(tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord) -> None:
    record = orbital_record(0)
    exact = replace(record, structure=replace(record.structure, positions=np.float32(record.structure.positions)))
    with StoreWriter(tmp_path / "s", manifest) as writer:
        writer.put("double", record)
        writer.put("single", exact)
    store = Store(tmp_path / "s")
    assert len(unpack(store.stored("double"))) - len(unpack(store.stored("single"))) >= 32
    assert_same(store["single"], exact)


def test_large_records_grow_the_map(
    tmp_path: Path, manifest: Manifest, grid_record: GridRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbdens.store.writer.FIRST_MAP_SIZE", 1 << 20)
    noise = np.random.default_rng(0).integers(0, 0x7C00, (90, 100, 130), dtype=np.uint16).view(np.float16)
    large = replace(grid_record, values=noise, spin_values=noise)
    with StoreWriter(tmp_path / "s", replace(manifest, label_basis=None)) as writer:
        writer.put("a", large)
        writer.finish({})
    record = Store(tmp_path / "s")["a"]
    assert isinstance(record, GridRecord)
    assert record.values.shape == (90, 100, 130)
    assert record.values.tobytes() == noise.tobytes()
    assert (tmp_path / "s" / "data.mdb").stat().st_size > 4 << 20


@pytest.mark.parametrize("name", ["ethanol", "ethanol_v2", "grid", "grid_v2"])
def test_structures_alone(name: str) -> None:
    store = Store(GOLDEN / name)
    for key in store.keys():  # noqa: SIM118
        assert_same(store.structure(key), store[key].structure)


def test_structures_of_crystals_and_ions(
    tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord, grid_record: GridRecord
) -> None:
    with StoreWriter(tmp_path / "s", manifest) as writer:
        writer.put("ion", orbital_record(0))
        writer.put("crystal", grid_record)
    store = Store(tmp_path / "s")
    assert_same(store.structure("ion"), orbital_record(0).structure)
    assert_same(store.structure("crystal"), grid_record.structure)
    with pytest.raises(UserError, match="no record 'nobody'"):
        store.structure("nobody")


@pytest.mark.parametrize("version", [1, 2])
def test_golden_stores(version: int) -> None:
    """Stores of both format versions stay readable."""
    expected = json.loads((GOLDEN / "ethanol_expected.json").read_text())["records"]
    suffix = "" if version == 1 else f"_v{version}"
    store = Store(GOLDEN / f"ethanol{suffix}")
    assert store.manifest.format_version == version
    assert {name: len(keys) for name, keys in store.manifest.splits.items()} == {"train": 4, "test": 2}
    assert sorted(expected) == store.keys()
    for key, values in expected.items():
        record = store[key]
        assert isinstance(record, OrbitalRecord)
        assert record.energy == values["energy"]
        assert store.manifest.n_electrons(record.structure) == values["n_electrons"]
        assert record.orbitals.shape == (69, 10)
    grid = Store(GOLDEN / f"grid{suffix}")["h2"]
    assert isinstance(grid, GridRecord)
    assert grid.values.sum(dtype=np.float64) * np.linalg.det(grid.steps) == pytest.approx(2, abs=1e-5)


def test_both_versions_hold_the_same() -> None:
    for name in ("ethanol", "grid"):
        old, new = Store(GOLDEN / name), Store(GOLDEN / f"{name}_v2")
        assert old.keys() == new.keys()
        for key in old.keys():  # noqa: SIM118
            assert_same(old[key], new[key])


def test_resuming_a_store_of_version_1(tmp_path: Path, grid_record: GridRecord) -> None:
    """Old records stay as they are, new ones are packed, and readers of version 1 are warned off by the manifest."""
    shutil.copytree(GOLDEN / "grid", tmp_path / "s")
    old = Store(tmp_path / "s")["h2"]
    with StoreWriter(tmp_path / "s", Manifest.read(tmp_path / "s"), resume=True) as writer:
        assert Manifest.read(tmp_path / "s").format_version == 2
        assert len(writer) == 1
        assert "h2" in writer
        writer.put("a", grid_record)
        writer.finish({"test": ["a", "h2"]})
    store = Store(tmp_path / "s")
    assert store.keys() == ["a", "h2"]
    assert_same(store["h2"], old)
    assert_same(store["a"], grid_record)


def test_orbitals_take_less_than_raw_on_disk(tmp_path: Path) -> None:
    """Pages, index and header included, whatever the commits were."""
    golden = Store(GOLDEN / "ethanol_v2")
    records = [golden[key] for key in golden.keys()]  # noqa: SIM118
    raw = 0
    with StoreWriter(tmp_path / "s", golden.manifest) as writer:
        for i in range(300):
            record = records[i % 6]
            assert isinstance(record, OrbitalRecord)
            writer.put(f"ethanol-{i:05d}", record)
            raw += record.orbitals.nbytes + 4 * record.occupations.size + 13 * record.structure.n_atoms + 16
            if i % 3 == 0:
                writer.flush()
        writer.finish({})
    assert (tmp_path / "s" / "data.mdb").stat().st_size < 1.01 * raw
    assert [path.name for path in (tmp_path / "s").iterdir() if path.is_dir()] == []


def test_pickles_to_little_and_reads_again(store: Path) -> None:
    opened = Store(store)
    record = opened["w5"]
    travelled = pickle.dumps(opened)
    assert len(travelled) < 5000
    assert_same(pickle.loads(travelled)["w5"], record)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(store: Path, orbital_record: MakeRecord, method: str) -> None:
    opened = Store(store)
    before = opened["w0"]  # the parent has the file open when it forks
    with multiprocessing.get_context(method).Pool(2) as pool:
        records = pool.starmap(operator.getitem, [(opened, f"w{i}") for i in range(10)])
    for i, record in enumerate(records):
        assert_same(record, orbital_record(i))
    assert_same(opened["w0"], before)


def test_two_stores_of_one_path(store: Path) -> None:
    first, second = Store(store), Store(store)
    assert_same(first["w1"], second["w1"])
    first.close()
    assert_same(first["w1"], second["w1"])


def test_reading_while_another_object_writes(store: Path, manifest: Manifest, orbital_record: MakeRecord) -> None:
    reader = Store(store)
    assert len(reader) == 10
    with StoreWriter(store, manifest, resume=True) as writer:
        writer.put("new", orbital_record(99))
        with pytest.raises(UserError, match="open for writing"):
            reader["w0"]
    assert not Manifest.read(store).finished
    assert_same(Store(store)["new"], orbital_record(99))


WRITE = """
import sys
from pathlib import Path
import numpy as np
from orbdens.store import Manifest, OrbitalRecord, StoreWriter
from orbdens.store import LabelBasis, LabelShell
from orbdens.structure import Structure
path, n = sys.argv[1], int(sys.argv[2])
basis = LabelBasis({"H": (LabelShell(0, (1.0,), (1.0,)),)})
with StoreWriter(path, Manifest({}, "valence", {"H": 1}, basis, shards=2), resume=True) as writer:
    for i in range(n):
        if f"{i:06d}" in writer:
            continue
        rng = np.random.default_rng(i)
        m = int(rng.integers(1, 60))
        structure = Structure(np.ones(m), rng.normal(size=(m, 3)))
        orbitals = rng.normal(size=(m, m)).astype(np.float32)
        writer.put(f"{i:06d}", OrbitalRecord(structure, orbitals, np.full(m, 2, dtype=np.float32)))
        if i % 5 == 0:
            writer.flush()
    writer.finish({"all": [f"{i:06d}" for i in range(n)]})
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    """kill -9 at any time: the store opens, its records are whole, resuming ends where an uninterrupted run does."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def start(path: Path, n: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(n)], cwd=ROOT)

    def records(path: Path) -> Iterator[tuple[str, Record]]:
        opened = Store(path)
        return ((key, opened[key]) for key in opened.keys())  # noqa: SIM118

    held = 0
    for delay in (0.0, 0.05, 0.23):
        process = start(killed, 1_000_000)
        while not (killed / "shard-001" / "data.mdb").exists() or len(Store(killed)) <= held:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = list(records(killed))
        assert len(now) > held
        assert not Manifest.read(killed).finished
        held = len(now)
    n = held + 7
    assert start(killed, n).wait() == 0
    assert start(whole, n).wait() == 0
    assert Manifest.read(killed) == Manifest.read(whole)
    for (key, record), (other_key, other) in zip(records(killed), records(whole), strict=True):
        assert key == other_key
        assert_same(record, other)


def _missing(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def _a_file(path: Path) -> None:
    _missing(path)
    path.write_bytes(pickle.dumps({"a": 1}))


def _foreign_lmdb(path: Path) -> None:
    (path / "manifest.json").unlink()


def _an_empty_folder(path: Path) -> None:
    _missing(path)
    path.mkdir()


def _binary_manifest(path: Path) -> None:
    (path / "manifest.json").write_bytes(os.urandom(200) + b"\xff")


def _cut_manifest(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text[: len(text) // 2])


def _other_version(path: Path) -> None:
    tree = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**tree, "format_version": 7}))


def _incomplete_manifest(path: Path) -> None:
    tree = json.loads((path / "manifest.json").read_text())
    del tree["level"]
    (path / "manifest.json").write_text(json.dumps(tree))


def _no_database(path: Path) -> None:
    (path / "data.mdb").unlink()


def _empty_database(path: Path) -> None:
    (path / "data.mdb").write_bytes(b"")


def _truncated(path: Path) -> None:
    data = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(data[: len(data) - 5000])


def _zeroed_page(path: Path) -> None:
    data = bytearray((path / "data.mdb").read_bytes())
    number = 4 if len(data) > 5 * 4096 else 3
    data[number * 4096 : (number + 1) * 4096] = bytes(4096)
    (path / "data.mdb").write_bytes(data)


def _pickled_database(path: Path) -> None:
    (path / "data.mdb").write_bytes(pickle.dumps(list(range(10000))))


def _change_value(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Put another value for the key w3: into its block if it is as long, else in place of its entry."""
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        number, start, size = decode_entry(b"w3", bytes(transaction.get(b"w3") or b""))
        block = bytes(transaction.get(block_key(number)) or b"")
        changed = change(block[start : start + size])
        if len(changed) == size:
            transaction.put(block_key(number), block[:start] + changed + block[start + size :])
        else:
            transaction.put(b"w3", changed)


def _no_block(path: Path) -> None:
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(block_key(0), b"")


def _another_entry(path: Path) -> None:
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"w3", bytes(transaction.get(b"w4") or b""))


def _flipped_bit(path: Path) -> None:
    _change_value(path, lambda value: value[:-40] + bytes([value[-40] ^ 1]) + value[-39:])


def _pickled_record(path: Path) -> None:
    _change_value(path, lambda _: pickle.dumps({"numbers": [1]}))


def _cut_record(path: Path) -> None:
    _change_value(path, lambda value: value[:-9])


def _lost_record(path: Path) -> None:
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b"w7")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, "does not exist"),
        (_a_file, "is a file, not a store"),
        (_an_empty_folder, "is not a store: it has no manifest.json$"),
        (_foreign_lmdb, "no manifest.json .an LMDB that orbdens did not write"),
        (_binary_manifest, "not the manifest"),
        (_cut_manifest, "not the manifest"),
        (_incomplete_manifest, "it has no 'level'"),
        (_other_version, "format version 7; this orbdens reads 1 and 2"),
        (_no_database, "has no data.mdb"),
        (_empty_database, "damaged or not an LMDB"),
        (_truncated, "is truncated: it has"),
        (_zeroed_page, "is damaged: page"),
        (_pickled_database, "damaged or not an LMDB"),
        (_flipped_bit, "record 'w3' of .*(checksum|packed bytes are damaged)"),
        (_pickled_record, "record 'w3' of .*pickles are never opened"),
        (_cut_record, "record 'w3' of .*packed bytes are damaged"),
        (_no_block, "'w3' of .* is damaged: the block it is in is missing or cut off"),
        (_another_entry, "'w3' of .* is damaged: its entry is not what was written"),
        (_lost_record, "holds 9 records of 10"),
    ],
)
def test_damage_is_one_sentence(store: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(store)
    with pytest.raises(UserError, match=message) as caught:
        Store(store)["w3"]
    assert "store" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [_pickled_record, _cut_record, _no_block, _another_entry, _truncated])
def test_damage_of_a_structure_is_one_sentence(store: Path, damage: Callable[[Path], None]) -> None:
    damage(store)
    with pytest.raises(UserError):
        Store(store).structure("w3")


@pytest.mark.parametrize("damage", [_truncated, _zeroed_page, _pickled_database])
def test_a_damaged_store_is_not_written_to(store: Path, manifest: Manifest, damage: Callable[[Path], None]) -> None:
    damage(store)
    before = (store / "data.mdb").read_bytes()
    with pytest.raises(UserError, match=r"data\.mdb is (damaged|truncated)"):
        StoreWriter(store, manifest, resume=True)
    assert (store / "data.mdb").read_bytes() == before


FLIPS = """
import os, random, sys
from pathlib import Path
from orbdens.errors import UserError
from orbdens.store import Store
from orbdens.store.encoding import encode_record

path, seed, n = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
file = path / "data.mdb"
data = file.read_bytes()
whole = Store(path)
expected = {key: encode_record(whole[key]) for key in whole.keys()}
whole.close()
tree = [page for page in range(len(data) // 4096) if page < 2 or data[4096 * page + 10] in (1, 2)]
assert len(tree) > 6, tree
rng, ends = random.Random(seed), [0, 0]
for flip in range(n):
    place = 4096 * rng.choice(tree) + rng.choice([rng.randrange(160), rng.randrange(4096)])
    change = rng.randrange(1, 256)
    child = os.fork()
    if child == 0:
        file.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
        try:
            with Store(path) as store:
                assert {key: encode_record(store[key]) for key in store.keys()} == expected
            os._exit(0)
        except UserError:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, 256), f"byte {place} changed by {change}: {status}"
    ends[status // 256] += 1
print(ends)
"""


def test_a_flipped_byte_kills_no_process(tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord) -> None:
    """LMDB ends the process when it trips over a wrong page; what is wrong is found before LMDB meets it."""
    with StoreWriter(tmp_path / "s", manifest) as writer:
        for i in range(70):
            writer.put(f"{i:0400d}", orbital_record(i))  # long keys make many pages of the tree
        writer.finish({})
    command = [sys.executable, "-c", FLIPS, str(tmp_path / "s"), "1", "200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    fine, told = json.loads(done.stdout)
    assert min(fine, told) > 50


FULL = """
import resource, sys
import numpy as np
from orbdens.errors import UserError
from orbdens.store import GridRecord, Manifest, Store, StoreWriter
from orbdens.structure import Structure

def record(i):
    values = np.random.default_rng(i).random((20, 20, 20), dtype=np.float32)
    return GridRecord(Structure(np.array([1]), np.zeros((1, 3))), np.zeros(3), np.eye(3), values)

path, where = sys.argv[1:]
manifest = Manifest({"much": "x" * 50_000}, "valence", {"H": 1})
limit = {"start": 0, "manifest": 10_000, "records": 300_000, "end": 10_000_000}[where]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    with StoreWriter(path, manifest) as writer:
        for i in range(30):
            writer.put(f"{i:02d}", record(i))
            writer.flush()
        if where == "end":
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        writer.finish({})
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if where in ("records", "end"):
    store = Store(path)
    print(len(store), all((store[key].values == record(int(key)).values).all() for key in store.keys()))
    store.close()
    with StoreWriter(path, manifest, resume=True) as writer:
        for i in range(30):
            if f"{i:02d}" not in writer:
                writer.put(f"{i:02d}", record(i))
        writer.finish({})
    print(len(Store(path)))
"""


@pytest.mark.parametrize("where", ["start", "manifest", "records", "end"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, where: str) -> None:
    """What was committed stays, and the store can be resumed where there is room again."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "s"), where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    message, *rest = done.stdout.splitlines()
    assert re.search(
        f"^{tmp_path / 's'} cannot be written: |^cannot write {tmp_path / 's' / 'manifest.json'}: ", message
    )
    if where in ("records", "end"):
        n, same = rest[0].split()
        assert same == "True"
        assert 2 <= int(n) < 30 or where == "end"
        assert rest[1] == "30"


def test_a_full_disk_is_no_bus_error(tmp_path: Path, manifest: Manifest) -> None:
    """LMDB maps its lock file: a page of it that gets no block on the disk would end the process."""
    with StoreWriter(tmp_path / "s", manifest):
        lock = (tmp_path / "s" / "lock.mdb").stat()
        assert lock.st_blocks * 512 >= lock.st_size == 8192


def test_a_write_that_stops_half_way_is_a_full_disk(
    tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise lmdb.DiskError("mdb_txn_commit: Input/output error")

    monkeypatch.setattr("orbdens.store.writer.append_records", fails)
    for free, words in ((0, "no space left on device"), (1 << 30, "input/output error")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        with pytest.raises(UserError, match=f"cannot be written: {words}"), StoreWriter(tmp_path / words, manifest) as w:
            w.put("w0", orbital_record(0))


def test_unknown_names(store: Path) -> None:
    with pytest.raises(UserError, match="no split 'validation'; its splits: train, test"):
        Store(store).keys("validation")
    with pytest.raises(UserError, match="no record 'nobody'"):
        Store(store)["nobody"]


def test_an_existing_store_is_not_touched(store: Path, manifest: Manifest) -> None:
    with pytest.raises(UserError, match="exists; resume or overwrite"):
        StoreWriter(store, manifest)
    assert len(Store(store)) == 10


def test_overwrite(store: Path, manifest: Manifest, orbital_record: MakeRecord) -> None:
    with StoreWriter(store, manifest, overwrite=True) as writer:
        writer.put("only", orbital_record(1))
        writer.finish({})
    assert Store(store).keys() == ["only"]


def test_only_a_store_is_overwritten(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError, match="is not a store"):
            StoreWriter(tmp_path, manifest, **options)
    assert (tmp_path / "thesis.tex").exists()


def test_resume_needs_the_same_level(store: Path, manifest: Manifest) -> None:
    with pytest.raises(UserError, match="cannot be resumed: its level is another one"):
        StoreWriter(store, replace(manifest, level={"xc": "LDA"}), resume=True)


def test_not_writable(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        StoreWriter(tmp_path / "file" / "store", manifest)


def test_refused_records(
    tmp_path: Path, manifest: Manifest, orbital_record: MakeRecord, grid_record: GridRecord
) -> None:
    record = orbital_record(0)
    bad_orbitals = record.orbitals.copy()
    bad_orbitals[2, 1] = np.nan
    with StoreWriter(tmp_path / "s", manifest) as writer:
        with pytest.raises(UserError, match="'a': orbitals holds numbers that are not finite"):
            writer.put("a", replace(record, orbitals=bad_orbitals))
        with pytest.raises(UserError, match=r"'a': orbitals have shape \(5, 5\), expected \(6, 5\)"):
            writer.put("a", replace(record, orbitals=record.orbitals[1:]))
        with pytest.raises(UserError, match="'a': the label basis has no He"):
            writer.put("a", replace(record, structure=replace(record.structure, numbers=np.array([8, 1, 2]))))
        with pytest.raises(UserError, match="'a': spin_values have shape"):
            writer.put("a", replace(grid_record, spin_values=grid_record.values[1:]))
        with pytest.raises(UserError, match="1 to 500 bytes"):
            writer.put("", record)
        with pytest.raises(UserError, match="begins with a zero byte"):
            writer.put("\0abc", record)
        writer.put("a", record)
        with pytest.raises(UserError, match="a record 'a' already"):
            writer.put("a", record)
        with pytest.raises(UserError, match="names a record 'b'"):
            writer.finish({"train": ["a", "b"]})
        with pytest.raises(UserError, match="in split 'train' and again in split 'test'"):
            writer.finish({"train": ["a"], "test": ["a"]})
