"""Tar archives that are broken, or would do harm."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from importing import bring, chgcar, tar

from data_tools.sources.registry import SourceKind
from orbdens.errors import UserError
from orbdens.store import Store

BROKEN_ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in a member": (lambda data: data[:2000], "a.tar(, member 1.CHGCAR)? is truncated"),
    "cut in a header": (lambda data: data[: 3 * 512 + 100], "a.tar is truncated or damaged at byte"),
    "cut between members": (
        lambda data: data[: 3 * 512],
        "a.tar is truncated or damaged at byte 1536: .*no end marker",
    ),
    "header overwritten": (
        lambda data: data[: 3 * 512] + b"x" * 512 + data[4 * 512 :],
        "a.tar is truncated or damaged",
    ),
    "empty": (lambda data: b"", "a.tar is (empty|truncated or damaged)"),
    "no archive": (lambda data: b"some text " * 200, "a.tar is truncated or damaged at byte"),
    "pickle": (lambda data: pickle.dumps([data]), "a.tar is"),
}


@pytest.mark.parametrize("name", BROKEN_ARCHIVES)
def test_broken_archives(name: str, tmp_path: Path) -> None:
    change, message = BROKEN_ARCHIVES[name]
    path = tar(tmp_path / "a.tar", {f"{i}.CHGCAR": chgcar(i) for i in range(3)})
    data = path.read_bytes()
    assert data[3 * 512 :].startswith(b"1.CHGCAR")
    path.write_bytes(change(data))
    with pytest.raises(UserError, match=message) as caught:
        bring(path, tmp_path / "s", kind=SourceKind.CHGCAR)
    assert "\n" not in str(caught.value)
    if (tmp_path / "s").exists():
        assert Store(tmp_path / "s").keys() == ["0"]


def test_members_write_nothing_and_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "inside"
    folder.mkdir(parents=True)
    path = folder / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("../../evil.CHGCAR", "/etc/evil.CHGCAR", "a/../b\nc.CHGCAR"):
            info = tarfile.TarInfo(name)
            info.size = len(chgcar(1))
            archive.addfile(info, io.BytesIO(chgcar(1)))
        link = tarfile.TarInfo("link.CHGCAR")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = set(tmp_path.rglob("*"))
    bring(path, folder / "s")
    assert set(tmp_path.rglob("*")) - before == {folder / "s", *(folder / "s").iterdir()}
    assert Store(folder / "s").keys() == ["a/b?c", "etc/evil", "evil"]


def test_headers_that_claim_too_much(tmp_path: Path) -> None:
    """A long name of a gigabyte is not taken into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(UserError, match="one of its headers claims 1073741824 bytes"):
        bring(tmp_path / "a.tar", tmp_path / "s", kind=SourceKind.CHGCAR)
