"""The trials of a search, kept by optuna in a journal that outlives every command, and shared by those at work."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from orbdens.errors import UserError
from orbdens.files import reason
from orbdens.tuning.locks import FileLock, JournalLock, Presence
from orbdens.tuning.plan import Place, Plan
from orbdens.tuning.space import Axis

SLOTS = 10
"""Parts of a trial after each of which it is compared with others."""

FIRST_TRIALS, FIRST_SLOTS = 4, 2
"""Trials that the median is taken of before one is pruned, and parts that every trial may have."""

COMMAND, WANTED, OUTCOME = "command", "wanted", "outcome"
"""Attributes of trials: who works on it, the values that it was asked for with, what it took and what went wrong."""

CUT_OFF = "cut off"
"""Attribute of the study: numbers of trials that their command did not finish, which are repeated."""


@dataclass(frozen=True)
class Trial:
    """One set of options, and what came of it.

    Attributes:
        number: of the trial, from 0.
        options: values by dotted names.
        state: ``complete``, ``pruned``, ``failed``, or ``running``.
        error: NMAE in % of the held-out structures; of a pruned trial the last one known.
        minutes: wall time of all of it.
        memory_mb: largest memory of its process.
        reason: what went wrong, of a failed one.
        curve: errors after so many of the ``SLOTS`` parts of it.
    """

    number: int
    options: Mapping[str, Any]
    state: str
    error: float | None = None
    minutes: float | None = None
    memory_mb: float | None = None
    reason: str | None = None
    curve: Mapping[int, float] | None = None


class Study:
    """The trials of a folder.

    Args:
        place: the folder.
        plan: what is searched, and how.

    Raises:
        UserError: the journal is damaged, or cannot be read or written.
    """

    def __init__(self, place: Place, plan: Plan) -> None:
        self.plan, self.place = plan, place
        self._presence = Presence(place.locks)
        self._asking = FileLock(place.out / ".ask.lock")
        self._at_work: dict[int, optuna.Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            backend = JournalFileBackend(str(place.journal), lock_obj=JournalLock(place.journal))
            with self._asking:  # two commands may begin at once
                self._study = optuna.create_study(
                    storage=JournalStorage(backend),
                    study_name="tune",
                    load_if_exists=True,
                    pruner=_pruner(plan.terms.prune),
                )
                if plan.terms.sampler == "grid":
                    self._enqueue_grid()
                self._presence.begin()
        except OSError as error:
            raise UserError(f"cannot write to {place.out}: {reason(error)}") from None
        except (ValueError, KeyError, AssertionError):
            raise UserError(f"{place.journal} is damaged: --force begins the search anew") from None

    def end(self) -> None:
        """Leave the work to others."""
        self._presence.end()

    def next(self) -> Trial | None:
        """A trial to work on, or None if as many as wanted are finished or at work.

        What a command that is no longer there has left unfinished comes before anything that is drawn.
        """
        with self._asking:
            self._take_over()
            begun = sum(t.state != TrialState.WAITING for t in self._trials())
            if begun >= self.plan.n_trials:
                return None
            self._study.sampler = self._sampler(begun)
            asked = self._study.ask({axis.name: _distribution(axis) for axis in self.plan.space.axes})
            asked.set_user_attr(COMMAND, self._presence.name)
            self._at_work[asked.number] = asked
        return Trial(asked.number, self._options(asked.params), "running")

    def report(self, number: int, slot: int, error: float) -> bool:
        """Note an error in the course of a trial; whether it had better end here."""
        trial = self._at_work[number]
        trial.report(error, slot)
        return trial.should_prune()

    def tell(self, trial: Trial) -> None:
        """Note what came of a trial."""
        live = self._at_work.pop(trial.number)
        live.set_user_attr(OUTCOME, {name: getattr(trial, name) for name in ("minutes", "memory_mb", "reason")})
        if trial.state == "complete":
            self._study.tell(live, trial.error)
        else:
            self._study.tell(live, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """All that began, without those that were cut off, in order."""
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        return [
            Trial(
                t.number,
                self._options(t.params),
                states.get(t.state, "running"),
                t.value if t.state == TrialState.COMPLETE else _last(t.intermediate_values),
                curve=dict(t.intermediate_values),
                **t.user_attrs.get(OUTCOME, {}),
            )
            for t in self._trials()
            if t.state != TrialState.WAITING
        ]

    def importance(self) -> dict[str, float]:
        """Share of each option in what makes trials good, largest first (PED-ANOVA); empty while there are too few."""
        done = [t for t in self._trials() if t.state == TrialState.COMPLETE]
        if len(self.plan.space.axes) < 2 or len(done) < 4 or len({t.value for t in done}) < 2:
            return {}
        found = optuna.importance.get_param_importances(self._study)
        return {name: float(share) for name, share in found.items() if math.isfinite(share)}

    def _trials(self) -> list[FrozenTrial]:
        """As optuna has them, without those that were cut off."""
        cut_off = self._study.user_attrs.get(CUT_OFF, [])
        return [t for t in self._study.get_trials(deepcopy=False) if t.number not in cut_off]

    def _enqueue_grid(self) -> None:
        """All points that are not there yet; a kill may have left half of them."""
        there = {json.dumps(t.user_attrs.get(WANTED), sort_keys=True) for t in self._study.get_trials(deepcopy=False)}
        for point in self.plan.space.grid():
            values = {axis.name: _encoded(axis, point[axis.name]) for axis in self.plan.space.axes}
            if json.dumps(values, sort_keys=True) not in there:
                self._enqueue(values)

    def _enqueue(self, values: dict[str, Any]) -> None:
        self._study.enqueue_trial(values, {WANTED: values})

    def _options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {axis.name: _decoded(axis, values[axis.name]) for axis in self.plan.space.axes if axis.name in values}

    def _take_over(self) -> None:
        """What nobody works on any more is failed, and will be tried again before anything new."""
        running = [t for t in self._trials() if t.state == TrialState.RUNNING]
        alive = [*self._presence.others(), self._presence.name] if running else []
        for left in running:
            if left.user_attrs.get(COMMAND) in alive:
                continue
            self._study.set_user_attr(CUT_OFF, [*self._study.user_attrs.get(CUT_OFF, []), left.number])
            self._study.tell(left.number, state=TrialState.FAIL)
            values = left.user_attrs.get(WANTED, left.params)
            if len(values) == len(self.plan.space.axes):  # else it had not got them yet, and the seed draws them again
                self._enqueue(values)
            self.place.forget(left.number)

    def _sampler(self, begun: int) -> Any:
        """What draws the next trial: by the seed and how many there are, so that an interruption changes nothing."""
        seed = int(np.random.SeedSequence([self.plan.terms.seed, begun]).generate_state(1)[0])
        if self.plan.terms.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=self.plan.terms.processes > 1)
        return optuna.samplers.RandomSampler(seed=seed)


def _pruner(prune: str | None) -> Any:
    if prune == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS, n_warmup_steps=FIRST_SLOTS)
    if prune == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=SLOTS, reduction_factor=3)
    return optuna.pruners.NopPruner()


def _distribution(axis: Axis) -> Any:
    """Of what optuna draws; values that are listed are drawn by their places."""
    if axis.values is None:
        kind = IntDistribution if axis.whole else FloatDistribution
        ends = (int(axis.low), int(axis.high)) if axis.whole else (axis.low, axis.high)
        return kind(*ends, log=axis.log)
    if axis.ordered:
        return IntDistribution(0, len(axis.values) - 1)
    return CategoricalDistribution([json.dumps(value) for value in axis.values])


def _encoded(axis: Axis, value: Any) -> Any:
    if axis.values is None:
        return value
    return axis.values.index(value) if axis.ordered else json.dumps(value)


def _decoded(axis: Axis, value: Any) -> Any:
    if axis.values is None:
        return value
    return axis.values[int(value)] if axis.ordered else json.loads(value)


def _last(values: Mapping[int, float]) -> float | None:
    return values[max(values)] if values else None
