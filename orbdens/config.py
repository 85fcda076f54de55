"""Every option once: type, default, range, unit and one sentence. Imports no torch, so that mistakes show at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orbdens import shipped
from orbdens.errors import UserError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Options(BaseModel):
    """A section of a config: unknown names are refused, and nothing changes it once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataConfig(Options):
    """Which records to learn from."""

    store: Path = Field(
        description="folder of the store, made by `orbdens data ...`; `lithium-oxide` is the shipped one"
    )
    train_split: str = Field("train", description="split to train on")
    n_train: int | None = Field(None, ge=1, description="use only the first so many structures of the split")
    validation_split: str | None = Field(
        None, description="split to validate on; null holds `n_validation` structures of the training split out"
    )
    n_validation: int = Field(20, ge=1, description="how many structures to validate on")


class ModelOptions(Options):
    """What a model is; every model has options of its own. What it learns from and how is said elsewhere."""

    kind: str = Field(description="which model: a name in `orbdens.models.registry`")


class ObjectiveOptions(Options):
    """What training minimises; every model has options of its own, or none."""


class FitOptions(Options):
    """How a model is made that is fitted in one go, without steps."""

    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; null takes what torch takes")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of all random choices: weights, order, points")


class TrainingConfig(FitOptions):
    """Optimisation. A run ends at `steps` or after `minutes`, whichever comes first; the learning rate follows."""

    steps: int | None = Field(None, ge=1, description="optimiser steps")
    minutes: float | None = Field(None, gt=0, description="wall time of the steps, summed over resumed runs")
    batch_size: int = Field(16, ge=1, description="structures per step")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the schedule (linear warm-up, cosine decay)")
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights, which are the result")
    validate_every: int = Field(250, ge=1, description="steps between validations")
    checkpoint_every: int = Field(250, ge=1, description="steps between resumable checkpoints")
    validation_spacing: float = Field(0.3, gt=0.02, description="Å; grid of the validation NMAE")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="as Lightning names it")
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="where to train; auto: a CUDA GPU if there is one"
    )
    devices: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="processes on each machine, on CPU cores or each on a GPU of its own, that share every batch; "
        "null: those that torchrun or srun has started, else one",
    )
    nodes: int | None = Field(
        None, ge=1, le=4096, description="machines, each started by torchrun or srun; null: those that were started"
    )
    strategy: str = Field(
        "auto", description="how processes share the work, as Lightning names it; auto: ddp where there are several"
    )
    patience: float = Field(
        10.0, gt=0, description="minutes after which a process that says nothing to the others is taken for dead"
    )
    start_from: Path | None = Field(
        None,
        description="trained model (model.safetensors or a run folder) whose weights and basis to start from; `model` "
        "must be as in its config; null starts from random weights",
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="parts of that model whose weights stay as they are, e.g. `backbone`, `backbone.convolutions.0`",
    )

    @model_validator(mode="after")
    def _freezes_what_was_learned(self) -> TrainingConfig:
        if self.freeze and self.start_from is None:
            raise ValueError("`freeze` needs `start_from`: random weights are not worth keeping")
        return self

    @model_validator(mode="after")
    def _ends(self) -> TrainingConfig:
        if self.steps is None and self.minutes is None:
            raise ValueError("a run needs an end: give `steps`, `minutes` or both")
        return self


class Config(Options):
    """A whole run; each model has a subclass (named in ``orbdens.models.registry``) with sections of its own."""

    data: DataConfig
    model: ModelOptions
    objective: ObjectiveOptions = Field(default_factory=ObjectiveOptions)
    training: FitOptions = Field(default_factory=FitOptions)


def find_config(path: Path) -> Path:
    """The file itself or, for the bare name of a config that ships (``configs/NAME`` too), that one."""
    ships = shipped.config_path(path.name)
    named = path.parent in (Path(), Path("configs"))
    return ships if named and not path.exists() and ships.is_file() else path


def read_yaml(path: Path, what: str) -> Any:
    """What a YAML file holds; UserError, which calls the file ``what``, if it cannot be read or is none."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the {what} {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from None


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read and check a YAML file; ``overrides`` are ``dotted.key=value`` (the value is read as YAML).

    Raises:
        UserError: no such file, no YAML, an unknown key (with the nearest known one), or a value out of range.
    """
    tree = read_yaml(path, "config")
    if not isinstance(tree, dict):
        raise UserError(f"{path} should hold the sections data, model, objective and training")
    tree = upgraded_options(tree)
    for override in overrides or []:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"expected key=value, e.g. training.minutes=10, but got '{override}'")
        node = tree
        *parents, leaf = MOVED.get(key, key).split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"'{key}' does not name an option: '{parent}' is a value, not a section")
        try:
            node[leaf] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"'{value}' is no YAML value (option {key})") from None
    return parse_config(tree, where=str(path))


MOVED = {
    f"model.{name}": f"objective.{name}"
    for name in ("points_stage", "points_per_structure", "dipole_weight", "dropout")
}
"""Options by their names up to version 0.1.0, and by today's."""


def upgraded_options(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of options as this version has them, which means what an old one meant.

    Raises:
        UserError: an option is given in both places.
    """
    tree = {name: dict(part) if isinstance(part, dict) else {} if part is None else part for name, part in tree.items()}
    for old, new in MOVED.items():
        (section, name), target = old.split("."), new.split(".")[0]
        if isinstance(tree.get(section), dict) and name in tree[section]:
            value = tree[section].pop(name)
            if tree[section].get("kind") == "orbital":  # what was not given had other defaults
                tree[section] = {"electrons": "global", "orbital_cutoff": 7.0, **tree[section]}
            given = tree.setdefault(target, {})
            if isinstance(given, dict) and given.setdefault(name, value) != value:
                raise UserError(f"option {old} is called {new} now, and both are given")
    return tree


def parse_config(tree: dict[str, Any], where: str) -> Config:
    """Check a tree of options, of this version or an older one; ``where`` names its source in messages.

    Raises:
        UserError: as ``load_config``.
    """
    tree = upgraded_options(tree)
    try:
        run = _run_of(tree.get("model"))
        return run.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(error, run)}") from None
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def option_names(options: BaseModel) -> list[str]:
    """Dotted names of all options of a config or a section, sections included."""
    names = []
    for name in type(options).model_fields:
        value = getattr(options, name)
        names += (
            [name, *(f"{name}.{inner}" for inner in option_names(value))] if isinstance(value, BaseModel) else [name]
        )
    return names


def with_options(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """A config with other values of some options.

    Args:
        config: stays as it is.
        values: by dotted names, all of them in ``option_names``.
        where: names their source in messages.

    Raises:
        UserError: as ``parse_config``.
    """
    return parse_config(_tree_with(config, values), where)


def check_option(config: Config, name: str, value: Any) -> None:
    """UserError if an option cannot have a value, whatever the others are; as a number with a fraction for a count."""
    error = _error_of(config, name, value)
    if error is not None:
        raise UserError(_told(error, type(config)))


def takes_fractions(config: Config, name: str, near: float) -> bool:
    """Whether an option may be something between whole numbers.

    Args:
        config: has it.
        name: dotted.
        near: a value that it may have.
    """
    error = _error_of(config, name, near + 0.5)
    return error is None or error["type"] != "int_from_float"


def _error_of(config: Config, name: str, value: Any) -> ErrorDetails | None:
    place = tuple(name.split("."))
    try:
        type(config).model_validate(_tree_with(config, {name: value}))
    except ValidationError as error:
        return next((e for e in error.errors() if e["loc"][: len(place)] == place), None)
    return None


def _tree_with(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    for name, value in values.items():
        node = tree
        *parents, leaf = name.split(".")
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return tree


def _run_of(model: Any) -> type[Config]:
    """The class of a run whose section ``model`` is given; ValueError if it names no model."""
    from orbdens.models.registry import find, kinds

    if not isinstance(model, dict):
        raise ValueError("option 'model' is missing" if model is None else "option 'model' should be a section")
    if "kind" not in model:
        raise ValueError("option 'model.kind' is missing")
    registration = find(str(model["kind"]))
    if registration is None:
        near = difflib.get_close_matches(str(model["kind"]), kinds(), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(kinds())}"
        raise ValueError(f"option 'model.kind': there is no model '{model['kind']}'; {hint}")
    return registration.run_class()


def _sentence(error: ValidationError, run: type[Config]) -> str:
    return _told(error.errors()[0], run)


def _told(first: ErrorDetails, run: type[Config]) -> str:
    place = [str(part) for part in first["loc"]]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _known_keys(run, place[:-1]), n=1, cutoff=0.5)
        return f"unknown option '{name}'" + (f"; did you mean '{'.'.join([*place[:-1], near[0]])}'?" if near else "")
    if first["type"] == "missing":
        return f"option '{name}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f", but got {first['input']!r}"
    return f"option '{name}': {message[:1].lower()}{message[1:]}{given}" if name else message + given


def _known_keys(run: type[Config], sections: list[str]) -> list[str]:
    options: type[BaseModel] = run
    for section in sections:
        annotation = options.model_fields[section].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        options = annotation
    return list(options.model_fields)
