"""What is to be compared, and on what terms: the same store, split and time for all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orbdens.checkpoint import MODEL_FILE
from orbdens.config import Config, find_config, load_config
from orbdens.errors import UserError
from orbdens.files import check_output, written_whole
from orbdens.machine import available_cores

SETTINGS_FILE = "compare.json"


@dataclass(frozen=True)
class Plan:
    """The terms.

    Attributes:
        store: store of all routes; None takes that of the configs.
        split: named split that all are measured on.
        n: at most so many of its structures, evenly spaced.
        minutes: training time of each model that learns by steps; None leaves that to its config.
        steps: likewise, optimiser steps.
        sizes: sizes of the training set with which every config is trained once more, for learning curves.
        processes: routes that are worked on at the same time; the cores are shared out evenly.
        device: where all are measured, as in ``devices``; where they are trained is said by their configs.
    """

    store: str | None = None
    split: str = "test"
    n: int | None = None
    minutes: float | None = None
    steps: int | None = None
    sizes: tuple[int, ...] = ()
    processes: int = 1
    device: str = "auto"

    @property
    def threads(self) -> int:
        """CPU threads of each route."""
        return max(1, available_cores() // self.processes)


@dataclass(frozen=True)
class Route:
    """One row of the comparison.

    Attributes:
        name: in tables and of folders.
        config: it is trained as this config says; None where there is a model already.
        overrides: options that the plan sets in the config.
        model: a trained model's folder or file.
        n_train: of a point of a learning curve over sizes; None for a route itself.
        base: name of the route that this is a smaller copy of, its own for a route itself.
    """

    name: str
    base: str
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    model: Path | None = None
    n_train: int | None = None

    def load(self) -> Config:
        """The config with the plan's options in it."""
        assert self.config is not None
        return load_config(self.config, list(self.overrides))


def routes_of(items: Sequence[Path], plan: Plan) -> tuple[str, list[Route]]:
    """The store that all routes share, and the routes of configs and of trained models.

    Args:
        items: configs (``.yaml``, or names of those that ship) and trained models (run folders, ``.safetensors``).
        plan: the terms.

    Raises:
        UserError: there is no such config or model, two have the same name, or the configs name several stores.
    """
    found, stores = [], []
    for item in items:
        if item.suffix in (".yaml", ".yml"):
            file = find_config(item)
            stores.append(str(load_config(file).data.store))
            found.append(Route(item.stem, item.stem, config=file))
        elif (item / MODEL_FILE).is_file() or (item.suffix == ".safetensors" and item.is_file()):
            name = item.resolve().name if item.is_dir() else item.resolve().parent.name
            found.append(Route(name, name, model=item))
        elif not item.exists():
            raise UserError(f"{item} does not exist (expected configs and run folders)")
        else:
            raise UserError(f"{item} is not a file of orbdens evaluate --json, and neither a config nor a run folder")
    twice = [name for name, times in Counter(route.name for route in found).items() if times > 1]
    if twice:
        raise UserError(f"two of these are called {twice[0]}: copy one to another name")
    store = plan.store or next(iter(stores), None)
    if store is None:
        raise UserError("which store are these models to be measured on? --store names it")
    if plan.store is None and len(set(stores)) > 1:
        raise UserError(f"the configs name the stores {' and '.join(sorted(set(stores)))}: --store names one for all")
    routes = []
    for route in found:
        if route.config is None:
            routes.append(route)
            continue
        for size in (None, *plan.sizes):
            name = route.name if size is None else f"{route.name}@{size}"
            overrides = overrides_of(load_config(route.config), store, plan, size)
            routes.append(Route(name, route.base, route.config, overrides, n_train=size))
    return store, routes


def overrides_of(config: Config, store: str, plan: Plan, n_train: int | None) -> tuple[str, ...]:
    """Options of a config that the plan sets, as ``key=value``; of those that its model has."""
    wanted = [f"data.store={store}", f"training.threads={plan.threads}"]
    if n_train is not None:
        wanted.append(f"data.n_train={n_train}")
    if "minutes" in type(config.training).model_fields and (plan.minutes, plan.steps) != (None, None):
        wanted += [f"training.minutes={json.dumps(plan.minutes)}", f"training.steps={json.dumps(plan.steps)}"]
    return tuple(wanted)


def keep_settings(out: Path, store: str, plan: Plan, force: bool) -> None:
    """Write down the terms in the folder of a comparison, or see that it goes on with those it began with.

    Raises:
        UserError: it was begun on other terms, holds something else, or cannot be written.
    """
    settings = {name: value for name, value in asdict(plan).items() if name not in ("processes", "device")}
    settings |= {"store": str(store), "threads": plan.threads, "sizes": list(plan.sizes)}
    path = out / SETTINGS_FILE
    if path.is_file() and not force:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{path} is damaged: --force begins the comparison anew") from None
        for name, value in settings.items():
            if name != "sizes" and before.get(name) != value:
                raise UserError(
                    f"{out} was begun with {name} = {before.get(name)}, not {value}: --force begins anew, --out names "
                    "another folder"
                )
    elif out.is_dir() and any(out.iterdir()) and not path.is_file():
        raise UserError(f"{out} holds something that is no comparison: --out names another folder")
    check_output(path, force=True)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
