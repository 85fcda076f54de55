"""Fits of label densities to a basis, through PySCF's integrals."""

from __future__ import annotations

from pyscf import gto

from orbdens.models.orbital.density_fitting import _our_row


def test_projection_molecule_keeps_order() -> None:
    """PySCF's p functions come as x, y, z; ours as y, z, x."""
    molecule = gto.M(atom="He 0 0 0", basis={"He": [[0, [1.0, 1]], [1, [1.0, 1]]]}, verbose=0)
    assert _our_row(molecule).tolist() == [0, 3, 1, 2]
