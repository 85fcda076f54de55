"""What a search found: all of it as JSON, the best config, and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml

from orbdens.evaluation.tables import Table
from orbdens.files import written_whole
from orbdens.machine import describe_machine, describe_versions
from orbdens.tuning.plan import Place, Plan
from orbdens.tuning.study import SLOTS, Trial

VERSION = 1
"""Of the JSON file."""

MOST_ROWS = 30
"""Trials in a table on the screen."""

MEASURE = "NMAE of held-out structures [%]"


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the smallest error, the first of equal ones; None while there is none."""
    done = [trial for trial in trials if trial.state == "complete"]
    return min(done, key=lambda trial: (trial.error, trial.number), default=None)


def write_results(place: Place, plan: Plan, trials: Sequence[Trial], importance: Mapping[str, float]) -> None:
    """Write ``tune.json`` and, once a trial is complete, ``best.yaml``.

    Raises:
        UserError: they cannot be written.
    """
    best = best_of(trials)
    if best is not None:
        _write_best(place, plan, best)
    found = {
        "version": VERSION,
        "terms": plan.described(),
        "trials_wanted": plan.n_trials,
        "best": None if best is None else best.number,
        "importance": dict(importance),
        "trials": [_row(trial) for trial in trials],
        "machine": describe_machine(plan.terms.threads),
        "versions": describe_versions("torch", "optuna"),
    }
    with written_whole(place.results) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _row(trial: Trial) -> dict[str, Any]:
    row = asdict(trial) | {"curve": {f"{slot / SLOTS:g}": error for slot, error in (trial.curve or {}).items()}}
    return {name: value for name, value in row.items() if value is not None}


def _write_best(place: Place, plan: Plan, best: Trial) -> None:
    tree = plan.config_of(dict(best.options)).model_dump(mode="json")
    text = f"# Trial {best.number} of a search by orbdens tune: {best.error:.4g} % NMAE on held-out structures.\n"
    text += yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    if not place.best.is_file() or place.best.read_text(encoding="utf-8") != text:
        with written_whole(place.best) as temporary:
            temporary.write_text(text, encoding="utf-8")


def table_of(plan: Plan, trials: Sequence[Trial], importance: Mapping[str, float]) -> Table:
    """Trials by their errors, complete ones first, then pruned, failed and running ones."""
    order = ["complete", "pruned", "failed", "running"]
    ordered = sorted(trials, key=lambda t: (order.index(t.state), t.error or 0.0, t.number))
    rows = [
        [
            str(trial.number),
            *(told(trial.options.get(axis.name)) for axis in plan.space.axes),
            "–" if trial.error is None else f"{trial.error:.4g}",
            "–" if trial.minutes is None else f"{trial.minutes:.1f}",
            _state(trial),
        ]
        for trial in ordered[:MOST_ROWS]
    ]
    counts = {state: sum(trial.state == state for trial in trials) for state in order}
    notes = ", ".join(f"{n} {state}" for state, n in counts.items() if n) + f" of {plan.n_trials} wanted."
    if len(trials) > MOST_ROWS:
        notes += f" The other {len(trials) - MOST_ROWS} stand in tune.json."
    for trial in trials:
        if trial.state == "failed":
            notes += f"\nTrial {trial.number} failed: {trial.reason}"
    if importance:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in importance.items())
        notes += f"\nImportance for being among the best (PED-ANOVA): {shares}."
    names = {axis.name: axis.short for axis in plan.space.axes}
    unique = [short if list(names.values()).count(short) == 1 else name for name, short in names.items()]
    return Table(
        title=f"{plan.config.model.kind} on {plan.config.data.store}: {len(trials)} trial{'s' * (len(trials) != 1)}",
        columns=["trial", *unique, "NMAE [%]", "time [min]", "state"],
        rows=rows,
        notes=f"{MEASURE.replace(' [%]', '')}, not of test.\n{notes}",
    )


def _state(trial: Trial) -> str:
    if trial.state != "pruned" or not trial.curve:
        return trial.state
    return f"pruned at {100 * max(trial.curve) // SLOTS} %"


def sentence(options: Mapping[str, Any]) -> str:
    """Options in a line."""
    return ", ".join(f"{name}={told(value)}" for name, value in options.items())


def told(value: Any) -> str:
    """A value of an option for people."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
