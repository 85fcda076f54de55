"""Electron densities of molecules from their geometry, as sums of atom-centred Gaussian orbitals.

Units everywhere: Å, e/Å³, e·Å. The names below are loaded on first use, so that importing the package is instant.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every public name, once: type checkers run these imports, and ``__getattr__`` reads them
    from orbdens.checkpoint import load_model as load
    from orbdens.density import Density as Density
    from orbdens.errors import UserError as UserError
    from orbdens.evaluation.measure import evaluate as evaluate
    from orbdens.formats.cube import read_cube as read_cube
    from orbdens.formats.cube import write_cube as write_cube
    from orbdens.formats.structures import read_structures as read_structures
    from orbdens.grid import Grid as Grid
    from orbdens.prediction import predict as predict
    from orbdens.store import Store as Store
    from orbdens.structure import Structure as Structure
    from orbdens.training.run import train as train

__version__ = "0.1.0"
