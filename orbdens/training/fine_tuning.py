"""Training that starts from a trained model: what must agree with it, and parts of it that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbdens.checkpoint import build_model, find_model, load_weights, read_header, save_model
from orbdens.config import Config
from orbdens.errors import UserError
from orbdens.models.interface import DensityModel
from orbdens.store import Store
from orbdens.training.folder import START_FILE

GROWING = ("states", "bonds")
"""Facts that list what the training data hold."""


@dataclass(frozen=True, eq=False)
class Start:
    """A trained model to go on from.

    Attributes:
        model: its weights and facts, in training mode.
        config: what it was trained with.
        notes: on its own training (steps, minutes, store, ...).
    """

    model: DensityModel
    config: Config
    notes: dict[str, Any]

    def check(self, store: Store, keys: Sequence[str]) -> None:
        """UserError unless the model knows, or takes, the elements of the records ``keys``, with as many electrons."""
        if not self.model.takes_new_elements:
            for key in keys:
                self.model.count_electrons(store.structure(key))
        stored = store.manifest.valence_electrons
        for symbol, electrons in self.model.facts["valence_electrons"].items():
            if stored.get(symbol, electrons) != electrons:
                raise UserError(
                    f"{symbol} has {stored[symbol]} electrons in the densities of {store.path}, but {electrons} in "
                    "those the model to start from learned: they are of different kinds"
                )

    def learning(self, found: Mapping[str, Any]) -> DensityModel:
        """The model, whose facts now name the contents of further training data beside those it had.

        Args:
            found: facts of these data alone. A list that the model lacks stays unknown: what it held is.
        """
        known = self.model.facts
        for name in GROWING:
            if name in known and name in found:
                known[name] = [*known[name], *(entry for entry in found[name] if entry not in known[name])]
        if self.model.takes_new_elements:
            known["valence_electrons"] = {**found["valence_electrons"], **known["valence_electrons"]}
        return self.model

    def save(self, folder: Path) -> None:
        """Keep a copy in a run folder."""
        save_model(folder / START_FILE, self.model, self.config, self.notes)


def load_start(path: Path, config: Config) -> Start:
    """The model at ``path`` (or in that run folder) as the start of the run ``config``.

    Raises:
        UserError: no model there, or another one than ``config`` describes.
    """
    file = find_model(path)
    header = read_header(file)
    difference = _difference(config.model.model_dump(), header.config.model.model_dump(), "model")
    if difference is not None:
        raise UserError(f"{difference} in {file}, from which training shall start: both must be the same")
    model = build_model(config, header.facts)
    load_weights(model, file)
    return Start(model, header.config, header.training)


def _difference(wanted: Any, trained: Any, name: str) -> str | None:
    """The first option that differs, as the start of a sentence."""
    if isinstance(wanted, dict) and isinstance(trained, dict):
        pairs = ((wanted.get(key), trained.get(key), f"{name}.{key}") for key in wanted | trained)
        return next((found for pair in pairs if (found := _difference(*pair)) is not None), None)
    return None if wanted == trained else f"option {name} is {wanted}, but {trained}"


def _parts(model: DensityModel) -> list[str]:
    """Names of the topmost parts; those below where there is only one."""
    names = [name.split(".") for name, _ in model.named_parameters()]
    depth = 1 if len({name[0] for name in names}) > 1 else 2
    return list(dict.fromkeys(".".join(name[:depth]) for name in names))


def freeze(model: DensityModel, parts: Sequence[str]) -> None:
    """Fix the weights of the named parts; what is fixed as a whole also runs as in prediction, batch norms included.

    Raises:
        UserError: a part has no weights, or nothing is left to train.
    """
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
