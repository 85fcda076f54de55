"""Every option once: type, default, range, unit and one sentence. Imports no torch, so that mistakes show at once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orbdens import shipped
from orbdens.errors import UserError


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataConfig(_Options):
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


class VirtualBasisConfig(_Options):
    """Orbitals of virtual sites: those of an element, in a window of their own."""

    like: str = Field("O", description="element whose functions in the source basis set the range of exponents")
    beta: float = Field(2.0, gt=1.05, le=4.0, description="ratio of neighbouring exponents")
    l_max: int = Field(2, ge=0, le=6, description="highest angular momentum")
    min_exponent: float = Field(1.0, ge=0, description="Å⁻²; more diffuse functions are left out")
    max_exponent: float = Field(10.0, gt=0, description="Å⁻²; sharper functions are left out")


class BasisConfig(_Options):
    """Start exponents: the even-tempered expansion of a PySCF basis by PySCF's rule for density fitting."""

    source: str = Field("def2-qzvppd", description="name of the PySCF basis that sets the ranges of the exponents")
    beta: float = Field(1.6, gt=1.05, le=4.0, description="ratio of neighbouring exponents; smaller is finer")
    l_max: int = Field(4, ge=0, le=6, description="highest angular momentum")
    min_exponent: float = Field(0.0, ge=0, description="Å⁻²; more diffuse functions are left out")
    max_exponent: float = Field(
        72.0, gt=0, description="Å⁻²; sharper functions are left out (cores: pseudopotentials need none)"
    )
    virtual: VirtualBasisConfig = Field(default_factory=VirtualBasisConfig, description="orbitals of virtual sites")
    table: dict[str, list[list[float]]] = Field(
        default_factory=dict,
        description="exponents in Å⁻² given outright: for a type (`C`, `bond`, `H-C`) a list for each l = 0, 1, ...",
    )


class OrbitalConfig(_Options):
    """The orbital model: an equivariant network that outputs coefficients of atom-centred Gaussian orbitals."""

    kind: Literal["orbital"] = "orbital"
    sites: Literal["atoms", "bonds", "bond-pairs"] = Field(
        "atoms",
        description="where orbitals sit: on atoms; also on bond midpoints, all of one type; or of a type for each pair",
    )
    basis: BasisConfig = Field(default_factory=BasisConfig, description="the orbitals of each site type")
    orbital_cutoff: float = Field(7.0, gt=0, description="Å; an orbital is zero farther from its site than this")
    channels: int = Field(32, ge=4, description="features per angular momentum component")
    layers: int = Field(3, ge=1, description="message-passing layers")
    l_max: int = Field(4, ge=1, le=6, description="highest angular momentum of the features")
    m_max: int = Field(2, ge=0, le=6, description="highest order m mixed in the frame of an edge")
    convolution: Literal["so2", "tensor-product"] = Field(
        "so2",
        description="messages in the frame of each edge (eSCN), or full tensor products with its harmonics (NequIP)",
    )
    cutoff: float = Field(6.0, gt=0.5, description="Å; sites nearer than this exchange messages")
    radial_functions: int = Field(16, ge=4, description="Bessel functions that describe the length of an edge")
    radial_hidden: int = Field(64, ge=8, description="width of the network that turns edge lengths into weights")
    points_stage: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the run, at its end, that minimises the mean |Δ| on fresh points (grid records: 1); "
        "before it, the analytic L2 error of orbital records",
    )
    points_per_structure: int = Field(4000, ge=16, description="points a step of that stage draws per structure")
    dipole_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the dipole's error in e·Å beside the relative error of the density in that stage "
        "(records with a dipole)",
    )
    learn_exponents: bool = Field(False, description="let the points stage change the exponents of every type")
    scaling_limit: float = Field(
        1.0, ge=1, le=3, description="the network may scale a site's exponents by up to this factor; 1 turns it off"
    )
    displacement_limit: float = Field(
        0.0, ge=0, le=1, description="Å; the network may displace a virtual site by up to this; 0 turns it off"
    )

    @model_validator(mode="after")
    def _orders_fit(self) -> OrbitalConfig:
        tables = [len(shells) - 1 for shells in self.basis.table.values()]
        needed = max([self.basis.l_max, self.basis.virtual.l_max if self.sites != "atoms" else 0, *tables])
        if needed > self.l_max:
            raise ValueError(f"the basis needs features of l = {needed}, but l_max = {self.l_max}")
        return self


class UNetConfig(_Options):
    """3D U-Net on a grid with one Gaussian input channel per element or atom."""

    kind: Literal["unet3d"] = "unet3d"
    channels_per: Literal["element", "atom"] = Field(
        "element", description="one Gaussian input channel per element, or per atom (one composition, fixed atom order)"
    )
    gaussian_width: float = Field(0.5, gt=0, description="Å; standard deviation of the input Gaussians")
    spacing: float = Field(0.4, gt=0.02, description="Å; spacing of the grid the network works on")
    margin: float = Field(4.0, ge=0, description="Å; grid around the atoms")
    features: int = Field(8, ge=1, description="feature maps of the first encoder; each deeper one has twice as many")
    depth: int = Field(3, ge=1, le=6, description="how often the grid is halved")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate (hurts beside batch norm, hence off)")


class TrainingConfig(_Options):
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
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="where to train")
    threads: int | None = Field(None, ge=1, description="CPU threads; null takes what torch takes")
    seed: int = Field(0, ge=0, description="of weights, order and points")
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


ModelConfig = Annotated[OrbitalConfig | UNetConfig, Field(discriminator="kind")]


class Config(_Options):
    """A whole run."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig


def find_config(path: Path) -> Path:
    """The file itself or, where there is none, the config of that name that ships with orbdens."""
    ships = shipped.config_path(path.name)
    return path if path.exists() or not ships.is_file() else ships


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read and check a YAML file; ``overrides`` are ``dotted.key=value`` (the value is read as YAML).

    Raises:
        UserError: no such file, no YAML, an unknown key (with the nearest known one), or a value out of range.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} should hold the sections data, model and training")
    for override in overrides or []:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"expected key=value, e.g. training.minutes=10, but got '{override}'")
        node = tree
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"'{key}' does not name an option: '{parent}' is a value, not a section")
        try:
            node[leaf] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"'{value}' is no YAML value (option {key})") from None
    return parse_config(tree, where=str(path))


def parse_config(tree: dict[str, Any], where: str) -> Config:
    """Check a tree of options; ``where`` names its source in messages.

    Raises:
        UserError: as ``load_config``.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("orbital", "unet3d")]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _known_keys(place[:-1], first["loc"]), n=1, cutoff=0.5)
        return f"unknown option '{name}'" + (f"; did you mean '{'.'.join([*place[:-1], near[0]])}'?" if near else "")
    if first["type"] == "missing":
        return f"option '{name}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f", but got {first['input']!r}"
    return f"option '{name}': {message[:1].lower()}{message[1:]}{given}" if name else message + given


def _known_keys(sections: list[str], location: tuple[int | str, ...]) -> list[str]:
    options: type[BaseModel] = Config
    for section in sections:
        if section == "model":
            options = UNetConfig if "unet3d" in location else OrbitalConfig
            continue
        annotation = options.model_fields[section].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        options = annotation
    return list(options.model_fields)
