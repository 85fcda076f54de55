"""Trained models on disk: one safetensors file whose JSON header holds everything but the weights. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbdens import shipped
from orbdens.config import Config, OrbitalConfig, parse_config
from orbdens.errors import UserError
from orbdens.files import written_whole

if TYPE_CHECKING:
    from orbdens.models.interface import DensityModel

FORMAT = 1
"""Version of the file; a reader refuses any other."""

MODEL_FILE = "model.safetensors"


def model_class(config: Config) -> type[DensityModel]:
    """The class of a config's model; its kind decides which code is imported."""
    if isinstance(config.model, OrbitalConfig):
        from orbdens.models.orbital.model import OrbitalModel

        return OrbitalModel
    from orbdens.models.unet3d import UNetModel

    return UNetModel


def build_model(config: Config, facts: dict[str, Any]) -> DensityModel:
    """A model with fresh weights."""
    return model_class(config)(config.model, facts)


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


def read_header(path: Path) -> tuple[Config, dict[str, Any], dict[str, Any]]:
    """Config, facts and training notes of a model file, without its weights.

    Raises:
        UserError: as ``load_model``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a model file of orbdens: {' '.join(str(error).split())}") from None
    if "format" not in header or "facts" not in header:
        raise UserError(f"{path} is a safetensors file, but not a model of orbdens")
    if header["format"] != str(FORMAT):
        raise UserError(
            f"{path} has format version {header['format']}, this orbdens reads version {FORMAT}: train anew or use the "
            "orbdens that wrote it"
        )
    config = parse_config(json.loads(header["config"]), where=str(path))
    return config, json.loads(header["facts"]), json.loads(header["training"])


def find_model(path: Path) -> Path:
    """The model file itself, that of a run folder, or for the word ``organics`` the one that ships with orbdens.

    Raises:
        UserError: there is none.
    """
    if str(path) == shipped.MODEL and not path.exists():
        return shipped.model_path() / MODEL_FILE
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"there is no model at {file}; `orbdens train` writes one when it is done")
    return file


def load_model(path: str | Path = shipped.MODEL, device: str = "cpu") -> DensityModel:
    """Load a trained model from ``model.safetensors``, the run folder that holds it, or the weights that ship.

    Raises:
        UserError: no such file, not a model, another format version, or weights that do not fit.
    """
    file = find_model(Path(path))
    config, facts, _ = read_header(file)
    model = build_model(config, facts)
    load_weights(model, file)
    return model.to_device(device).eval()


def load_weights(model: DensityModel, file: Path) -> None:
    """Put the weights of a model file into a model.

    Raises:
        UserError: they do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(file))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"the weights in {file} do not fit its config: {' '.join(str(error).split())[:200]}") from None
