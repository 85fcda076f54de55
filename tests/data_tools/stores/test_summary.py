"""What is in a store, printed and on a page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import GOLDEN
from rich.console import Console

from data_tools.stores.summary import print_summary, summarise
from data_tools.stores.summary_page import write_store_page
from orbdens.cli.main import run
from orbdens.errors import UserError
from orbdens.store import Manifest, Store, StoreWriter
from orbdens.structure import Structure


def printed(path: Path) -> str:
    file = io.StringIO()
    with Store(path) as store:
        print_summary(store, summarise(store), Console(width=120, file=file))
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
        printed(tmp_path)


@pytest.mark.parametrize("name", ["ethanol_v2", "grid", "mixed"])
def test_page(tmp_path: Path, name: str) -> None:
    """One file with both pictures inside, of orbitals, grids, and structures of many sizes."""
    path = GOLDEN / name
    if name == "mixed":
        path = tmp_path / "<mixed> & more"
        record = Store(GOLDEN / "grid")["h2"]
        with StoreWriter(path, Manifest({"xc": "a < b"}, "all-electron", {"H": 1})) as writer:
            for n in range(1, 20):
                positions = np.random.default_rng(n).normal(size=(n, 3))
                writer.put(f"key-{n:02d}-{'x' * 30}", replace(record, structure=Structure(np.ones(n), positions)))
            writer.finish({})
    with Store(path) as store:
        write_store_page(tmp_path / "page.html", store, summarise(store))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert "<mixed>" not in page
    if name == "mixed":
        assert "&lt;mixed&gt; &amp; more" in page
        assert "a &lt; b" in page


def test_page_of_an_empty_store(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "s", Manifest({"xc": "PBE"}, "valence", {"H": 1})).close()
    with Store(tmp_path / "s") as store:
        write_store_page(tmp_path / "page.html", store, summarise(store))
    assert "not finished" in (tmp_path / "page.html").read_text()


def test_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "inspect", str(GOLDEN / "ethanol"), "--html", str(tmp_path / "page.html")]
    assert run(command, debug=False) == 0
    assert "6 records checked" in capsys.readouterr().out
    assert run(command, debug=False) == 2
    assert "--force replaces it" in capsys.readouterr().err
