"""``verify`` finds all damage that matters, ``repair`` keeps the rest, and killed writers leave stores that verify."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import places
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import GOLDEN

from data_tools.stores.verifying import repair, verify
from orbdens.cli.main import run
from orbdens.shipped import store_path
from orbdens.store import GridRecord, Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.store.encoding import encode_record
from orbdens.store.lmdb_values import block_key, decode_entry
from orbdens.store.reader import close_reader
from orbdens.store.salvage import DAMAGED

PLACE = str(places.ROOT)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A copy of the golden store of six frames of ethanol, in the layout that is written now."""
    return Path(shutil.copytree(GOLDEN / "ethanol_v2", tmp_path / "store"))


def keys_of(path: Path) -> list[str]:
    return Store(path).keys()


def change_block(path: Path, key: str, change: Callable[[bytes], bytes]) -> None:
    """Change the stored bytes of a record, which keep their length."""
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        number, start, size = decode_entry(key.encode(), bytes(transaction.get(key.encode()) or b""))
        block = bytes(transaction.get(block_key(number)) or b"")
        transaction.put(block_key(number), block[:start] + change(block[start : start + size]) + block[start + size :])


@pytest.mark.parametrize("path", [GOLDEN / name for name in ("ethanol", "ethanol_v2", "grid", "grid_v2")], ids=str)
def test_whole_stores(path: Path) -> None:
    findings = verify(path)
    assert findings.fine
    assert findings.n_records == len(keys_of(path))
    assert findings.lines() == []


def test_shipped_store() -> None:
    assert verify(store_path()).n_records == 625


def test_a_flipped_byte(store: Path) -> None:
    key = keys_of(store)[2]
    change_block(store, key, lambda value: value[:900] + bytes([value[900] ^ 4]) + value[901:])
    findings = verify(store)
    assert list(findings.records) == ["cannot be read"]
    assert list(findings.broken["cannot be read"]) == [key]
    assert len(findings.lines()) == 1
    assert key in findings.lines()[0]


def test_a_missing_record(store: Path) -> None:
    key = Store(store).keys("train")[0]
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        transaction.delete(key.encode())
    lines = verify(store).lines()
    assert lines == [
        f"is not there but in a split (1): {key} (train)",
        "the manifest counts 6 records, but 5 are there",
    ]


def scaled(record: OrbitalRecord, factor: float) -> OrbitalRecord:
    return replace(record, orbitals=np.float32(factor) * record.orbitals)


def test_wrong_electron_counts(tmp_path: Path) -> None:
    golden = Store(GOLDEN / "ethanol")
    keys = golden.keys()
    records = [golden[key] for key in keys]
    with StoreWriter(tmp_path / "s", golden.manifest) as writer:
        for i, (key, record) in enumerate(zip(keys, records, strict=True)):
            assert isinstance(record, OrbitalRecord)
            writer.put(key, scaled(record, 1.01) if i == 4 else record)
        record = records[0]
        assert isinstance(record, OrbitalRecord)
        triplet = replace(record.structure, multiplicity=3)
        spins = np.repeat(np.array([1, -1], dtype=np.int8), 5)
        writer.put("spins", replace(record, structure=triplet, spins=spins))
        writer.finish({})
    findings = verify(tmp_path / "s")
    wrong = findings.broken["has a wrong number of electrons"]
    assert wrong == {keys[4]: "20.4020 instead of 20", "spins": "0.0000 unpaired instead of 2"}


def test_grids_have_a_tolerance(tmp_path: Path) -> None:
    record = Store(GOLDEN / "grid")["h2"]
    assert isinstance(record, GridRecord)
    with StoreWriter(tmp_path / "s", Store(GOLDEN / "grid").manifest) as writer:
        writer.put("near", replace(record, values=np.float32(1.03) * record.values))
        writer.put("far", replace(record, values=np.float32(1.3) * record.values))
        writer.finish({})
    assert list(verify(tmp_path / "s").broken["has a wrong number of electrons"]) == ["far"]
    assert len(verify(tmp_path / "s", tolerance=0.01).broken["has a wrong number of electrons"]) == 2
    assert verify(tmp_path / "s", tolerance=1.0).fine


def test_values_that_are_not_finite(store: Path) -> None:
    record = Store(store)[keys_of(store)[0]]
    assert isinstance(record, OrbitalRecord)
    bad = record.orbitals.copy()
    bad[0, 0] = np.inf
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"zz-inf", encode_record(replace(record, orbitals=bad)))
        transaction.put(b"zz-odd", encode_record(replace(record, orbitals=bad[1:])))
    wrong = verify(store).broken["has wrong contents"]
    assert wrong["zz-inf"] == "orbitals holds numbers that are not finite"
    assert "shape" in wrong["zz-odd"]


def test_splits_and_marker(store: Path) -> None:
    manifest = Manifest.read(store)
    keys = keys_of(store)
    replace(manifest, splits={"a": keys[:2], "b": [keys[1], "nobody"]}, finished=False).write(store)
    findings = verify(store)
    assert findings.n_records == 6
    assert findings.lines() == [
        f"is in several splits (1): {keys[1]} (a, b)",
        "is not there but in a split (1): nobody (b)",
        "the store is not finished: its writer was stopped after 6 records",
    ]
    gone = repair(store, findings)
    assert gone == {"nobody": "is not there but in a split"}
    assert verify(store).fine
    assert Manifest.read(store).splits == {"a": keys[:2]}
    assert Manifest.read(store).finished


def test_repair_keeps_the_rest(store: Path) -> None:
    keys = keys_of(store)
    before = {key: encode_record(Store(store)[key]) for key in keys}
    change_block(store, keys[3], lambda value: bytes(len(value)))
    damaged = (store / "data.mdb").read_bytes()
    gone = repair(store, verify(store))
    assert list(gone) == [keys[3]]
    assert verify(store).fine
    assert {key: encode_record(Store(store)[key]) for key in keys_of(store)} == {
        key: value for key, value in before.items() if key != keys[3]
    }
    manifest = Manifest.read(store)
    assert manifest.count == 5
    assert all(keys[3] not in members for members in manifest.splits.values())
    assert list(manifest.provenance["repaired"][0]["records"]) == [keys[3]]
    assert (store / "damaged.mdb").read_bytes() == damaged
    assert {path.name for path in store.iterdir()} == {"data.mdb", "damaged.mdb", "manifest.json"}


@pytest.mark.parametrize("version", ["ethanol", "ethanol_v2"])
def test_a_lost_root_loses_nothing(tmp_path: Path, version: str) -> None:
    store = Path(shutil.copytree(GOLDEN / version, tmp_path / "s"))
    data = bytearray((store / "data.mdb").read_bytes())
    newest = 4096 if data[4096 + 144 : 4096 + 152] > data[144:152] else 0
    data[newest + 128 : newest + 136] = (2**40).to_bytes(8, "little")  # where the main tree begins
    (store / "data.mdb").write_bytes(data)
    findings = verify(store)
    assert any("is damaged: page" in line for line in findings.lines())
    assert repair(store, findings) == {}
    assert len(keys_of(store)) == 6
    assert verify(store).fine


def test_no_lmdb_at_all(store: Path) -> None:
    for content in (b"", b"\x80\x04pickle." * 3000, bytes(9000)):
        (store / "data.mdb").write_bytes(content)
        findings = verify(store)
        assert "cannot be read: it is not an LMDB" in findings.lines()[0]
        assert findings.n_records == 0
    (store / "data.mdb").unlink()
    assert "cannot be read: no such file" in verify(store).lines()[0]


BASE = {key: encode_record(Store(GOLDEN / "ethanol_v2")[key]) for key in Store(GOLDEN / "ethanol_v2").keys()}  # noqa: SIM118


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.integers(0, 200), st.integers(4096, 4296), st.integers(0, 32767)), st.integers(1, 255))
def test_any_flipped_byte(tmp_path: Path, place: int, change: int) -> None:
    """Either it is found, or it does not matter; no process dies of it, and a repair loses one record at most."""
    path = tmp_path / "flipped"
    close_reader(path)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(GOLDEN / "ethanol_v2", path)
    data = bytearray((path / "data.mdb").read_bytes())
    data[place] ^= change
    (path / "data.mdb").write_bytes(data)
    findings = verify(path)
    if not findings.fine:
        repair(path, findings)
        assert verify(path).fine
    opened = Store(path)
    found = {key: encode_record(opened[key]) for key in opened.keys()}  # noqa: SIM118
    assert found.items() <= BASE.items()
    assert len(found) >= len(BASE) - (not findings.fine)


KILLS = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from data_tools.stores.verifying import Findings, repair, verify
from orbdens.store.encoding import encode_record
from orbdens.store import LabelBasis, LabelShell, Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.store.reader import close_reader
from orbdens.structure import Structure

path, whole, n, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
norm = (4 * 2**1.5 / np.pi**0.5) ** 0.5  # of an s function of exponent 1
manifest = Manifest({}, "valence", {"H": 1}, LabelBasis({"H": (LabelShell(0, (1.0,), (norm,)),)}), shards=2)
keys = [f"{i * 7919 % n:05d}" for i in range(n)]

def record(i):
    rng = np.random.default_rng(i)
    m = int(rng.integers(1, 40))
    structure = Structure(np.ones(m), 30.0 * np.arange(3 * m).reshape(m, 3) + rng.random((m, 3)))
    orbitals = np.eye(m, dtype=np.float32)[rng.permutation(m)]
    return OrbitalRecord(structure, orbitals, np.ones(m, dtype=np.float32), float(rng.normal()))

def write(path, flush):
    with StoreWriter(path, manifest, resume=True) as writer:
        for i, key in enumerate(keys):
            if key not in writer:
                writer.put(key, record(i))
                if flush:
                    writer.flush()
        writer.finish({"all": keys})

write(whole, False)
expected = {key: encode_record(Store(whole)[key]) for key in Store(whole).keys()}
held, chance = 0, random.Random(5)
for kill in range(kills):
    mending = kill % 5 == 4
    child = os.fork()
    if child == 0:
        if mending:
            findings = verify(path)
            findings.files.append("let all files be written anew")
            repair(path, findings)
        else:
            write(path, True)
        os._exit(0)
    while not (path / "shard-001" / "data.mdb").exists():
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    findings = verify(path)
    assert not findings.files, findings.lines()
    assert not findings.records, findings.lines()
    assert findings.n_records >= held, (held, findings.n_records)
    held = findings.n_records
    with Store(path) as store:
        for key in store.keys():
            assert encode_record(store[key]) == expected[key]
assert held > 0
write(path, False)
assert verify(path).fine
assert {key: encode_record(Store(path)[key]) for key in Store(path).keys()} == expected
assert Manifest.read(path).splits == {"all": keys}
print("kills", kills, "records before the last", held)
"""


def test_kills(tmp_path: Path) -> None:
    """20 kills at random moments of writers, finishers and repairs: finished records verify, resuming completes."""
    command = [sys.executable, "-c", KILLS, str(tmp_path / "killed"), str(tmp_path / "whole"), "300", "20"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PLACE}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    assert "kills 20" in done.stdout


def test_command(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = keys_of(store)[0]
    assert run(["data", "verify", str(store)], debug=False) == 0
    assert "all 6 records are whole" in capsys.readouterr().out
    change_block(store, key, lambda value: value[:-1] + b"!")
    assert run(["data", "verify", str(store)], debug=False) == 1
    assert f"cannot be read (1): {key}" in capsys.readouterr().out
    assert run(["data", "verify", str(store), "--repair"], debug=False) == 0
    assert run(["data", "verify", str(store)], debug=False) == 0
    assert run(["data", "verify", str(store / "nothing")], debug=False) == 2


def test_shards_that_were_exchanged(tmp_path: Path) -> None:
    """Records that lie in the wrong file are whole, but nobody finds them."""
    golden = Store(GOLDEN / "ethanol")
    manifest = replace(golden.manifest, shards=2)
    with StoreWriter(tmp_path / "s", manifest) as writer:
        for key in golden.keys():  # noqa: SIM118
            writer.put(key, golden[key])
        writer.finish(golden.manifest.splits)
    first, second = (tmp_path / "s" / f"shard-00{i}" / "data.mdb" for i in (0, 1))
    first.rename(tmp_path / "first")
    second.rename(first)
    (tmp_path / "first").rename(second)
    findings = verify(tmp_path / "s")
    assert list(findings.records) == ["is not found under its key"]
    assert len(findings.records["is not found under its key"]) == 6
    assert repair(tmp_path / "s", findings) == {}
    assert verify(tmp_path / "s").fine
    assert DAMAGED in "".join(path.name for path in (tmp_path / "s" / "shard-000").iterdir())
