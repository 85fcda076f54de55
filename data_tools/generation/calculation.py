"""One density from PySCF: a structure goes in; a record comes out, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import pyscf

from data_tools.generation.convergence import CalculationError
from data_tools.generation.scf import calculate
from data_tools.generation.scf_periodic import calculate_cell
from data_tools.generation.settings import Settings
from orbdens.store.records import Record
from orbdens.structure import Structure


@dataclass(frozen=True)
class Failure:
    """Why a structure has no record, in a few words."""

    reason: str


def outcome(structure: Structure, settings: Settings) -> Record | Failure:
    """The record of a structure, or why there is none. Whatever PySCF raises is such a reason.

    One thread: a worker process is meant to have a core, and sums of several threads differ from run to run.
    """
    pyscf.lib.num_threads(1)
    version = f"PySCF {pyscf.__version__}"
    if version != settings.code:
        return Failure(f"the worker has {version}, the store needs {settings.code}")
    try:
        return calculate_cell(structure, settings) if structure.periodic else calculate(structure, settings)
    except CalculationError as error:
        return Failure(str(error))
    except Exception as error:  # one structure must not end the run of all the others
        return Failure(f"PySCF raised {type(error).__name__}: {' '.join(str(error).split())[:200]}")
