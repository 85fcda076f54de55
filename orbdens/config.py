"""Every option once: type, default, range, unit and one sentence. Imports no torch, so that mistakes show at once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orbdens import shipped
from orbdens.errors import UserError

Positive = Annotated[float, Field(gt=0)]


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


class VirtualBasisConfig(Options):
    """Orbitals of virtual sites: those of an element, in a window of their own."""

    like: str = Field("O", description="element whose functions in the source basis set the range of exponents")
    beta: float = Field(2.0, gt=1.05, le=4.0, description="ratio of neighbouring exponents")
    l_max: int = Field(2, ge=0, le=6, description="highest angular momentum")
    min_exponent: float = Field(1.0, ge=0, description="Å⁻²; more diffuse functions are left out")
    max_exponent: float = Field(10.0, gt=0, description="Å⁻²; sharper functions are left out")

    def largest_exponent(self, l: int) -> float:
        """Å⁻²; the limit for functions of angular momentum l, the same for all."""
        return self.max_exponent


class BasisConfig(Options):
    """Start exponents: the even-tempered expansion of a PySCF basis by PySCF's rule for density fitting."""

    source: str = Field("def2-qzvppd", description="name of the PySCF basis that sets the ranges of the exponents")
    beta: float = Field(1.6, gt=1.05, le=4.0, description="ratio of neighbouring exponents; smaller is finer")
    l_max: int = Field(4, ge=0, le=6, description="highest angular momentum")
    min_exponent: float = Field(0.0, ge=0, description="Å⁻²; more diffuse functions are left out")
    max_exponent: Positive | list[Positive] = Field(
        72.0,
        description="Å⁻²; sharper functions are left out (cores: pseudopotentials need none); or one for each l = 0, "
        "1, ..., of which the last serves all higher l: all-electron densities need sharp ones in l = 0 alone",
    )
    virtual: VirtualBasisConfig = Field(default_factory=VirtualBasisConfig, description="orbitals of virtual sites")
    table: dict[str, list[list[float]]] = Field(
        default_factory=dict,
        description="exponents in Å⁻² given outright: for a type (`C`, `bond`, `H-C`) a list for each l = 0, 1, ...",
    )

    @model_validator(mode="after")
    def _limits_fit(self) -> BasisConfig:
        if isinstance(self.max_exponent, list) and not 1 <= len(self.max_exponent) <= self.l_max + 1:
            raise ValueError(f"max_exponent should hold 1 to {self.l_max + 1} numbers, one for each l up to l_max")
        return self

    def largest_exponent(self, l: int) -> float:
        """Å⁻²; the limit for functions of angular momentum l."""
        limits = self.max_exponent if isinstance(self.max_exponent, list) else [self.max_exponent]
        return limits[min(l, len(limits) - 1)]


class ModelOptions(Options):
    """What a model is; every model has options of its own. What it learns from and how is said elsewhere."""

    kind: str = Field(description="which model: a name in `orbdens.models.registry`")


class ObjectiveOptions(Options):
    """What training minimises; every model has options of its own, or none."""


class OrbitalConfig(ModelOptions):
    """The orbital model: an equivariant network that outputs coefficients of atom-centred Gaussian orbitals."""

    kind: Literal["orbital"] = Field("orbital", description="the orbital model")
    sites: Literal["atoms", "bonds", "bond-pairs"] = Field(
        "atoms",
        description="where orbitals sit: on atoms; also on bond midpoints, all of one type; or of a type for each pair",
    )
    basis: BasisConfig = Field(default_factory=BasisConfig, description="the orbitals of each site type")
    orbital_cutoff: float | None = Field(
        None,
        gt=0,
        description="Å; an orbital is zero farther from its site than this; null: where the most diffuse has fallen to "
        "1e-6 of its height",
    )
    channels: int = Field(32, ge=4, description="features per angular momentum component")
    layers: int = Field(3, ge=1, description="message-passing layers")
    l_max: int = Field(4, ge=1, le=6, description="highest angular momentum of the features")
    m_max: int = Field(2, ge=0, le=6, description="highest order m mixed in the frame of an edge")
    convolution: Literal["so2", "tensor-product"] = Field(
        "so2",
        description="messages in the frame of each edge (eSCN), or full tensor products with its harmonics (NequIP)",
    )
    cutoff: float = Field(6.0, gt=0.5, le=100, description="Å; sites nearer than this exchange messages")
    radial_functions: int = Field(16, ge=4, description="Bessel functions that describe the length of an edge")
    radial_hidden: int = Field(64, ge=8, description="width of the network that turns edge lengths into weights")
    electrons: Literal["local", "global"] = Field(
        "local",
        description="how the number of electrons is made exact: charge moves between neighbours, so that molecules "
        "apart keep their own; or over the whole structure, as up to version 0.1.0",
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


class OrbitalObjective(ObjectiveOptions):
    """What the orbital model minimises: first the norm of the error, analytic, then the mean error on points."""

    points_stage: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the run, at its end, that minimises the mean |Δ| on fresh points (grid records: 1); "
        "before it, the norm of the error of orbital records, analytic",
    )
    metric: Literal["overlap", "coulomb"] = Field(
        "overlap",
        description="which norm, and the metric of the fits of labels: overlap is L2, of all-electron densities nearly "
        "all core; coulomb the electrostatic energy of the error",
    )
    points_per_structure: int = Field(4000, ge=16, description="points a step of that stage draws per structure")
    dipole_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the dipole's error in e·Å beside the relative error of the density in that stage "
        "(records with a dipole)",
    )


class UNetConfig(ModelOptions):
    """3D U-Net on a grid with one Gaussian input channel per element or atom."""

    kind: Literal["unet3d"] = Field("unet3d", description="the 3D U-Net")
    channels_per: Literal["element", "atom"] = Field(
        "element", description="one Gaussian input channel per element, or per atom (one composition, fixed atom order)"
    )
    gaussian_width: float = Field(0.5, gt=0, description="Å; standard deviation of the input Gaussians")
    spacing: float = Field(0.4, gt=0.02, description="Å; spacing of the grid the network works on")
    margin: float = Field(4.0, ge=0, description="Å; grid around the atoms")
    features: int = Field(8, ge=1, description="feature maps of the first encoder; each deeper one has twice as many")
    depth: int = Field(3, ge=1, le=6, description="how often the grid is halved")


class UNetObjective(ObjectiveOptions):
    """The U-Net minimises the mean squared error on its grid."""

    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate (hurts beside batch norm, hence off)")


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


class OrbitalRun(Config):
    """A run of the orbital model."""

    model: OrbitalConfig
    objective: OrbitalObjective = Field(default_factory=OrbitalObjective)
    training: TrainingConfig


class UNetRun(Config):
    """A run of the 3D U-Net."""

    model: UNetConfig
    objective: UNetObjective = Field(default_factory=UNetObjective)
    training: TrainingConfig


def find_config(path: Path) -> Path:
    """The file itself or, for the bare name of a config that ships (``configs/NAME`` too), that one."""
    ships = shipped.config_path(path.name)
    named = path.parent in (Path(), Path("configs"))
    return ships if named and not path.exists() and ships.is_file() else path


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
    first = error.errors()[0]
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
