"""One trial: trained and measured in a process of its own, and watched while it trains."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orbdens.config import Config, TrainingConfig, parse_config, with_options
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.machine import peak_memory_mb
from orbdens.processes import Workers, begin_logged, last_words
from orbdens.tuning.plan import Place, Plan
from orbdens.tuning.study import SLOTS, Study, Trial

Report = Callable[[int, float], bool]
"""Told the error after one of the ``SLOTS`` parts of a trial; says whether the trial had better end."""


class Course:
    """The course of a trial by gradient steps, read from its metrics while they are written.

    Args:
        metrics: the file, which need not exist yet.
        options: say when the trial ends.
        report: told every part once, with the first error known at its end.
    """

    def __init__(self, metrics: Path, options: TrainingConfig, report: Report) -> None:
        self._metrics, self._options, self._report = metrics, options, report
        self._told, self.hopeless = 0, False

    def look(self) -> bool:
        """Report what is new; whether the trial is hopeless."""
        if self.hopeless or not self._metrics.is_file():
            return self.hopeless
        with self._metrics.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            error = float(row["validation_nmae"])
            reached = min(SLOTS, math.floor(SLOTS * self._fraction(row) + 1e-9))
            while self._told < reached and math.isfinite(error):
                self._told += 1
                if self._report(self._told, error):
                    self.hopeless = True
                    return True
        return False

    def _fraction(self, row: dict[str, str]) -> float:
        """How far the trial was, as ``training.schedule`` counts it."""
        steps, minutes = self._options.steps, self._options.minutes
        return max(int(row["step"]) / steps if steps else 0.0, float(row["minutes"]) / minutes if minutes else 0.0)


def run_trial(trial: Trial, plan: Plan, place: Place, study: Study, workers: Workers) -> Trial:
    """Train and measure one; what came of it, whatever that is."""
    from orbdens.training.folder import METRICS_FILE, RESUME_FILE

    begun = time.monotonic()
    try:
        config = plan.config_of(dict(trial.options))
        config = with_options(config, {"training.threads": plan.terms.threads}, "--processes")
    except UserError as error:
        return replace(trial, state="failed", reason=str(error), minutes=0.0)
    course: Course | None = None
    if isinstance(config.training, TrainingConfig):
        metrics = place.run(trial.number) / METRICS_FILE
        course = Course(metrics, config.training, lambda slot, error: study.report(trial.number, slot, error))
    place.forget(trial.number)
    place.log(trial.number).parent.mkdir(parents=True, exist_ok=True)
    tree = config.model_dump(mode="json")
    status = workers.run(
        _train, trial.number, place, tree, plan.terms.threads, enough=None if course is None else course.look
    )
    minutes = (time.monotonic() - begun) / 60
    (place.run(trial.number) / RESUME_FILE).unlink(missing_ok=True)  # nobody goes on from there
    if course is not None and course.look():
        return replace(trial, state="pruned", minutes=minutes)
    if status:
        words = last_words(place.log(trial.number), "training", status)
        return replace(trial, state="failed", minutes=minutes, reason=words)
    outcome = json.loads(place.outcome(trial.number).read_text(encoding="utf-8"))
    mean = float(np.mean(outcome["errors"]))
    done = replace(trial, minutes=minutes, memory_mb=outcome["memory_mb"])
    if not math.isfinite(mean):
        return replace(done, state="failed", reason=f"its validation error is {mean}")
    return replace(done, state="complete", error=mean)


def _train(number: int, place: Place, tree: dict[str, Any], threads: int) -> None:
    begin_logged(place.log(number), threads)
    from orbdens.training.run import train

    config = parse_config(tree, "a trial")
    try:
        train(config, place.run(number), force=True, share_cache=place.out)
        outcome = {"errors": held_out_errors(config, place.run(number)), "memory_mb": peak_memory_mb()}
        with written_whole(place.outcome(number)) as temporary:
            temporary.write_text(json.dumps(outcome), encoding="utf-8")
    except UserError as error:
        raise SystemExit(f"{error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def held_out_errors(config: Config, run: Path) -> list[float]:
    """NMAE in % of each structure that was held out from a training, by the model that it ended with."""
    from orbdens.checkpoint import load_model
    from orbdens.progress import silent
    from orbdens.store import open_store
    from orbdens.training.batches import splits_of
    from orbdens.training.run import VALIDATION_SPACING
    from orbdens.training.validation import errors, references

    store = open_store(config.data.store)
    options = config.training
    spacing = options.validation_spacing if isinstance(options, TrainingConfig) else VALIDATION_SPACING
    return errors(load_model(run), references(store, splits_of(store, config.data)[1], spacing, silent))
