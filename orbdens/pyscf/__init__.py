"""What is particular to PySCF: the order of its orbitals and Bohr; nothing else of orbdens knows them.

``order`` maps rows of orbitals, ``bases`` reads bases, ``records`` takes over finished calculations, and ``integrals``
has analytic integrals of records and of any Gaussian functions on sites. Importing any of them imports PySCF, which
takes a second: models import them where they fit labels, not where they predict.

``initial_guess`` and ``energy`` give PySCF's calculations what a predicted density knows, ``accelerate`` lets them
take fewer cycles; ``README.md`` here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbdens.pyscf.cycles import accelerate as accelerate
    from orbdens.pyscf.guess import energy as energy
    from orbdens.pyscf.guess import first_orbitals as first_orbitals
    from orbdens.pyscf.guess import initial_guess as initial_guess
else:

    def __getattr__(name: str) -> object:
        if name not in ("initial_guess", "energy", "first_orbitals", "accelerate"):
            raise AttributeError(f"module 'orbdens.pyscf' has no attribute '{name}'")
        from importlib import import_module  # the guess stands above the densities, beside which this package stands

        return getattr(import_module(f"orbdens.pyscf.{'cycles' if name == 'accelerate' else 'guess'}"), name)
