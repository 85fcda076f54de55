"""Pages and tables that people see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orbdens.errors import UserError
from orbdens.evaluation.compare import compare, read_evaluations, write_report
from orbdens.evaluation.pictures import draw, write_pictures
from orbdens.evaluation.result import Evaluation
from orbdens.evaluation.tables import comparison_table, evaluation_table
from orbdens.metrics import NEAR_NUCLEUS, REGIONS, TAIL

MakeEvaluation = Callable[..., Evaluation]


def test_an_evaluation_survives_its_file(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation("a", 0.3)
    evaluation.write(tmp_path / "a.json")
    assert Evaluation.read(tmp_path / "a.json") == evaluation


@pytest.mark.parametrize("n_models", [1, 4])
def test_a_page_holds_everything_itself(make_evaluation: MakeEvaluation, tmp_path: Path, n_models: int) -> None:
    evaluations = [make_evaluation(f"<model {i}> & co", 0.2 * 4**i) for i in range(n_models)]
    pictures = draw(evaluations)
    write_pictures(tmp_path, pictures)
    write_report(tmp_path / "report.html", evaluations, pictures)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        *("errors.png", "errors.svg", "regions.png", "regions.svg", "report.html", "slices.png", "slices.svg")
    ]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "&lt;model 0&gt; &amp; co" in page
    assert "<model" not in page


def test_perfect_models_can_be_drawn(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation("a", 0.3)
    cut = evaluation.slice.model_copy(update={"predicted": evaluation.slice.reference})
    assert len(draw([evaluation.model_copy(update={"slice": cut})])) == 3


def test_the_best_model_stands_first(make_evaluation: MakeEvaluation) -> None:
    table = comparison_table([make_evaluation("worse", 3.0), make_evaluation("better", 0.3)])
    assert [row[0] for row in table.rows] == ["better", "worse"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    single = evaluation_table(make_evaluation("one", 1.0))
    assert all(len(row) == len(single.columns) for row in single.rows)


def test_models_of_one_name_are_told_apart(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    for name in ("x", "y"):
        make_evaluation("same", 1.0).write(tmp_path / f"{name}.json")
    names = [e.model.name for e in read_evaluations([tmp_path / "x.json", tmp_path / "y.json"])]
    assert names == ["same (x)", "same (y)"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_cut_is_said_to_be_of_the_split_that_was_measured(make_evaluation: MakeEvaluation, split: str) -> None:
    caption = draw([make_evaluation("a", 1.0, split=split)])["slices"].caption
    assert f"A cut through the structure Li2O-000 of the split “{split}”" in caption
    assert "no model saw" not in caption


def test_regions_are_called_the_same_everywhere(make_evaluation: MakeEvaluation) -> None:
    names = [row[0].strip() for row in evaluation_table(make_evaluation("one", 1.0)).rows]
    assert names[1:4] == list(REGIONS.values())
    assert f"{NEAR_NUCLEUS:g} Å" in REGIONS["nuclei"] and f"{TAIL:g} Å" in REGIONS["tail"]


def test_compare_writes_table_and_page(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    for name, size in (("x", 1.0), ("y", 0.1)):
        make_evaluation(name, size).write(tmp_path / f"{name}.json")
    table = compare([tmp_path / "x.json", tmp_path / "y.json"], tmp_path / "page.html")
    assert [row[0] for row in table.rows] == ["y", "x"]
    assert "Electron densities of lithium_oxide" in (tmp_path / "page.html").read_text()
    with pytest.raises(UserError, match="exists; --force replaces it"):
        compare([tmp_path / "x.json"], tmp_path / "page.html")
