"""Training that starts from a trained model: what must agree with it, and parts of it that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbdens.checkpoint import build_model, find_model, load_weights, read_header, save_model
from orbdens.config import Config
from orbdens.errors import UserError
from orbdens.models.interface import DensityModel
from orbdens.store import Store

START_FILE = "start.safetensors"
"""The model a run started from, kept in its folder: a resumed run must not depend on the original."""

FREE = ("points_stage", "points_per_structure", "dipole_weight", "dropout")
"""Options under ``model`` that neither weights nor basis depend on; a new run may choose them anew."""


@dataclass(frozen=True, eq=False)
class Start:
    """A trained model to go on from.

    Attributes:
        model: its weights and facts, in training mode, under the options of the new run.
        config: what it was trained with.
        notes: on its own training (steps, minutes, store, ...).
    """

    model: DensityModel
    config: Config
    notes: dict[str, Any]

    def check(self, store: Store, keys: Sequence[str]) -> None:
        """UserError unless the model knows the elements of the records ``keys``, with as many electrons."""
        for key in keys:
            self.model.count_electrons(store[key].structure)
        theirs = store.manifest.valence_electrons
        for symbol, electrons in self.model.facts["valence_electrons"].items():
            if theirs.get(symbol, electrons) != electrons:
                raise UserError(
                    f"{symbol} has {theirs[symbol]} electrons in the densities of {store.path}, but {electrons} in "
                    "those the model to start from learned: they are of different kinds"
                )

    def save(self, folder: Path) -> None:
        """Keep a copy in a run folder."""
        save_model(folder / START_FILE, self.model, self.config, self.notes)


def load_start(path: Path, config: Config) -> Start:
    """The model at ``path`` (or in that run folder) as the start of the run ``config``, its frozen parts frozen.

    Raises:
        UserError: no model there, another one than ``config`` describes, or ``training.freeze`` will not do.
    """
    file = find_model(path)
    trained, facts, notes = read_header(file)
    difference = _difference(config.model.model_dump(), trained.model.model_dump(), "model")
    if difference is not None:
        raise UserError(f"{difference} in {file}, from which training shall start: both must be the same")
    model = build_model(config, facts)
    load_weights(model, file)
    _freeze(model, config.training.freeze)
    return Start(model, trained, notes)


def _difference(ours: Any, theirs: Any, name: str) -> str | None:
    """The first option that differs, as the start of a sentence."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        pairs = ((ours.get(key), theirs.get(key), f"{name}.{key}") for key in ours | theirs if key not in FREE)
        return next((found for pair in pairs if (found := _difference(*pair)) is not None), None)
    return None if ours == theirs else f"option {name} is {ours}, but {theirs}"


def _parts(model: DensityModel) -> list[str]:
    """Names of the topmost parts; those below where there is only one."""
    names = [name.split(".") for name, _ in model.named_parameters()]
    depth = 1 if len({name[0] for name in names}) > 1 else 2
    return list(dict.fromkeys(".".join(name[:depth]) for name in names))


def _freeze(model: DensityModel, parts: Sequence[str]) -> None:
    """Fix the weights of the named parts; what is fixed as a whole also runs as in prediction, batch norms included."""
    for part in parts:
        chosen = [p for name, p in model.named_parameters() if f"{name}.".startswith(f"{part}.")]
        if not chosen:
            known = ", ".join(_parts(model))
            raise UserError(f"option training.freeze: no weights are called '{part}'; the model's parts are {known}")
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("option training.freeze holds the whole model: nothing is left to train")
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()  # else statistics would move and dropout act; Lightning leaves modes as they are
