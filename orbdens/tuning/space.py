"""What to vary: options of a config and the values that each may take, read from a YAML file and checked beforehand.

A line for each option: its dotted name, and either a list of values or a range. ::

    objective.dropout: [0, 0.1, 0.2]
    training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
    model.features: {low: 8, high: 32, step: 8}
    training.ema_decay: {low: 0.9, high: 0.99, number: 4}
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from orbdens.config import MOVED, Config, Options, check_option, option_names, read_yaml, takes_fractions
from orbdens.errors import UserError

MOST_POINTS = 1000
"""Points of a grid; nobody waits for more."""

SAME_FOR_ALL = {
    "data": "it decides what all trials are measured on (--store names another store)",
    "training.validation_spacing": "it decides what all trials are measured on",
    "training.threads": "the cores are shared out evenly among the trials, see --processes",
    "model.kind": "orbdens compare trains models of several kinds",
}
"""Options and sections that are no matter of a search, and why."""


class Range(Options):
    """A range of numbers as a file of ranges gives it.

    Whole numbers where both ends are and the option takes no others; all numbers between them otherwise.
    """

    low: int | float = Field(description="smallest value")
    high: int | float = Field(description="largest value")
    log: bool = Field(False, description="whether all orders of magnitude are equally likely")
    step: int | float | None = Field(None, gt=0, description="distance of the values, beginning at `low`")
    number: int | None = Field(None, ge=2, le=1000, description="take only so many values, from `low` to `high`")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not all(math.isfinite(x) for x in (self.low, self.high, self.step or 1)):
            raise ValueError("ranges have finite ends")
        if self.low >= self.high:
            raise ValueError(f"low should be below high, but they are {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, but low is {self.low}")
        if self.step is not None and (self.log or self.number is not None):
            raise ValueError("`step` goes neither with `log` nor with `number`, which sets the distances itself")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"the step {self.step} is longer than the range from {self.low} to {self.high}")
        return self


@dataclass(frozen=True)
class Axis:
    """An option and its values.

    Attributes:
        name: of the option, dotted.
        values: all of them in order; None for every number between two ends.
        ordered: whether they are numbers of which neighbours are alike.
        low: smallest value of a range without end of values.
        high: its largest.
        whole: whether it has whole numbers alone.
        log: whether orders of magnitude count.
    """

    name: str
    values: tuple[Any, ...] | None
    ordered: bool = False
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    @property
    def short(self) -> str:
        """Its name without the section."""
        return self.name.partition(".")[2]


@dataclass(frozen=True)
class Space:
    """All axes, by the names of options."""

    axes: tuple[Axis, ...]

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of values, the last option changing fastest.

        Raises:
            UserError: an option may be any number of a range, or there are more points than anybody waits for.
        """
        for axis in self.axes:
            if axis.values is None:
                raise UserError(f"a grid needs `step` or `number` for {axis.name}, whose range has no end of values")
        n = math.prod(len(axis.values or ()) for axis in self.axes)
        if n > MOST_POINTS:
            raise UserError(f"this grid has {n} points, more than {MOST_POINTS}: --sampler tpe needs no grid")
        for point in itertools.product(*(axis.values or () for axis in self.axes)):
            yield {axis.name: value for axis, value in zip(self.axes, point, strict=True)}

    def described(self) -> dict[str, Any]:
        """As JSON values, to be compared with those of another time."""
        return {
            axis.name: list(axis.values)
            if axis.values is not None
            else {"low": axis.low, "high": axis.high, "log": axis.log, "whole": axis.whole}
            for axis in self.axes
        }


def read_space(path: Path, config: Config, set_elsewhere: Mapping[str, str]) -> Space:
    """Read a file of ranges and hold it against the options of a config.

    Args:
        path: the YAML file.
        config: whose options are varied.
        set_elsewhere: further options that cannot be varied, and why.

    Raises:
        UserError: no such file, no YAML, an unknown option (with the nearest known one), a value that an option cannot
            have, a range that is none, or an option that all trials have in common.
    """
    tree = read_yaml(path, "ranges")
    if not isinstance(tree, dict) or not tree:
        raise UserError(
            f"{path} should hold lines such as `training.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}`"
        )
    axes: dict[str, Axis] = {}
    try:
        for given, values in tree.items():
            name = _known(str(given), config, set_elsewhere)
            clash = next(
                (other for other in axes if f"{other}.".startswith(f"{name}.") or f"{name}.".startswith(f"{other}.")),
                None,
            )
            if clash is not None:
                raise UserError(f"{given} and {clash} set the same option")
            axes[name] = _axis(name, values, config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Space(tuple(axes.values()))


def _known(given: str, config: Config, set_elsewhere: Mapping[str, str]) -> str:
    """The name of an option as this version has it; UserError if there is none or it cannot be varied."""
    name = MOVED.get(given, given)
    for fixed, why in {**SAME_FOR_ALL, **set_elsewhere}.items():
        if f"{name}.".startswith(f"{fixed}."):
            raise UserError(f"option {given} cannot be varied: {why}")
    names = option_names(config)
    inner = next((known for known in names if known.startswith(f"{name}.")), None)
    if "." not in name and inner is not None:
        raise UserError(f"{given} is a section: write names of its options, such as {inner}")
    if name in names:
        return name
    near = [known for known in names if known.endswith(f".{name}")] or difflib.get_close_matches(name, names, 1, 0.5)
    raise UserError(f"unknown option '{given}'" + (f"; did you mean '{near[0]}'?" if near else ""))


def _axis(name: str, values: Any, config: Config) -> Axis:
    if isinstance(values, list):
        return _choice(name, values, config)
    if not isinstance(values, dict) or not values.keys() & Range.model_fields.keys():
        raise UserError(
            f"option {name}: expected a list of values or a range {{low: ..., high: ...}}, but got {values!r}"
        )
    try:
        found = Range.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key, message = ".".join(map(str, first["loc"][:1])), first["msg"].removeprefix("Value error, ")
        raise UserError(f"option {name}: {f'{key}: ' if key else ''}{message[:1].lower()}{message[1:]}") from None
    for end in (found.low, found.high):
        check_option(config, name, end)
    whole = isinstance(found.low, int) and isinstance(found.high, int) and not takes_fractions(config, name, found.low)
    if whole and isinstance(found.step, float):
        check_option(config, name, found.low + found.step)
    numbers = _numbers(found, whole)
    if numbers is None:
        return Axis(name, None, True, float(found.low), float(found.high), whole, found.log)
    for number in numbers:
        check_option(config, name, number)
    return Axis(name, numbers, True, float(found.low), float(found.high), whole, found.log)


def _choice(name: str, values: list[Any], config: Config) -> Axis:
    if not values:
        raise UserError(f"option {name}: the list of its values is empty")
    values = [_number(name, value, config) for value in values]
    texts = [json.dumps(value, sort_keys=True, default=str) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise UserError(f"option {name}: the value {twice} is in its list twice")
    return Axis(name, tuple(values))


def _number(name: str, value: Any, config: Config) -> Any:
    """A value that the option may have; 1e-4, a text for YAML, is a number where the option takes numbers."""
    if isinstance(value, str):
        with suppress(ValueError, UserError):
            check_option(config, name, float(value))
            return float(value)
    check_option(config, name, value)
    return value


def _numbers(found: Range, whole: bool) -> tuple[float, ...] | None:
    """The values of a range that has an end of them."""
    low, high = found.low, found.high
    if found.number is not None:
        parts = [i / (found.number - 1) for i in range(found.number)]
        numbers = [low * (high / low) ** part if found.log else low + (high - low) * part for part in parts]
        return tuple(sorted({round(x) for x in numbers} if whole else {_neat(x) for x in numbers}))
    if found.step is not None:
        count = math.floor((high - low) / found.step + 1e-9) + 1
        if count > MOST_POINTS:
            raise UserError(f"a step of {found.step} from {low} to {high} makes {count} values")
        return tuple(int(low + i * found.step) if whole else _neat(low + i * found.step) for i in range(count))
    if whole and not found.log and high - low < MOST_POINTS:
        return tuple(range(int(low), int(high) + 1))
    return None


def _neat(number: float) -> float:
    """Without the noise in its last digits."""
    return float(f"{number:.10g}")
