"""``inspect_store`` prints what is in a store."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from data_tools.inspect import inspect_store, summarise
from orbdens.data.store import Manifest, Store, StoreWriter
from orbdens.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"


def printed(path: Path) -> str:
    file = io.StringIO()
    inspect_store(path, Console(width=120, file=file))
    return file.getvalue()


def test_orbital_store() -> None:
    text = printed(GOLDEN / "ethanol")
    for expected in (
        "gth-dzvp",
        "train 4, test 2",
        "H 6, C 6, O 6",
        "9 to 9",
        "H 1, C 4, O 6",
        "6 records checked",
        "3.4 kB",
    ):
        assert expected in text
    summary = summarise(Store(GOLDEN / "ethanol"))
    assert (summary.count, summary.n_read, summary.kinds) == (6, 6, {"orbital": 6})
    assert max(map(abs, summary.electron_errors)) < 1e-5


def test_grid_store() -> None:
    text = printed(GOLDEN / "grid")
    assert "1 grid" in text
    assert max(map(abs, summarise(Store(GOLDEN / "grid")).electron_errors)) < 1e-5


def test_unfinished_and_empty(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "s", Manifest({"xc": "PBE"}, "valence", {"H": 1})).close()
    assert "0 so far; not finished" in printed(tmp_path / "s")


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a store"):
        inspect_store(tmp_path)
