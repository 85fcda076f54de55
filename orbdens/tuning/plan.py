"""What is searched and on what terms, and the folder in which it is kept."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orbdens.config import Config, TrainingConfig, find_config, load_config, with_options
from orbdens.errors import UserError
from orbdens.files import check_output
from orbdens.machine import available_cores
from orbdens.tuning.space import Space, read_space

Sampler = Literal["tpe", "grid", "random"]
Pruner = Literal["median", "hyperband"]

TRIALS = 20
"""Where nothing else is said and there is no grid."""


@dataclass(frozen=True)
class Terms:
    """How to search.

    Attributes:
        trials: finished ones that are wanted; None takes all points of a grid, or ``TRIALS``.
        sampler: what chooses the next options: optuna's TPE, every point of a grid, or chance.
        prune: how hopeless trials are told by their course, and ended early; None ends none.
        minutes: training time of each trial; None and no steps leaves that to the config.
        steps: likewise, optimiser steps.
        processes: trials at the same time; the cores are shared out evenly.
        seed: of what is drawn.
    """

    trials: int | None = None
    sampler: Sampler = "tpe"
    prune: Pruner | None = None
    minutes: float | None = None
    steps: int | None = None
    processes: int = 1
    seed: int = 0

    @property
    def threads(self) -> int:
        """CPU threads of each trial."""
        return max(1, available_cores() // self.processes)


@dataclass(frozen=True)
class Plan:
    """A search.

    Attributes:
        config: what all trials have in common; its options that are varied, and its threads, are those of the file.
        space: what is varied.
        terms: how.
        n_trials: finished ones that are wanted.
    """

    config: Config
    space: Space
    terms: Terms
    n_trials: int

    def config_of(self, options: dict[str, Any]) -> Config:
        """The complete config of a trial.

        Raises:
            UserError: the options do not go together.
        """
        return with_options(self.config, options, "these options")

    def described(self) -> dict[str, Any]:
        """As JSON values: all that decides what comes out."""
        terms = {name: value for name, value in asdict(self.terms).items() if name not in ("trials", "processes")}
        return {
            **terms,
            "threads": self.terms.threads,
            "space": self.space.described(),
            "config": self.config.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Place:
    """The folder of a search.

    Attributes:
        out: the folder.
    """

    out: Path

    @property
    def journal(self) -> Path:
        """Every trial as optuna keeps it."""
        return self.out / "journal.log"

    @property
    def results(self) -> Path:
        """The terms, and everything that came out."""
        return self.out / "tune.json"

    @property
    def best(self) -> Path:
        """The config of the best trial."""
        return self.out / "best.yaml"

    @property
    def locks(self) -> Path:
        """A file of each command that is at work."""
        return self.out / "locks"

    def run(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.out / "trials" / f"{number:03d}"

    def log(self, number: int) -> Path:
        """What a trial printed."""
        return self.out / "logs" / f"{number:03d}.log"

    def outcome(self, number: int) -> Path:
        """What a trial says when it has ended."""
        return self.out / "logs" / f"{number:03d}.json"

    def forget(self, number: int) -> None:
        """Remove what there is of a trial."""
        shutil.rmtree(self.run(number), ignore_errors=True)
        for file in (self.log(number), self.outcome(number)):
            file.unlink(missing_ok=True)


def plan_search(config: Path, space: Path, store: str | None, overrides: Sequence[str], terms: Terms) -> Plan:
    """Read a config and the ranges of its options, and see that they can be searched so.

    Args:
        config: YAML file, or name of one that ships.
        space: YAML file of ranges, as ``space.py`` says.
        store: in place of the config's.
        overrides: further options as ``key=value``.
        terms: how to search.

    Raises:
        UserError: as ``load_config`` and ``read_space``; or the terms go neither with the model nor with the ranges.
    """
    given = [*overrides, *([] if store is None else [f"data.store={json.dumps(store)}"])]
    set_elsewhere = {}
    file = find_config(config)
    if (terms.minutes, terms.steps) != (None, None):
        option = "minutes" if terms.steps is None else "steps"
        if not isinstance(load_config(file, given).training, TrainingConfig):
            raise UserError(f"--{option} is for models that learn by steps, but that of {config} is fitted in one go")
        given += [f"training.minutes={json.dumps(terms.minutes)}", f"training.steps={json.dumps(terms.steps)}"]
        set_elsewhere = dict.fromkeys(("training.minutes", "training.steps"), f"--{option} sets when a trial ends")
    checked = load_config(file, given)
    if terms.prune is not None and not isinstance(checked.training, TrainingConfig):
        raise UserError(f"--prune is for models that learn by steps, but that of {config} is fitted in one go")
    if "test" in (checked.data.train_split, checked.data.validation_split):
        raise UserError(
            "a search must not see the split 'test', on which its result is to be measured: set data.train_split and "
            "data.validation_split to others"
        )
    ranges = read_space(space, checked, set_elsewhere)
    n_points = math.inf
    if terms.sampler == "grid":
        n_points = sum(1 for _ in ranges.grid())
    n_trials = terms.trials or (TRIALS if terms.sampler != "grid" else int(n_points))
    return Plan(checked, ranges, terms, int(min(n_trials, n_points)))


def check_place(place: Place, plan: Plan, force: bool) -> None:
    """See that a search may begin in a folder, or go on there on the terms it began with.

    Raises:
        UserError: it was begun on other terms, holds something else, or cannot be written.
    """
    if place.results.is_file() and not force:
        try:
            before = _flat(json.loads(place.results.read_text(encoding="utf-8"))["terms"])
            now = _flat(json.loads(json.dumps(plan.described())))
            differs = next((name for name in {**before, **now} if before.get(name) != now.get(name)), None)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{place.results} is damaged: --force begins the search anew") from None
        if differs is not None:
            raise UserError(
                f"{place.out} was begun with {differs} = {before.get(differs)}, not {now.get(differs)}: --force begins "
                "anew, --out names another folder"
            )
    elif place.out.is_dir() and any(place.out.iterdir()) and not place.results.is_file():
        raise UserError(f"{place.out} holds something that is no search: --out names another folder")
    check_output(place.results, force=True)


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Values of a tree by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat
