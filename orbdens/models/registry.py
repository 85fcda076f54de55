"""Which models there are: a line each. Names of classes only, so that configs are read without importing torch."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from orbdens.config import Config
    from orbdens.models.interface import DensityModel
    from orbdens.models.task import FitTask, GradientTask


class Registration(NamedTuple):
    """The three classes of a model as ``module:Class``: options of a run, the model, and how it learns."""

    run: str
    model: str
    task: str

    def run_class(self) -> type[Config]:
        return _load(self.run)

    def model_class(self) -> type[DensityModel]:
        return _load(self.model)

    def task_class(self) -> type[GradientTask[Any] | FitTask[Any]]:
        return _load(self.task)


MODELS: dict[str, Registration] = {
    "hk_map": Registration(
        "orbdens.models.hk_map.options:HKMapRun",
        "orbdens.models.hk_map.model:HKMapModel",
        "orbdens.models.hk_map.task:HKMapTask",
    ),
    "orbital": Registration(
        "orbdens.models.orbital.options:OrbitalRun",
        "orbdens.models.orbital.model:OrbitalModel",
        "orbdens.models.orbital.task:OrbitalTask",
    ),
    "soap_gpr": Registration(
        "orbdens.models.soap_gpr.options:SoapRun",
        "orbdens.models.soap_gpr.model:SoapModel",
        "orbdens.models.soap_gpr.task:SoapTask",
    ),
    "promolecule": Registration(
        "orbdens.models.promolecule.options:PromoleculeRun",
        "orbdens.models.promolecule.model:PromoleculeModel",
        "orbdens.models.promolecule.model:PromoleculeTask",
    ),
    "probe_gnn": Registration(
        "orbdens.models.probe_gnn.options:ProbeRun",
        "orbdens.models.probe_gnn.model:ProbeModel",
        "orbdens.models.probe_gnn.task:ProbeTask",
    ),
    "unet3d": Registration(
        "orbdens.models.unet3d.options:UNetRun",
        "orbdens.models.unet3d.model:UNetModel",
        "orbdens.models.unet3d.task:UNetTask",
    ),
    "residual_cnn": Registration(
        "orbdens.models.residual_cnn.options:ResidualRun",
        "orbdens.models.residual_cnn.model:ResidualModel",
        "orbdens.models.residual_cnn.task:ResidualTask",
    ),
}
"""Kind, as ``model.kind`` of a config names it, and classes.

A package of its own adds models by an entry point: group ``orbdens.models``, name the kind, value a module and in it a
``Registration``.
"""


def find(kind: str) -> Registration | None:
    """The classes of a kind; None if there is no such model."""
    if kind in MODELS:
        return MODELS[kind]
    for point in entry_points(group="orbdens.models", name=kind):
        registration: Registration = point.load()
        return registration
    return None


def kinds() -> list[str]:
    """All kinds there are."""
    return [*MODELS, *entry_points(group="orbdens.models").names]


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)
