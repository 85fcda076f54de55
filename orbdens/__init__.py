"""Electron densities of molecules from their geometry, as sums of atom-centred Gaussian orbitals.

Units everywhere: Å, e/Å³, e·Å. The names below are imported on first use, so that importing the package is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every public name, once: type checkers follow these imports, and ``__getattr__`` reads them
    from orbdens.config import load_config as load_config
    from orbdens.density import Density as Density
    from orbdens.errors import UserError as UserError
    from orbdens.evaluation.measure import evaluate as evaluate
    from orbdens.formats.cube import read_cube as read_cube
    from orbdens.formats.cube import write_cube as write_cube
    from orbdens.formats.structures import read_structures as read_structures
    from orbdens.grid import Grid as Grid
    from orbdens.models.interface import DensityModel as DensityModel
    from orbdens.prediction import predict as predict
    from orbdens.store import Store as Store
    from orbdens.structure import Structure as Structure
    from orbdens.training.run import train as train
    from orbdens.viewing import view as view
else:
    from functools import cache

    @cache
    def _homes() -> dict[str, str]:
        """The module of every public name, from the imports above, which are not run."""
        import ast

        lines = ast.walk(ast.parse(__loader__.get_source(__name__)))
        imports = [line for line in lines if isinstance(line, ast.ImportFrom) and line.module.startswith("orbdens.")]
        return {alias.asname: line.module for line in imports for alias in line.names if alias.asname}

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__all__":
            return ["load", *_homes()]
        if name not in _homes():
            raise AttributeError(f"module 'orbdens' has no attribute '{name}'")
        return getattr(import_module(_homes()[name]), name)

    def __dir__() -> list[str]:
        return ["__version__", "load", *_homes()]


__version__ = "0.1.0"


def load(model: str | Path | None = None, device: str = "auto", precision: str = "32-true") -> DensityModel:
    """A trained model: from ``model.safetensors``, the run folder that holds it, or (None) the weights that ship.

    Args:
        model: where it is.
        device: where it computes: auto (a CUDA GPU if there is one), cpu, cuda, cuda:N, or interpreter (the GPU's
            kernels on the processor, for tests).
        precision: of its predictions: 32-true, or bf16-mixed, which is faster where there are instructions for it and
            changes densities by about 0.01 % (NMAE).

    Raises:
        UserError: there is no such model, it cannot be read, or there is no such device or precision.
    """
    from orbdens.checkpoint import load_model

    return load_model(model, device, precision)
