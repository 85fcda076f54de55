"""Pages and tables that people see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orbdens.evaluation.compare import read_evaluations, write_report
from orbdens.evaluation.pictures import draw, write_pictures
from orbdens.evaluation.result import Evaluation
from orbdens.evaluation.tables import comparison_table, evaluation_table

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
    assert names == ["errors.png", "regions.png", "report.html", "slices.png"]
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
