"""Trained models on disk: one safetensors file whose JSON header holds everything but the weights. No pickle.

A file of an older version is upgraded as it is read, one step a version; ``tests/golden/models`` keeps one of each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orbdens import shipped
from orbdens.config import Config, parse_config, upgraded_options
from orbdens.errors import UserError
from orbdens.files import written_whole

if TYPE_CHECKING:
    from torch import Tensor

    from orbdens.models.interface import DensityModel

FORMAT = 3
"""Version of the file that is written."""

MODEL_FILE = "model.safetensors"

EXPECTED_ERRORS = ("familiarity.", "uncertainty.")
"""How names of weights begin from which errors were expected, in versions 1 and 2."""


class Header(NamedTuple):
    """What a model file says beside its weights: the whole config, the model's facts, and notes on its training."""

    config: Config
    facts: dict[str, Any]
    training: dict[str, Any]


def build_model(config: Config, facts: dict[str, Any]) -> DensityModel:
    """A model with fresh weights."""
    from orbdens.models.registry import find

    registration = find(config.model.kind)
    if registration is None:
        raise UserError(f"there is no model '{config.model.kind}' here: install the package it came from")
    return registration.model_class()(config.model, facts)


def save_model(path: Path, model: DensityModel, config: Config, training: dict[str, Any]) -> None:
    """Write weights, whole config, facts and ``training`` (e.g. steps, minutes) under a temporary name, then rename."""
    from safetensors.torch import save

    header = {
        "format": str(FORMAT),
        "config": config.model_dump_json(),
        "facts": json.dumps(model.facts),
        "training": json.dumps(training),
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with written_whole(path) as temporary:
        temporary.write_bytes(save(state, metadata=header))


def upgrade(version: int, config: dict[str, Any]) -> dict[str, Any]:
    """The config in a header of an older version, as this version writes it."""
    if version < 2:  # options of the objective stood under `model`
        config = upgraded_options(config)
    return config


def upgrade_weights(version: int, weights: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an older version as this version has them; ``fresh`` are those of a new model.

    The expected errors of orbital models before version 3 cannot be told from what they kept, and were far too small
    for unusual structures. Such a model predicts what it did and expects no error, until it is trained further.
    """
    if version < 3 and any(name.startswith("uncertainty.") for name in fresh):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(EXPECTED_ERRORS)}
        weights |= {name: tensor for name, tensor in fresh.items() if name.startswith("uncertainty.")}
    return weights


def read_header(path: Path) -> Header:
    """Config, facts and training notes of a model file, without its weights.

    Raises:
        UserError: as ``load_model``.
    """
    header = _raw_header(path)
    try:
        config = upgrade(_version(path, header), json.loads(header["config"]))
        return Header(
            parse_config(config, where=str(path)), json.loads(header["facts"]), json.loads(header["training"])
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is a safetensors file, but not a whole model of orbdens: {error!r}") from None


def _raw_header(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a model file of orbdens: {' '.join(str(error).split())}") from None
    if "format" not in header or "facts" not in header:
        raise UserError(f"{path} is a safetensors file, but not a model of orbdens")
    return header


def _version(path: Path, header: dict[str, str]) -> int:
    version = header["format"]
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT:
        raise UserError(
            f"{path} has format version {version}, this orbdens reads 1 to {FORMAT}: use the orbdens that wrote it, or "
            "a newer one"
        )
    return int(version)


def find_model(path: Path | str | None) -> Path:
    """The model file itself, that of a run folder, or one that ships: for its name, or for None the default.

    Raises:
        UserError: there is none.
    """
    if path is None or (str(path) in shipped.MODELS and not Path(path).exists()):
        return shipped.model_path(shipped.MODEL if path is None else str(path)) / MODEL_FILE
    file = Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(f"there is no model at {file}; `orbdens train` writes one when it is done")
    return file


def load_model(path: str | Path | None = None, device: str = "auto", precision: str = "32-true") -> DensityModel:
    """Load a trained model from ``model.safetensors``, the run folder that holds it, or (None) the weights that ship.

    Args:
        path: of the model.
        device: where it computes, as in ``devices``: auto, cpu, cuda, cuda:N or interpreter.
        precision: of its predictions, see ``DensityModel.with_precision``.

    Raises:
        UserError: no such file, not a model, another format version, weights that do not fit, no such device here, or
            a precision that the model does not take.
    """
    file = find_model(path)
    header = read_header(file)
    model = build_model(header.config, header.facts)
    load_weights(model, file)
    return model.to_device(device).with_precision(precision).eval()


def load_weights(model: DensityModel, file: Path) -> None:
    """Put the weights of a model file into a model.

    Raises:
        UserError: they do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        version = _version(file, _raw_header(file))
        model.load_state_dict(upgrade_weights(version, load_file(file), model.state_dict()))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"the weights in {file} do not fit its config: {' '.join(str(error).split())[:200]}") from None
