"""Hirshfeld's atoms: each has the share of the density that its free atom has in the sum of free atoms.

F. L. Hirshfeld, Theor. Chim. Acta 44, 129 (1977); the free atoms are ``free_atoms.py``'s: spherical, neutral, PBE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbdens.observables.free_atoms import hirshfeld_weights
from orbdens.observables.partition import AtomsInMolecule, Quadrature, atoms_in_molecule


def hirshfeld(quadrature: Quadrature, charges: NDArray[np.float64] | None = None) -> AtomsInMolecule:
    """Atoms of a density by Hirshfeld's shares, those of all-electron free atoms.

    Args:
        quadrature: the density, best of all electrons (``Quadrature.of_whole``).
        charges: of nuclei or cores, e [n_atoms]; None takes those of nuclei.

    Raises:
        UserError: there is no free atom of an element.
    """
    structure = quadrature.structure
    return atoms_in_molecule(quadrature, lambda points: hirshfeld_weights(structure, points).T.copy(), charges)
