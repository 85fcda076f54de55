"""Searches with trials that cost nothing: grids, several at once, pruning, interruption, the same again."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import places
import pytest
import yaml

from orbdens.config import TrainingConfig, load_config
from orbdens.errors import UserError
from orbdens.evaluation.pictures import Picture
from orbdens.processes import Workers
from orbdens.tuning import picture, tune
from orbdens.tuning.picture import draw_search
from orbdens.tuning.plan import Place, Plan, Terms, plan_search
from orbdens.tuning.report import write_results
from orbdens.tuning.study import SLOTS, Study, Trial
from orbdens.tuning.worker import Course, run_trial

GRID = {"model.norm": ["batch", "instance"], "objective.dropout": [0, 0.1, 0.3]}
RATES = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "model.depth": {"low": 1, "high": 3}}
METRICS = ("step", "minutes", "loss", "learning_rate", "validation_nmae")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk, ten times a trial; no picture, a second each."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(picture, "draw_search", lambda space, trials: Picture(b"", b"", ""))


def plan_of(folder: Path, space: dict[str, Any], **terms: Any) -> Plan:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    small = ["data.n_train=6", "data.n_validation=2"]
    return plan_search(Path("lithium-oxide-unet.yaml"), path, None, small, Terms(**{"steps": 100, **terms}))


def made_up(trial: Trial) -> float:
    """An error that is least at a learning rate of 0.003 and a depth of 2."""
    rate, depth = trial.options["training.learning_rate"], trial.options["model.depth"]
    return 1 + abs(math.log10(rate / 0.003)) + abs(depth - 2)


def work(trial: Trial, plan: Plan, place: Place, study: Study, workers: Workers) -> Trial:
    return replace(trial, state="complete", error=made_up(trial), minutes=0.0)


def silent(line: str) -> None:
    pass


def found(out: Path) -> Any:
    return json.loads((out / "tune.json").read_text())


def test_a_grid_by_several_at_once_has_every_point_once(tmp_path: Path) -> None:
    plan, seen, lock = plan_of(tmp_path, GRID, sampler="grid", processes=3), [], threading.Lock()
    together = threading.Barrier(3)

    def slow(trial: Trial, *rest: Any) -> Trial:
        with lock:
            seen.append(tuple(trial.options.values()))
        together.wait(20)
        return replace(trial, state="complete", error=1.0 + trial.options["objective.dropout"], minutes=0.0)

    table = tune(plan, tmp_path / "out", silent, work=slow)
    assert sorted(seen) == sorted((norm, rate) for norm in ("batch", "instance") for rate in (0, 0.1, 0.3))
    assert [row[2] for row in table.rows] == ["0", "0", "0.1", "0.1", "0.3", "0.3"]
    assert found(tmp_path / "out")["best"] == 0
    best = load_config(tmp_path / "out" / "best.yaml")
    assert best == plan.config_of({"model.norm": "batch", "objective.dropout": 0})
    assert (tmp_path / "out" / "tuning.svg").is_file()


def test_the_seed_decides_and_interruptions_do_not_matter(tmp_path: Path) -> None:
    """13 trials at once (TPE draws the first ten by chance), or in two parts with a command that died in the ninth."""
    whole, parts, other = (tmp_path / name for name in ("whole", "parts", "other"))
    plan = plan_of(tmp_path, RATES, trials=13)
    tune(plan, whole, silent, work=work)
    tune(plan_of(tmp_path, RATES, trials=8), parts, silent, work=work)
    die_in_a_trial(tmp_path, parts)
    tune(plan, parts, silent, work=work)
    tune(plan_of(tmp_path, RATES, trials=2, seed=1), other, silent, work=work)
    options = [[trial["options"] for trial in found(out)["trials"]] for out in (whole, parts, other)]
    assert len({trial["training.learning_rate"] for trial in options[0]}) == 13
    assert options[0] == options[1] and options[0][0] != options[2][0]
    assert [trial["number"] for trial in found(parts)["trials"]] == [*range(8), *range(9, 14)]
    assert set(found(whole)["importance"]) == set(RATES)


def die_in_a_trial(folder: Path, out: Path) -> None:
    """A command that takes a trial and is killed."""
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_study import RATES, plan_of
from orbdens.tuning.plan import Place
from orbdens.tuning.study import Study
trial = Study(Place(Path({str(out)!r})), plan_of(Path({str(folder)!r}), RATES, trials=13)).next()
run = Path({str(out)!r}, "trials", f"{{trial.number:03d}}")
run.mkdir(parents=True)
os.kill(os.getpid(), 9)
"""
    environment = {"PYTHONPATH": f"{places.ROOT}:{places.ROOT / 'tests'}", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (out / "trials" / "008").is_dir()


def test_two_commands_share_a_folder(tmp_path: Path) -> None:
    """What another one that is alive works on is left to it."""
    plan = plan_of(tmp_path, GRID, sampler="grid")
    tune(plan_of(tmp_path, GRID, sampler="grid", trials=1), tmp_path / "out", silent, work=complete)
    other = Study(Place(tmp_path / "out"), plan)
    theirs = other.next()
    assert theirs is not None and theirs.number == 1
    gone = Study(Place(tmp_path / "out"), plan)
    left = gone.next()
    gone.end()
    tune(plan, tmp_path / "out", silent, work=complete)
    trials = found(tmp_path / "out")["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "running", *["complete"] * 4]
    assert left is not None and left.number not in {trial["number"] for trial in trials}
    assert len({tuple(trial["options"].values()) for trial in trials}) == 6  # one of them begun anew
    with pytest.raises(UserError, match="another command is at work in"):
        tune(plan, tmp_path / "out", silent, force=True, work=complete)
    other.tell(replace(theirs, state="complete", error=0.5))
    other.end()
    tune(plan, tmp_path / "out", silent, work=complete)
    assert found(tmp_path / "out")["best"] == 1
    assert not any((tmp_path / "out" / "locks").iterdir())


def test_a_grid_of_which_half_is_written_down_gets_the_other_half(tmp_path: Path) -> None:
    plan, place = plan_of(tmp_path, GRID, sampler="grid"), Place(tmp_path / "out")
    place.out.mkdir()
    Study(place, plan).end()
    lines = place.journal.read_bytes().splitlines(keepends=True)
    place.journal.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    write_results(place, plan, [], {})
    tune(plan, place.out, silent, work=complete)
    points = [tuple(trial["options"].values()) for trial in found(place.out)["trials"]]
    assert len(points) == 6 == len(set(points))


def complete(trial: Trial, *rest: Any) -> Trial:
    return replace(trial, state="complete", error=1.0, minutes=0.0)


def test_failures_are_told_and_leave_the_others_alone(tmp_path: Path) -> None:
    def diverges(trial: Trial, *rest: Any) -> Trial:
        if trial.options["objective.dropout"] == 0:
            return replace(trial, state="failed", reason="the loss is nan", minutes=0.0)
        return complete(trial)

    table = tune(plan_of(tmp_path, GRID, sampler="grid"), tmp_path / "out", silent, work=diverges)
    assert "Trial 0 failed: the loss is nan" in table.notes and "4 complete, 2 failed of 6 wanted" in table.notes
    lines: list[str] = []
    tune(plan_of(tmp_path, GRID, sampler="grid"), tmp_path / "out", lines.append, work=diverges)
    assert lines == []  # what failed of itself is not tried again
    with pytest.raises(UserError, match="all 1 trials failed, the first one so: the loss is nan"):
        tune(plan_of(tmp_path, {"objective.dropout": [0]}, sampler="grid"), tmp_path / "none", silent, work=diverges)


def test_other_terms_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tune(plan_of(tmp_path, RATES, trials=2), out, silent, work=work)
    tune(plan_of(tmp_path, RATES, trials=3), out, silent, work=work)  # more of them are wanted
    assert len(found(out)["trials"]) == 3
    changed: list[tuple[Plan, str]] = [
        (plan_of(tmp_path, RATES, seed=1), "seed = 0, not 1"),
        (plan_of(tmp_path, RATES, steps=50), "steps = 100, not 50"),
        (plan_of(tmp_path, RATES, sampler="random"), "sampler = tpe, not random"),
        (plan_of(tmp_path, {**RATES, "model.depth": [1, 2]}), r"space.model.depth = \[1, 2, 3\], not \[1, 2\]"),
        (plan_of(tmp_path, {"model.depth": [1, 2, 3]}), "space.training.learning_rate"),
    ]
    for plan, sentence in changed:
        with pytest.raises(UserError, match=f"was begun with .*{sentence}"):
            tune(plan, out, silent, work=work)
    tune(plan_of(tmp_path, RATES, trials=1, seed=1), out, silent, force=True, work=work)
    assert len(found(out)["trials"]) == 1
    (out / "tune.json").write_text("{")
    with pytest.raises(UserError, match="is damaged: --force begins the search anew"):
        tune(plan_of(tmp_path, RATES), out, silent, work=work)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds something that is no search"):
        tune(plan_of(tmp_path, RATES), tmp_path / "other", silent, force=True, work=work)


def test_a_journal_that_ends_within_a_line_goes_on(tmp_path: Path) -> None:
    """As a full disk leaves it."""
    out = tmp_path / "out"
    tune(plan_of(tmp_path, RATES, trials=2), out, silent, work=work)
    with (out / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    tune(plan_of(tmp_path, RATES, trials=4), out, silent, work=work)
    tune(plan_of(tmp_path, RATES, trials=5), out, silent, work=work)
    assert len(found(out)["trials"]) == 5
    (out / "journal.log").write_text("nothing of the kind\n" * 3)
    with pytest.raises(UserError, match=r"journal\.log is damaged"):
        tune(plan_of(tmp_path, RATES, trials=6), out, silent, work=work)


class ByTheBook:
    """Workers that train by writing down errors of a made-up course."""

    stopped = False

    def __init__(self, errors: Callable[[float], float]) -> None:
        self.errors, self.last = errors, 0

    def run(self, target: Any, number: int, place: Place, tree: Any, threads: int, enough: Callable[[], bool]) -> int:
        rows = []
        place.run(number).mkdir(parents=True)
        for self.last in range(10, 101, 10):
            row = {"step": self.last, "minutes": self.last / 60, "validation_nmae": self.errors(self.last / 100)}
            rows.append({**row, "loss": 1.0, "learning_rate": 0.1})
            with (place.run(number) / "metrics.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, METRICS)
                writer.writeheader()
                writer.writerows(rows)
            if enough():
                return 130
        place.outcome(number).write_text(json.dumps({"errors": [self.errors(1.0)] * 2, "memory_mb": 1.0}))
        return 0


@pytest.mark.parametrize("prune", ["median", "hyperband"])
def test_hopeless_trials_are_pruned(tmp_path: Path, prune: str) -> None:
    """Errors fall as they do in training; the better the dropout, the lower they lie."""
    plan = plan_of(tmp_path, {"objective.dropout": [0, 0.1, 0.2, 0.3, 0.8, 0.9]}, sampler="grid", prune=prune)
    ends = {}

    def watched(trial: Trial, plan: Plan, place: Place, study: Study, workers: Workers) -> Trial:
        course: Any = ByTheBook(lambda fraction: 1 + trial.options["objective.dropout"] + 1 / (1 + 9 * fraction))
        done = run_trial(trial, plan, place, study, course)
        ends[done.state, trial.options["objective.dropout"]] = course.last
        return done

    table = tune(plan, tmp_path / "out", silent, work=watched)
    assert ends["complete", 0] == 100 and ends["pruned", 0.9] < 50
    if prune == "median":
        assert {state for state, rate in ends if rate < 0.8} == {"complete"}
        assert ["4", "0.8", "2.157", "0.0", "pruned at 20 %"] in table.rows
    pruned = next(trial for trial in found(tmp_path / "out")["trials"] if trial["state"] == "pruned")
    assert pruned["error"] == list(pruned["curve"].values())[-1] > 1


def test_without_pruning_every_trial_ends_by_itself(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"objective.dropout": [0, 0.1, 0.2, 0.3, 0.8, 0.9]}, sampler="grid")

    def watched(trial: Trial, plan: Plan, place: Place, study: Study, workers: Workers) -> Trial:
        course: Any = ByTheBook(lambda fraction: 1 + trial.options["objective.dropout"])
        return run_trial(trial, plan, place, study, course)

    tune(plan, tmp_path / "out", silent, work=watched)
    trials = found(tmp_path / "out")["trials"]
    assert {trial["state"] for trial in trials} == {"complete"}
    assert len(trials[0]["curve"]) == SLOTS


def test_every_part_of_a_course_is_told_once(tmp_path: Path) -> None:
    """Validations may be rarer or more frequent than parts; a run ends at its steps or its minutes."""
    told: list[tuple[int, float]] = []

    def report(slot: int, error: float) -> bool:
        told.append((slot, error))
        return slot == 9

    course = Course(tmp_path / "metrics.csv", TrainingConfig(steps=1000, minutes=10), report)
    assert not course.look()
    header = ",".join(METRICS) + "\n"
    (tmp_path / "metrics.csv").write_text(header + "50,1,1,0.1,9\n")  # 10 % by minutes
    assert not course.look() and not course.look()
    (tmp_path / "metrics.csv").write_text(header + "50,1,1,0.1,9\n190,1.9,1,0.1,8\n360,2,1,0.1,7\n370,2,1,0.1,6\n")
    assert not course.look()
    assert told == [(1, 9.0), (2, 7.0), (3, 7.0)]
    (tmp_path / "metrics.csv").write_text(header + "990,9,1,0.1,5\n1000,10,1,0.1,4\n")
    assert course.look() and course.look()
    assert told[3:] == [(4, 5.0), (5, 5.0), (6, 5.0), (7, 5.0), (8, 5.0), (9, 5.0)]


def test_what_becomes_of_a_process(tmp_path: Path) -> None:
    """Killed, diverged, or asked to do what does not go together."""
    plan, place = plan_of(tmp_path, GRID), Place(tmp_path / "out")
    study: Any = None

    class Dies:
        status, words, errors = 0, "", [1.0]

        def run(self, target: Any, number: int, *rest: Any, enough: Any) -> int:
            place.log(number).write_text(self.words)
            place.outcome(number).write_text(json.dumps({"errors": self.errors, "memory_mb": 1.0}))
            return self.status

    workers: Any = Dies()
    trial = Trial(3, {"model.norm": "batch", "objective.dropout": 0}, "running")
    assert run_trial(trial, plan, place, study, workers).error == 1.0
    workers.status = -9
    assert "signal 9: killed, or out of memory" in str(run_trial(trial, plan, place, study, workers).reason)
    workers.status, workers.words = 1, "Traceback\nthe loss is nan at step 3\n"
    assert run_trial(trial, plan, place, study, workers).reason == "the loss is nan at step 3"
    workers.status, workers.errors = 0, [math.nan]
    assert run_trial(trial, plan, place, study, workers).reason == "its validation error is nan"
    wrong = Trial(4, {"training.freeze": ["network"]}, "running")
    assert "`freeze` needs `start_from`" in str(run_trial(wrong, plan, place, study, workers).reason)


def test_the_picture_shows_every_trial(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {**RATES, "model.norm": ["batch", "instance"], "training.seed": [0, 1]})
    options = [
        {"training.learning_rate": 10.0**-i, "model.depth": i, "model.norm": norm, "training.seed": 0}
        for i, norm in ((1, "batch"), (2, "instance"), (3, "batch"))
    ]
    trials = [
        Trial(0, options[0], "complete", 1.5),
        Trial(1, options[1], "pruned", 60.0, curve={3: 60.0}),
        Trial(2, options[2], "failed", reason="the loss is nan"),
    ]
    drawn = draw_search(plan.space, trials)
    texts = set(re.findall(r"<!-- (.*?) -->", drawn.svg.decode()))
    assert drawn.png[:4] == b"\x89PNG"
    assert {"complete", "pruned", "failed", "best so far", "instance", *plan_names(plan)} <= texts


def plan_names(plan: Plan) -> set[str]:
    return {axis.name for axis in plan.space.axes}


def test_a_process_that_has_done_enough_is_ended() -> None:
    begun = time.monotonic()
    assert Workers().run(time.sleep, 60, enough=lambda: time.monotonic() > begun + 0.5) == -signal.SIGTERM
    assert time.monotonic() - begun < 50
