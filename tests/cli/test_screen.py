"""Tables on a terminal."""

import pytest

from orbdens.cli.screen import show
from orbdens.evaluation.tables import Table


def test_a_narrow_terminal_loses_no_digits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    columns = ["model", *(f"figure {i} [kcal/mol]" for i in range(11))]
    rows = [["lithium-oxide-residual-cnn", *(f"{12.345 + i:.3f}" for i in range(11))]]
    show(Table("A title", columns, rows, "Notes."))
    line = next(line for line in capsys.readouterr().out.splitlines() if "residual" in line)
    assert line.split() == rows[0]
