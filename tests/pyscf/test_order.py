"""The order of orbitals in PySCF and here."""

from __future__ import annotations

import numpy as np
from pyscf import gto

from orbdens.pyscf.order import ao_order


def test_rows_of_p_functions() -> None:
    """PySCF's p functions come as x, y, z; ours as y, z, x."""
    molecule = gto.M(atom="He 0 0 0", basis={"He": [[0, [1.0, 1]], [1, [1.0, 1]]]}, verbose=0)
    order = ao_order(molecule.bas_angular(shell) for shell in range(molecule.nbas))
    assert np.argsort(order).tolist() == [0, 3, 1, 2]
    along_y = molecule.eval_gto("GTOval_sph", np.array([[0.0, 1.0, 0.0]]))[0][order]
    assert along_y[1] > 0
    np.testing.assert_allclose(along_y[2:], 0, atol=1e-12)
