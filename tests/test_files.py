"""Files that appear whole or not at all, and may be written where one was told that they may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from orbdens.errors import UserError
from orbdens.files import check_input, written_whole

FULL = """
import resource, sys
from pathlib import Path
from orbdens.errors import UserError
from orbdens.files import written_whole

path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with written_whole(path) as temporary:
        temporary.write_bytes(bytes(5000))
except UserError as error:
    print(error)
print(path.read_text())
print([file.name for file in path.parent.iterdir()])
"""


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"cannot write {path}: file too large", "old", "['a.txt']"], done.stderr


def test_contents_are_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a machine that stops may leave an empty file under the final name."""
    path = tmp_path / "a.txt"
    synced: list[tuple[int, bool]] = []

    def note(handle: int) -> None:
        synced.append((os.fstat(handle).st_size, path.exists()))

    monkeypatch.setattr("os.fsync", note)
    with written_whole(path) as temporary:
        assert temporary.parent == path.parent  # a rename across file systems is a copy
        temporary.write_text("new")
    assert synced[0] == (3, False)
    assert synced[1][1]
    assert path.read_text() == "new"


def test_nothing_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: no such file"), written_whole(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_inputs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    check_input(tmp_path / "a.txt")
    with pytest.raises(UserError, match="there is no file"):
        check_input(tmp_path / "b.txt")
    with pytest.raises(UserError, match="is a folder"):
        check_input(tmp_path)
