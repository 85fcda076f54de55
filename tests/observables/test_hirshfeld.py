"""Hirshfeld's atoms: free atoms have no charge, and a predicted molecule has nearly that of its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from places import GOLDEN
from records import water_label

from orbdens.labels import stored_density
from orbdens.observables.free_atoms import free_atom, promolecule
from orbdens.observables.hirshfeld import hirshfeld
from orbdens.observables.mbis import mbis
from orbdens.observables.partition import Quadrature
from orbdens.prediction import predict
from orbdens.store import Store
from orbdens.structure import Structure


def test_free_atoms_side_by_side_have_no_charge() -> None:
    structure = Structure(np.array([8, 6]), np.array([[0.0, 0, 0], [0.0, 0, 1.2]]))
    quadrature = Quadrature.of(promolecule(structure))
    found = hirshfeld(quadrature)
    np.testing.assert_allclose(found.charges, 0, atol=1e-4)
    np.testing.assert_allclose(found.dipoles, 0, atol=1e-3)
    np.testing.assert_allclose(found.volumes, [free_atom("O").volume, free_atom("C").volume], rtol=1e-3)


def test_water_with_cores_is_near_water_with_all_electrons(water: tuple[Structure, Any]) -> None:
    """PBE/def2-TZVP has −0.303 e on oxygen by Hirshfeld and −0.870 by MBIS."""
    quadrature = Quadrature.of_whole(water_label(water))
    assert abs(quadrature.n_electrons - 10) < 1e-4
    assert abs(hirshfeld(quadrature).charges[0] + 0.303) < 0.02
    assert abs(mbis(quadrature)[0].charges[0] + 0.870) < 0.06


def test_ethanol_as_predicted_and_as_calculated() -> None:
    store = Store(GOLDEN / "ethanol")
    label = stored_density(store, store.keys()[0])
    reference, ours = Quadrature.of_whole(label), Quadrature.of_whole(predict(label.structure))
    for partition in (hirshfeld, lambda q: mbis(q)[0]):
        errors = partition(ours).charges - partition(reference).charges
        assert abs(errors).mean() < 0.01  # a frame of 300 K; molecules at rest, organics test: 0.002
        assert 1e-6 < abs(errors).max() < 0.02
