"""Damaged stores: whatever happened to the files, it is told in one sentence, and no process dies of it."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lmdb
import pytest
from places import ROOT

from orbdens.errors import UserError
from orbdens.store import Manifest, OrbitalRecord, Store, StoreWriter
from orbdens.store.lmdb_values import block_key, decode_entry

MakeRecord = Callable[[int], OrbitalRecord]


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
        (_other_version, "format version 7; this orbdens reads 1 to 3"),
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
from types import SimpleNamespace
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
        with (
            pytest.raises(UserError, match=f"cannot be written: {words}"),
            StoreWriter(tmp_path / words, manifest) as w,
        ):
            w.put("w0", orbital_record(0))
