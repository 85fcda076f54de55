"""Electron densities of molecules from their geometry, as sums of atom-centred Gaussian orbitals.

Units everywhere: Å, e/Å³, e·Å. The names below are loaded on first use, so that importing the package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbdens.checkpoint import load_model as load
    from orbdens.density import Density
    from orbdens.errors import UserError
    from orbdens.formats.cube import read_cube, write_cube
    from orbdens.formats.structures import read_structures
    from orbdens.grid import Grid
    from orbdens.structure import Structure

__version__ = "0.1.0"

__all__ = ["Density", "Grid", "Structure", "UserError", "load", "read_cube", "read_structures", "write_cube"]

_HOMES = {
    "Density": ("orbdens.density", "Density"),
    "Grid": ("orbdens.grid", "Grid"),
    "Structure": ("orbdens.structure", "Structure"),
    "UserError": ("orbdens.errors", "UserError"),
    "load": ("orbdens.checkpoint", "load_model"),
    "read_cube": ("orbdens.formats.cube", "read_cube"),
    "read_structures": ("orbdens.formats.structures", "read_structures"),
    "write_cube": ("orbdens.formats.cube", "write_cube"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'orbdens' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
